//! The pages of tenants, and what their buttons do.

use axum::http::StatusCode;
use queue_core::operations::queues::set_fair;
use queue_core::{Context, Options};
use queue_tests::world::{World, worker};
use queue_worker::App;
use queue_worker::dashboard::Role;
use serde_json::json;

use super::{Answer, Site, enqueue, fail};

const ACME: &str = "/tenants/acme%20%26%20co";

/// Makes the queue `mail` fair, with `jobs` ready jobs of a tenant.
async fn fair(world: &World, tenant: &str, jobs: usize) {
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    set_fair(&mut conn, schema, "mail", true).await.unwrap();
    for _ in 0..jobs {
        enqueue(world, "send", &json!({}), of(tenant)).await;
    }
}

fn of(tenant: &str) -> Options {
    let context = Context::new().tenant(tenant);
    Options::new().queue("mail").context(context)
}

/// Sends the form of a page that asks.
async fn press(site: &Site, verb: &str, fields: &str) -> Answer {
    let path = format!("{ACME}/{verb}");
    let token = site.get("/tenants").await.token();
    site.send("POST", &path, &format!("token={token}&{fields}"))
        .await
}

#[tokio::test]
async fn tenants_are_listed_with_what_runs_against_their_shares() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    assert!(
        site.page("/tenants")
            .await
            .contains("No tenant has jobs in a fair queue.")
    );
    fair(&world, "acme & co", 6).await;
    fair(&world, "nord", 1).await;
    world
        .sql("insert into queue.tenants (name, weight) values ('nord', 3)")
        .await;
    let failed = enqueue(&world, "send", &json!({}), of("nord")).await;
    fail(&world, failed, "no").await;
    enqueue(&world, "run", &json!({}), of("acme & co").queue("default")).await;
    world.claim("default", "run").await;

    let page = site.page("/tenants").await;

    let answer = "<strong>No tenant is paused.</strong> <bdi>acme &amp; co</bdi> has 100% of what runs; \
        its share is 25%.";
    assert!(page.contains(answer), "{page}");
    for text in [
        "3 jobs in a turn",
        "75%",
        "aria-label=\"100% of running jobs\"",
        "/jobs?state=failed&#38;tenant=nord\">1</a>",
        "Share…",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    let viewer = Site::open(&world, Role::Viewer);
    assert!(!viewer.page("/tenants").await.contains("Share…"));
    assert!(!viewer.page(ACME).await.contains("Pause…"));
}

#[tokio::test]
async fn tenants_come_by_pages_in_the_order_of_their_names() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    world
        .sql("insert into queue.tenants (name) select to_char(n, 'FM000') from generate_series(1, 60) as n")
        .await;
    fair(&world, "000", 2).await;
    fair(&world, "055", 1).await;

    let first = site.page("/tenants").await;
    assert!(
        first.contains(">049<") && !first.contains(">050<"),
        "{first}"
    );
    let second = site.page("/tenants?after=049").await;

    assert!(first.contains("href=\"/ops/jobs/tenants?after=049\""));
    assert!(second.contains(">050<") && second.contains(">060<"));
    assert!(!second.contains("rel=\"next\""), "{second}");
    assert!(second.contains("tenant=055\">1</a>"), "{second}");
}

#[tokio::test]
async fn a_tenant_is_paused_with_a_reason_and_resumed() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    fair(&world, "acme & co", 2).await;
    let process = world.start(App::new(()), worker("mail", 1));
    let job = world
        .value::<i64>("select min(job_id) from queue.ready")
        .await;
    let asks = site.page(&format!("{ACME}/pause")).await;
    assert!(
        asks.contains("2 jobs of</strong> <bdi>acme &amp; co"),
        "{asks}"
    );

    let answer = press(&site, "pause", "why=their+import+is+%3Cendless%3E").await;
    let paused = site.page(ACME).await;
    let list = site.page("/tenants").await;
    let of_job = site.page(&format!("/jobs/{job}")).await;
    let again = press(&site, "pause", "").await;
    press(&site, "resume", "").await;
    process.stop().await;

    assert_eq!(answer.header("location"), format!("/ops/jobs{ACME}"));
    assert_eq!(again.status, StatusCode::SEE_OTHER);
    let reason = " by <bdi>mira</bdi>: “<bdi>their import is &lt;endless&gt;</bdi>”";
    assert!(paused.contains("<strong>It is paused</strong>"), "{paused}");
    assert!(paused.contains(reason), "{paused}");
    assert!(list.contains("One tenant is paused.") && list.contains("1 paused"));
    assert!(of_job.contains("tenant <a href"), "{of_job}");
    assert!(of_job.contains(reason), "{of_job}");
    assert!(!site.page("/tenants").await.contains("1 paused"));
    assert_eq!(acts(&world).await, ["pause", "resume"]);
}

#[tokio::test]
async fn a_tenant_gets_a_limit_and_a_share() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    fair(&world, "acme & co", 1).await;

    press(&site, "limit", "to=5").await;
    press(&site, "weight", "to=4").await;
    let page = site.page(ACME).await;
    let asks = site.page(&format!("{ACME}/weight")).await;

    assert!(page.contains("5 at once"), "{page}");
    assert!(page.contains("4 jobs in a turn"), "{page}");
    assert!(asks.contains("value=\"4\""), "{asks}");
    let limits = site.page("/limits").await;
    assert!(
        limits.contains(&format!("href=\"/ops/jobs{ACME}\"")),
        "{limits}"
    );
    let unread = press(&site, "weight", "to=many").await;
    assert!(unread.header("location").ends_with("/weight"));
    let refused = press(&site, "weight", "to=0").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains("from 1 to 1000"), "{}", refused.text);
    site.press("/tenants", "/limits/%40tenant%2Facme%20%26%20co/reset")
        .await;

    assert!(site.page(ACME).await.contains(">none</td>"));
    assert_eq!(acts(&world).await, ["limit 5", "weight 4", "reset"]);
    let audit = site.page("/audit").await;
    let said = "gave weight 4 to tenant <a href=\"/ops/jobs/tenants/acme%20%26%20co\">";
    assert!(audit.contains(said), "{audit}");
}

async fn acts(world: &World) -> Vec<String> {
    let acts: Vec<(String,)> = world.rows("select what from queue.audit order by id").await;
    acts.into_iter().map(|(what,)| what).collect()
}

#[tokio::test]
async fn a_tenant_that_has_only_ended_has_a_page_with_its_jobs_by_state() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let context = Context::new().tenant("old");
    let options = Options::new().context(context);
    let job = enqueue(&world, "send", &json!({}), options).await;
    fail(&world, job, "no").await;

    let page = site.page("/tenants/old").await;

    assert!(page.contains("No job of it is ready"), "{page}");
    assert!(page.contains("/jobs?state=failed&#38;tenant=old"), "{page}");
    let of_job = site.page(&format!("/jobs/{job}")).await;
    assert!(
        of_job.contains("href=\"/ops/jobs/tenants/old\""),
        "{of_job}"
    );
    let jobs = site.page("/jobs?state=failed&tenant=old").await;
    assert_eq!(jobs.matches("href=\"/ops/jobs/tenants/old\"").count(), 2);
}
