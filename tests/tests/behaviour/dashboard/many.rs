//! Acts on many jobs: chosen ones, and all that match.

use std::time::Duration;

use axum::http::StatusCode;
use queue_core::inspect::{Count, JobFilter, Selection};
use queue_core::operations::audit::Actor;
use queue_core::operations::jobs::JobAction;
use queue_core::operations::many;
use queue_core::{JobId, JobState, NewJob, Options};
use queue_tests::world::{World, eventually};
use queue_worker::dashboard::Role;
use serde_json::json;

use super::{Answer, Site, enqueue, fail};

/// Makes many failed jobs, each with an error of its own.
async fn fail_many(world: &World, kind: &'static str, many: usize) {
    let jobs = (0..many).map(|number| NewJob::untyped(kind, &json!(number), Options::new()));
    world.queue.enqueue_all(jobs).await.unwrap();
    world
        .sql(
            "with gone as (delete from queue.ready returning *)
             insert into queue.failed (job_id, attempt, failures, crashes, queue, kind)
             select job_id, 1, 1, 0, queue, kind from gone",
        )
        .await;
    world
        .sql(
            "insert into queue.attempts (job_id, attempt, started_at, process, ending, error)
             select job_id, 1, now(), 'worker', 'error', 'no answer to request ' || 10000 + job_id
             from queue.failed",
        )
        .await;
}

/// Returns the value of a hidden field.
fn field(page: &Answer, name: &str) -> String {
    let value = page.after(&format!("name=\"{name}\" value=\""));
    value
        .replace("&#38;", "&")
        .replace("+", "%2B")
        .replace("&", "%26")
}

/// Confirms what the page at an address asks.
pub(super) async fn confirm(site: &Site, path: &str, more: &str) -> Answer {
    let page = site.get(path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let names = ["token", "confirmed", "query", "counted", "as_of"];
    let fields = names.map(|name| format!("{name}={}", field(&page, name)));
    let to = path.split('?').next().unwrap();
    site.send("POST", to, &format!("{}{more}", fields.join("&")))
        .await
}

pub(super) async fn ended(world: &World) {
    eventually("the operation ends", async || {
        world.count("operations where ended_at is null").await == 0
    })
    .await;
}

pub(super) fn failed() -> Selection {
    Selection {
        filter: JobFilter {
            states: vec![JobState::Failed],
            ..JobFilter::default()
        },
        ..Selection::default()
    }
}

pub(super) async fn begin(world: &World, action: JobAction, selection: Selection) -> i64 {
    let actor = Actor {
        who: "mira".to_owned(),
        role: "operator".to_owned(),
    };
    let counted = Count::default();
    let what = (action, selection);
    let conn = &mut world.connect().await;
    let begun = many::begin(conn, world.queue.schema(), &actor, None, what, counted);
    begun.await.unwrap()
}

#[tokio::test]
async fn chosen_jobs_are_retried_after_a_page_that_asks() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    fail_many(&world, "send", 3).await;
    let ids: Vec<(JobId,)> = world
        .rows("select job_id from queue.failed order by 1")
        .await;
    let token = site.get("/jobs?state=failed").await.token();
    let form = format!("token={token}&id={}&id={}", ids[0].0, ids[1].0);

    let asks = site.send("POST", "/jobs/retry", &form).await;
    let path = format!("/jobs/retry?id={}&id={}", ids[0].0, ids[1].0);
    assert_eq!(asks.header("location"), format!("/ops/jobs{path}"));
    let page = site.page(&path).await;
    assert!(page.contains("Retry 2 jobs?"), "{page}");
    let answer = confirm(&site, &path, "&why=the+relay+is+back").await;

    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(
        (world.count("ready").await, world.count("failed").await),
        (2, 1)
    );
    let audit = site.page("/audit").await;
    assert!(
        audit.contains("retried") && audit.contains("2 jobs"),
        "{audit}"
    );
    assert!(audit.contains("the relay is back"), "{audit}");
}

#[tokio::test]
async fn all_that_match_are_changed_and_none_that_matches_later() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    fail_many(&world, "send", 2_500).await;
    let path = "/jobs/retry?state=failed&kind=send";
    let page = site.page(path).await;
    assert!(page.contains("Retry 2,500 jobs?"), "{page}");
    // They have failed after somebody counted.
    world
        .sql(
            "update queue.failed set failed_at = now() + interval '1 minute'
             where job_id in (select job_id from queue.failed limit 2)",
        )
        .await;

    let begun = confirm(&site, path, "").await;
    ended(&world).await;

    assert_eq!(
        begun.header("location"),
        "/ops/jobs/operations/1",
        "{}",
        begun.text
    );
    assert_eq!(
        (world.count("ready").await, world.count("failed").await),
        (2_498, 2)
    );
    let page = site.page("/operations/1").await;
    assert!(page.contains("2,498 jobs made ready again."), "{page}");
    assert!(page.contains("Retrying 2,500 jobs"), "{page}");
    let audit = site.page("/audit").await;
    assert!(audit.contains(": 2,498 jobs"), "{audit}");
}

