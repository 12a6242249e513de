//! Recurring jobs that admins add, change and remove.

use axum::http::StatusCode;
use queue_core::inspect::RecurringJobDetails;
use queue_core::inspect::recurring::show;
use queue_core::recurring::{RecurringJob, add};
use queue_core::schedule::Tz;
use queue_core::{Context, NewJob, Options};
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use serde_json::json;

use super::{Answer, Site};

/// Fields as a browser sends them.
const NIGHTLY: &str = "name=nightly&kind=backup&schedule=every+day+at+2am&zone=Europe%2FBerlin";

async fn stored(world: &World, name: &str) -> Option<RecurringJobDetails> {
    let mut conn = world.pool().acquire().await.unwrap();
    show(&mut conn, world.queue.schema(), name, 0)
        .await
        .unwrap()
}

/// Sends a form with the token of its page, and with the schedule that an answer has shown.
async fn send(site: &Site, path: &str, fields: &str, shown: Option<&Answer>) -> Answer {
    let token = site.get(path).await.token();
    let seen = shown.map(|shown| shown.after("name=\"seen\" value=\""));
    let seen = seen.unwrap_or_default().replace('+', "%2B");
    let body = format!("token={token}&seen={seen}&{fields}");
    site.send("POST", path, &body).await
}

/// Adds what a program or another dashboard added.
async fn added(world: &World, name: &str, args: &serde_json::Value) {
    let job = NewJob::untyped("backup", args, Options::new().priority(3).tag("night"));
    let job = RecurringJob::of(name, "every day at 2am", job).unwrap();
    let mut conn = world.pool().acquire().await.unwrap();
    add(&mut conn, world.queue.schema(), &job, Tz::UTC)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_recurring_job_is_added_after_its_next_times_were_shown() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    assert!(site.page("/recurring").await.contains("/add-recurring"));
    let fields = format!(
        "{NIGHTLY}&args=%7B%22n%22%3A1.50%7D&queue=night&priority=-2&attempts=4&crashes=2&tags=a%2C+b\
         &missed=all&missed_max=7&overlap=skip&jitter=1.5"
    );

    let shown = send(&site, "/add-recurring", &fields, None).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    assert!(shown.text.contains("every day at 02:00 (Europe/Berlin)"));
    assert!(shown.text.contains(" 02:00:00</td>"), "{}", shown.text);
    let in_utc = [" 00:00:00</td>", " 01:00:00</td>"];
    assert!(in_utc.iter().any(|time| shown.text.contains(time)));
    assert!(stored(&world, "nightly").await.is_none());

    let other = fields.replace("2am", "3am");
    let again = send(&site, "/add-recurring", &other, Some(&shown)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert!(stored(&world, "nightly").await.is_none());

    let answer = send(
        &site,
        "/add-recurring",
        &format!("{fields}&why=safety"),
        Some(&shown),
    )
    .await;
    assert_eq!(answer.header("location"), "/ops/jobs/recurring/nightly");
    let job = stored(&world, "nightly").await.unwrap();
    let is = (&*job.schedule, &*job.zone, &*job.kind, job.args.get());
    let wanted = (
        "every day at 2am",
        "Europe/Berlin",
        "backup",
        "{\"n\": 1.50}",
    );
    assert_eq!(is, wanted);
    let is = (&*job.queue, job.priority, job.attempts_max, job.crashes_max);
    assert_eq!(is, ("night", -2, 4, 2));
    let is = (
        &*job.missed,
        job.missed_max,
        &*job.overlap,
        job.jitter_seconds,
    );
    assert_eq!(is, ("all", 7, "skip", 1.5));
    assert_eq!(job.tags, ["a", "b"]);
    let act = "select who || ' ' || what || ' ' || target || ' ' || why from queue.audit";
    assert_eq!(
        world.value::<String>(act).await,
        "mira add recurring/nightly safety"
    );

    let taken = send(&site, "/add-recurring", NIGHTLY, Some(&shown)).await;
    assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        taken.text.contains("There is a recurring job of this name"),
        "{}",
        taken.text
    );
}

#[tokio::test]
async fn what_is_wrong_stands_beside_the_field() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    for (fields, field, problem) in [
        ("name=two+words", "name", "not allowed in a name"),
        ("schedule=every+blue+moon", "schedule", "`every blue moon`"),
        ("zone=Berlin", "zone", "Europe/Berlin"),
        ("kind=", "kind", "empty"),
        ("args=%7Bno", "args", "This is not JSON"),
        ("args=%22%5Cu0000%22", "args", "The arguments of `backup`"),
        ("queue=a+b", "queue", "not allowed in a name"),
        ("priority=70000", "priority", "from -32768 to 32767"),
        ("attempts=0", "attempts", "from 1 to 32767"),
        ("crashes=few", "crashes", "from 1 to 32767"),
        ("tags=ok%2C+not+ok", "tags", "not allowed in a name"),
        ("missed_max=0", "missed_max", "from 1 to 1000"),
        ("jitter=-1", "jitter", "from 0 to 86400"),
        ("jitter=NaN", "jitter", "from 0 to 86400"),
    ] {
        let (name, _) = fields.split_once('=').unwrap();
        let all = format!("{NIGHTLY}&args=%7B%7D");
        let others = all
            .split('&')
            .filter(|other| !other.starts_with(&format!("{name}=")));
        let body = others.chain([fields]).collect::<Vec<_>>().join("&");
        let answer = send(&site, "/add-recurring", &body, None).await;
        let status = answer.status;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{fields}");
        let place = format!("id=\"h-{field}\"><span class=\"bad\">");
        let (_, beside) = answer
            .text
            .split_once(&place)
            .unwrap_or_else(|| panic!("{fields}: {}", answer.text));
        let beside = beside
            .split("</span>")
            .next()
            .unwrap()
            .replace("&#39;", "'")
            .replace("&#96;", "`");
        assert!(beside.contains(problem), "{fields}: {beside}");
        assert_eq!(answer.text.matches("class=\"bad\"").count(), 1, "{fields}");
    }
    assert_eq!(world.count("recurring_jobs").await, 0);
}

