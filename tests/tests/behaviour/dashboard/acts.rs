//! What buttons do.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use queue_core::recurring::{RecurringJob, add};
use queue_core::schedule::Tz;
use queue_core::{NewJob, Options};
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use serde_json::json;

use super::{Site, enqueue, fail};

#[tokio::test]
async fn a_failed_job_is_retried_and_the_next_page_says_so() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let job = enqueue(&world, "charge", &json!({}), Options::new()).await;
    fail(&world, job, "503 Service Unavailable").await;
    let page = format!("/jobs/{job}");
    assert!(site.page(&page).await.contains("503 Service Unavailable"));

    let answer = site.press(&page, &format!("{page}/retry")).await;

    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), format!("/ops/jobs/jobs/{job}"));
    assert_eq!(world.state(job).await, "ready");
    let cookie = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let show = async |cookie: &str| {
        let request = Request::builder()
            .uri(answer.header("location"))
            .header("cookie", cookie);
        site.request(request.body(Body::empty()).unwrap()).await
    };
    let shown = show(&cookie).await;
    assert!(
        shown
            .text
            .contains(&format!("Retried job {job}: it is ready.")),
        "{}",
        shown.text
    );
    assert!(shown.header("set-cookie").contains("Max-Age=0"));
    let forged = show(&format!("{}0", cookie)).await;
    assert!(!forged.text.contains("Retried job"));
}

#[tokio::test]
async fn jobs_are_discarded_cancelled_and_run_after_a_page_that_asks() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let failed = enqueue(&world, "a", &json!({}), Options::new()).await;
    let ready = enqueue(&world, "b", &json!({}), Options::new()).await;
    fail(&world, failed, "no").await;

    for (job, verb, asked) in [
        (failed, "discard", "It never runs again"),
        (ready, "cancel", "If it waits, it ends at once"),
    ] {
        let path = format!("/jobs/{job}/{verb}");
        let asks = site.page(&path).await;
        assert!(asks.contains(asked), "{asks}");
        assert_eq!(site.press(&path, &path).await.status, StatusCode::SEE_OTHER);
        assert_eq!(world.state(job).await, "finished");
    }
    let outcomes = "select string_agg(outcome::text, ' ' order by job_id) from queue.finished";
    assert_eq!(world.value::<String>(outcomes).await, "discarded cancelled");
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    enqueue(&world, "send", &json!({}), Options::new().queue("mail/eu")).await;
    assert!(
        site.page("/queues/mail%2Feu/pause")
            .await
            .contains("1 job is ready")
    );

    let token = site.get("/queues/mail%2Feu/pause").await.token();
    let form = format!("token={token}&why=the+relay+is+%3Cdown%3E");
    site.send("POST", "/queues/mail%2Feu/pause", &form).await;
    let paused = site.page("/queues/mail%2Feu").await;
    let overview = site.page("").await;
    site.press("/queues", "/queues/mail%2Feu/resume").await;
    let resumed = site.page("/queues").await;

    assert!(paused.contains("<strong>It is paused</strong>"), "{paused}");
    let reason = " by <bdi>mira</bdi>: “<bdi>the relay is &lt;down&gt;</bdi>”";
    assert!(paused.contains(reason), "{paused}");
    assert!(overview.contains("1 paused"), "{overview}");
    assert!(!resumed.contains("1 paused"), "{resumed}");
}

#[tokio::test]
async fn a_recurring_job_is_run_paused_and_resumed() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let job = NewJob::untyped("tidy", &json!({}), Options::new());
    let nightly = RecurringJob::of("nightly", "every day at 2am", job).unwrap();
    let mut conn = world.pool().acquire().await.unwrap();
    add(&mut conn, world.queue.schema(), &nightly, Tz::UTC)
        .await
        .unwrap();

    let run = site
        .press("/recurring/nightly", "/recurring/nightly/run")
        .await;
    assert_eq!(run.status, StatusCode::SEE_OTHER, "{}", run.text);
    assert_eq!(world.count("ready").await, 1);
    site.press("/recurring", "/recurring/nightly/pause").await;
    assert!(
        site.page("/recurring/nightly")
            .await
            .contains("but is paused since")
    );
    site.press("/recurring", "/recurring/nightly/resume").await;
    assert!(
        site.page("/recurring")
            .await
            .contains("every day at 02:00, UTC")
            || site.page("/recurring").await.contains(", UTC")
    );
}

#[tokio::test]
async fn a_form_from_elsewhere_changes_nothing() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Admin);
    let lena = Site::of(
        Dashboard::new(world.queue.clone())
            .authorize(|_| async { Some(Viewer::new("lena", Role::Admin)) }),
    );
    let job = enqueue(&world, "send", &json!({}), Options::new()).await;
    let path = format!("/jobs/{job}/cancel");
    let token = site.get(&path).await.token();
    let hers = lena.get(&path).await.token();

    for body in [
        String::new(),
        "token=1.00".to_owned(),
        format!("token={hers}"),
    ] {
        assert_eq!(
            site.send("POST", &path, &body).await.status,
            StatusCode::FORBIDDEN,
            "{body}"
        );
    }
    let request = Request::post(format!("/ops/jobs{path}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .body(Body::from(format!("token={token}")));
    assert_eq!(
        site.request(request.unwrap()).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(world.state(job).await, "ready");
}

#[tokio::test]
async fn two_dashboards_of_a_queue_accept_each_others_forms() {
    let world = World::new().await;
    let site = || Site::open(&world, Role::Operator);
    let job = enqueue(&world, "send", &json!({}), Options::new()).await;
    let path = format!("/jobs/{job}/cancel");
    let token = site().get(&path).await.token();

    let answer = site().send("POST", &path, &format!("token={token}")).await;

    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(world.state(job).await, "finished");
}

#[tokio::test]
async fn a_dashboard_that_only_reads_changes_nothing() {
    let world = World::new().await;
    let dashboard = Dashboard::new(world.queue.clone())
        .authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) })
        .read_only();
    let site = Site::of(dashboard);
    let job = enqueue(&world, "send", &json!({}), Options::new()).await;

    let page = site.page(&format!("/jobs/{job}")).await;
    let answer = site
        .press(&format!("/jobs/{job}"), &format!("/jobs/{job}/cancel"))
        .await;

    assert!(!page.contains("Cancel…"), "{page}");
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("read-only"), "{}", answer.text);
    assert_eq!(world.state(job).await, "ready");
}