#[tokio::test]
async fn another_dashboard_goes_on_when_one_dies_and_the_number_is_exact() {
    let world = World::new().await;
    fail_many(&world, "send", 2_500).await;
    let operation = begin(&world, JobAction::Discard, failed()).await;
    let schema = world.queue.schema();
    // One dashboard has done a batch, and dies in the next.
    let mut conn = world.connect().await;
    let mut done = sqlx::Connection::begin(&mut conn).await.unwrap();
    let next = many::next(&mut done, schema).await.unwrap().unwrap();
    many::batch(&mut done, schema, next).await.unwrap();
    done.commit().await.unwrap();
    let mut dying = sqlx::Connection::begin(&mut conn).await.unwrap();
    let next = many::next(&mut dying, schema).await.unwrap().unwrap();
    many::batch(&mut dying, schema, next).await.unwrap();
    // While it works, no other takes the operation.
    let other = many::next(&mut world.connect().await, schema)
        .await
        .unwrap();
    assert!(other.is_none());
    dying.rollback().await.unwrap();
    assert_eq!(world.count("failed").await, 1_500);

    let site = Site::open(&world, Role::Viewer);
    site.page("/").await;
    ended(&world).await;

    let page = site.page(&format!("/operations/{operation}")).await;
    assert!(page.contains("2,500 jobs discarded."), "{page}");
    assert_eq!(world.count("failed").await, 0);
}

#[tokio::test]
async fn an_operation_is_stopped_between_two_batches() {
    let world = World::new().await;
    fail_many(&world, "send", 1_500).await;
    let operation = begin(&world, JobAction::Retry, failed()).await;
    let schema = world.queue.schema();
    let mut conn = world.connect().await;
    let mut working = sqlx::Connection::begin(&mut conn).await.unwrap();
    let next = many::next(&mut working, schema).await.unwrap().unwrap();
    let site = Site::open(&world, Role::Operator);
    let page = format!("/operations/{operation}");
    assert!(site.page(&page).await.contains("Stop here"));
    many::batch(&mut working, schema, next).await.unwrap();
    let stop = tokio::spawn({
        let (site, page) = (site.clone(), page.clone());
        async move { site.press(&page, &format!("{page}/stop")).await }
    });
    // The button waits for the batch.
    eventually("the button waits", async || {
        let waiting = "select count(*) from pg_locks where not granted";
        world.value::<i64>(waiting).await > 0
    })
    .await;
    working.commit().await.unwrap();

    assert_eq!(stop.await.unwrap().status, StatusCode::SEE_OTHER);
    ended(&world).await;

    assert_eq!(world.count("ready").await, 1_000);
    let page = site.page(&page).await;
    assert!(page.contains("Stopped by <bdi>mira</bdi>"), "{page}");
}

#[tokio::test]
async fn discarding_many_asks_for_their_number() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    fail_many(&world, "send", 1_001).await;
    let path = "/jobs/discard?state=failed";

    confirm(&site, path, "&typed=1,000").await;
    tokio::time::timeout(Duration::from_secs(5), ended(&world))
        .await
        .unwrap();
    assert_eq!(world.count("failed").await, 1_001);
    confirm(&site, path, "&typed=1,001").await;
    ended(&world).await;

    assert_eq!(world.count("failed").await, 0);
}

#[tokio::test]
async fn jobs_of_one_cause_are_found_and_retried_together() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    fail_many(&world, "send", 30).await;
    let other = enqueue(&world, "send", &json!({}), Options::new()).await;
    fail(&world, other, "the mailbox is full").await;

    let failures = site.get("/failures").await;
    assert!(
        failures.text.contains("no answer to request &#60;id&#62;"),
        "{}",
        failures.text
    );
    let href = failures.after("<a class=\"name clip\" href=\"");
    let path = href.strip_prefix("/ops/jobs").unwrap();
    let cause = site.get(path).await;
    assert!(cause.text.contains("30 jobs are"), "{}", cause.text);
    let retry = cause
        .after("<a class=\"button main-act\" href=\"")
        .replace("&#38;", "&");
    let retry = retry.strip_prefix("/ops/jobs").unwrap().to_owned();
    assert!(site.page(&retry).await.contains("Retry 30 jobs?"));
    confirm(&site, &retry, "").await;
    ended(&world).await;

    assert_eq!(world.count("ready").await, 30);
    assert_eq!(world.state(other).await, "failed");
}

#[tokio::test]
async fn acts_and_refusals_are_in_the_audit_and_in_its_file() {
    let world = World::new().await;
    let operator = Site::open(&world, Role::Operator);
    let viewer = Site::open(&world, Role::Viewer);
    let job = enqueue(&world, "send", &json!({}), Options::new()).await;
    let path = format!("/jobs/{job}/cancel");
    viewer.send("POST", &path, "").await;
    let token = operator.get(&path).await.token();
    operator
        .send("POST", &path, &format!("token={token}&why=%3D1%2B1"))
        .await;

    let page = viewer.page("/audit").await;
    assert!(page.contains("was refused to cancel job"), "{page}");
    assert!(page.contains("cancelled job"), "{page}");
    let refused = viewer.page("/audit?who=nobody").await;
    assert!(
        refused.contains("Nobody has done anything here."),
        "{refused}"
    );
    let file = viewer.get("/audit.csv").await;
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    assert!(file.text.contains(",\"'=1+1\"\r\n"), "{}", file.text);
    assert_eq!(file.text.lines().count(), 3);
}