#[tokio::test]
async fn a_recurring_job_is_changed_and_keeps_what_the_form_does_not_show() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    let context = Context::new().tenant("acme");
    let secret = json!({"token": "s3cret"});
    context.scope(added(&world, "nightly", &secret)).await;
    let path = "/recurring/nightly/change";

    let form = site.page(path).await;
    assert!(form.contains("value=\"every day at 2am\""), "{form}");
    assert!(form.contains("value=\"night\""), "{form}");
    assert!(
        !form.contains("s3cret") && !form.contains("redacted"),
        "{form}"
    );
    let fields =
        "kind=backup&schedule=every+day+at+4am&zone=UTC&args=&priority=3&tags=night%2C+cold";
    let shown = send(&site, path, fields, None).await;
    assert_eq!(stored(&world, "nightly").await.unwrap().tags, ["night"]);
    let answer = send(&site, path, fields, Some(&shown)).await;

    assert_eq!(answer.header("location"), "/ops/jobs/recurring/nightly");
    let job = stored(&world, "nightly").await.unwrap();
    assert_eq!(job.schedule, "every day at 4am");
    assert_eq!(job.args.get(), "{\"token\": \"s3cret\"}");
    assert_eq!(job.tags, ["night", "cold"]);
    let tenant = "select tenant from queue.recurring_jobs";
    assert_eq!(world.value::<String>(tenant).await, "acme");
    let act = "select what || ' ' || target from queue.audit";
    assert_eq!(
        world.value::<String>(act).await,
        "replace recurring/nightly"
    );
}

#[tokio::test]
async fn a_recurring_job_is_removed_after_a_page_that_asks() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    added(&world, "nightly", &json!({})).await;
    let path = "/recurring/nightly/remove";
    let asks = site.page(path).await;
    assert!(asks.contains("Remove recurring job nightly?"), "{asks}");
    assert!(!asks.contains("A program declares it"), "{asks}");

    let answer = site.press(path, path).await;

    assert_eq!(answer.header("location"), "/ops/jobs/recurring");
    assert_eq!(world.count("recurring_jobs").await, 0);
    let act = "select what || ' ' || target from queue.audit";
    assert_eq!(world.value::<String>(act).await, "remove recurring/nightly");
    let gone = site.send("POST", path, "").await;
    assert_eq!(gone.status, StatusCode::FORBIDDEN);
    assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_declared_recurring_job_is_changed_where_it_is_declared_and_comes_back() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    added(&world, "nightly", &json!({})).await;
    world
        .sql("update queue.recurring_jobs set source = 'shop'")
        .await;

    let page = site.page("/recurring/nightly").await;
    let form = site.get("/recurring/nightly/change").await;
    let token = site.get("/recurring").await.token();
    let body = format!("token={token}&{NIGHTLY}");
    let sent = site.send("POST", "/recurring/nightly/change", &body).await;
    let asks = site.page("/recurring/nightly/remove").await;

    assert!(!page.contains("Change…"), "{page}");
    for refused in [form, sent] {
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(
            refused.text.contains("declared by `shop`"),
            "{}",
            refused.text
        );
    }
    assert!(asks.contains("it comes back when a process"), "{asks}");
}

#[tokio::test]
async fn recurring_jobs_are_not_changed_without_a_token_the_role_or_by_a_dashboard_that_reads() {
    let world = World::new().await;
    added(&world, "nightly", &json!({})).await;
    let reads = Dashboard::new(world.queue.clone())
        .authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) })
        .read_only();
    let operator = Site::open(&world, Role::Operator);
    assert!(!operator.page("/recurring").await.contains("/add-recurring"));
    for (site, said) in [
        (Site::open(&world, Role::Admin), "too old"),
        (operator, "needs the admin role"),
        (Site::of(reads), "read-only"),
    ] {
        for path in [
            "/add-recurring",
            "/recurring/nightly/change",
            "/recurring/nightly/remove",
        ] {
            let answer = site.send("POST", path, NIGHTLY).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert!(answer.text.contains(said), "{path}: {}", answer.text);
        }
    }
    let job = stored(&world, "nightly").await.unwrap();
    assert_eq!(job.zone, "UTC");
}

#[tokio::test]
async fn the_form_begins_with_the_time_zone_of_the_scheduler() {
    let world = World::new().await;
    let dashboard = Dashboard::new(world.queue.clone())
        .authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) })
        .time_zone(Tz::Asia__Tokyo);
    let page = Site::of(dashboard).page("/add-recurring").await;
    assert!(page.contains("value=\"Asia/Tokyo\""), "{page}");
}