#[tokio::test]
async fn a_limit_is_changed_and_left_to_its_jobs_again() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    world
        .sql("insert into queue.limits (name, slots, declared) values ('account/7', 1, false)")
        .await;
    let form = site.page("/limits?edit=account%2F7").await;
    assert!(form.contains("Now 1 at once."), "{form}");
    let token = site.get("/limits?edit=account%2F7").await.token();
    let set = async |fields: &str| {
        let body = format!("token={token}&{fields}");
        site.send("POST", "/limits/account%2F7/set", &body).await
    };

    let answer = set("to=3&rate=").await;

    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(set("to=&rate=100/1m").await.status, StatusCode::SEE_OTHER);
    let page = site.page("/limits").await;
    for text in ["3 at once, 1.7 starts per second", ">Reset<"] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    for (fields, why) in [
        ("to=x", "is a whole number"),
        ("to=&rate=", "Which limit?"),
        ("rate=often", "The rate:"),
    ] {
        let refused = set(fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{fields}");
        assert!(refused.text.contains(why), "{}", refused.text);
    }
    let reset = site.press("/limits", "/limits/account%2F7/reset").await;
    assert_eq!(reset.status, StatusCode::SEE_OTHER);
    assert_eq!(world.count("limits").await, 0);
    let audit = site.page("/audit").await;
    assert!(
        audit.contains("set limit of ") && audit.contains("reset limit of "),
        "{audit}"
    );
}

#[tokio::test]
async fn a_process_is_made_quiet_resumed_and_stopped_from_its_page() {
    let world = World::new().await;
    let (operator, admin) = (
        Site::open(&world, Role::Operator),
        Site::open(&world, Role::Admin),
    );
    let (process, _) = world.claim("default", "none").await;
    let page = format!("/processes/{process}");
    let beat = "update queue.processes set heartbeat_at = clock_timestamp()";

    assert!(!operator.page(&page).await.contains("Stop…"));
    operator.press(&page, &format!("{page}/quiet")).await;
    world.sql(beat).await;
    let text = operator.page(&page).await;
    assert!(
        text.contains("It is quiet.</strong> Asked by <bdi>mira"),
        "{text}"
    );
    operator.press(&page, &format!("{page}/resume")).await;
    assert!(operator.page(&page).await.contains("It is alive."));
    let refused = operator.press(&page, &format!("{page}/stop")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(admin.page(&page).await.contains("Stop…"));
    let asked = format!("{page}/stop");
    assert!(admin.page(&asked).await.contains("stops as on TERM"));
    assert_eq!(world.count("processes where asked is null").await, 1);
    admin.press(&asked, &asked).await;

    assert_eq!(world.count("processes where asked = 'stop'").await, 1);
    let acts: Vec<(String, bool)> = world
        .rows("select what, refused from queue.audit order by id")
        .await;
    let acts: Vec<(&str, bool)> = acts
        .iter()
        .map(|(what, refused)| (&**what, *refused))
        .collect();
    let expected = [
        ("quiet", false),
        ("resume", false),
        ("stop", true),
        ("stop", false),
    ];
    assert_eq!(acts, expected);
}

#[tokio::test]
async fn a_waiting_job_is_rescheduled_and_gets_another_priority_on_its_page() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Operator);
    let job = enqueue(&world, "a", &json!({}), Options::new()).await;
    let page = format!("/jobs/{job}");
    let text = site.page(&page).await;
    assert!(
        text.contains("Reschedule…") && text.contains("Priority…"),
        "{text}"
    );
    let press = async |verb: &str, to: &str| {
        let asks = format!("{page}/{verb}");
        let token = site.get(&asks).await.token();
        site.send("POST", &asks, &format!("token={token}&to={to}"))
            .await
    };

    let unread = press("reschedule", "tomorrow").await;
    assert!(unread.header("location").ends_with("/reschedule"));
    assert_eq!(world.state(job).await, "ready");
    press("reschedule", "2030-01-31T09%3A00%3A00Z").await;
    assert_eq!(
        world
            .count("scheduled where due_at = '2030-01-31 09:00Z'")
            .await,
        1
    );
    press("priority", "-3").await;
    press("reschedule", "now").await;

    assert_eq!(world.count("ready where priority = -3").await, 1);
    let acts: Vec<(String,)> = world.rows("select what from queue.audit order by id").await;
    assert_eq!(acts[0].0, "reschedule 2030-01-31T09:00:00+00:00");
    assert_eq!(acts[1].0, "priority -3");
    let text = site.page("/audit").await;
    assert!(text.contains("gave priority -3 to"), "{text}");
}
