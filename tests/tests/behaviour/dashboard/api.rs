//! The JSON below `/api/v1`, and the document that describes it.

use std::time::Duration;

use axum::http::StatusCode;
use queue_core::depths::sample;
use queue_core::recurring::{RecurringJob, add};
use queue_core::schedule::Tz;
use queue_core::{Batch, NewJob, Options};
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, Viewer, routes};
use queue_worker::{Job, Limits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Site, enqueue, fail};

#[derive(Serialize, Deserialize)]
struct Import {
    account: i64,
    password: String,
}

impl Job for Import {
    const KIND: &'static str = "import";

    fn limits(&self) -> Limits {
        Limits::key(format!("account/{}", self.account)).to(1)
    }
}

fn import() -> Import {
    Import {
        account: 7,
        password: "hunter2".to_owned(),
    }
}

pub(super) async fn read(site: &Site, path: &str) -> Value {
    let answer = site.send("GET", &format!("/api/v1{path}"), "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json", "{path}");
    serde_json::from_str(&answer.text).unwrap()
}

/// Fills every table that the answers read.
pub(super) async fn fill(world: &World) -> (String, String) {
    let shown = world.queue.enqueue(import()).await.unwrap().id();
    let failed = enqueue(world, "send", &json!({"to": "x"}), Options::new()).await;
    fail(world, failed, "no route to host 10.0.0.1").await;
    let mut batch = Batch::new();
    batch.add(&import()).unwrap();
    let batch = world.queue.enqueue_batch(batch).await.unwrap().id;
    let job = NewJob::of(&import()).unwrap();
    let daily = RecurringJob::of("daily", "every day at 3am", job).unwrap();
    let mut conn = world.connect().await;
    add(&mut conn, world.queue.schema(), &daily, Tz::UTC)
        .await
        .unwrap();
    sample(&mut conn, world.queue.schema()).await.unwrap();
    world
        .sql(
            "insert into queue.processes (id, name, host, pid, version, details)
             values (gen_random_uuid(), 'worker-1', 'host', 1, '1', '{\"concurrency\": 5}')",
        )
        .await;
    world
        .sql("insert into queue.tenants (name, weight, paused_at) values ('daily', 3, now())")
        .await;
    world
        .sql("insert into queue.limits (name, slots, declared) values ('account/7', 1, false)")
        .await;
    world
        .sql(
            "insert into queue.audit (who, role, what, target, jobs, refused)
             values ('mira', 'operator', 'pause', 'queue mail', 0, false)",
        )
        .await;
    world
        .sql(
            "insert into queue.operations (counted, counted_at_least, action, who, role, filter, ended_at)
             values (1, false, 'retry', 'mira', 'operator', '{}', now())",
        )
        .await;
    (shown.to_string(), batch.to_string())
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let (job, batch) = fill(&world).await;
    answers_are_as_described(&site, |path| {
        let id = if path.starts_with("/jobs") {
            &job
        } else {
            &batch
        };
        path.replace("{id}", id).replace("{name}", "daily")
    })
    .await;
}

/// Reads all that the document describes, each at an address of its path.
pub(super) async fn answers_are_as_described(site: &Site, address: impl Fn(&str) -> String) {
    let document = read(site, "/openapi.json").await;
    assert_eq!(document["servers"][0]["url"], "/ops/jobs/api/v1");

    for (path, described) in document["paths"].as_object().unwrap() {
        let answer = read(site, &address(path)).await;
        let mut schema =
            described["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        let schema = jsonschema::options().build(&schema).unwrap();
        let problems: Vec<String> = schema
            .iter_errors(&answer)
            .map(|problem| format!("{}: {problem}", problem.instance_path))
            .collect();
        assert!(problems.is_empty(), "{path}: {problems:?} in {answer:#}");
        assert_ne!(answer, json!([]), "{path} has nothing to check");
        for parameter in described["get"]["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            let is_in_path = path.contains(&format!("{{{name}}}"));
            assert_eq!(parameter["in"] == "path", is_in_path, "{path}");
        }
    }
}

#[tokio::test]
async fn every_address_of_the_api_is_in_the_document() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let document = read(&site, "/openapi.json").await;
    let described = document["paths"].as_object().unwrap();

    let served: Vec<String> = routes()
        .into_iter()
        .filter_map(|(_, path, _)| Some(path.strip_prefix("/api/v1")?.to_owned()))
        .filter(|path| path != "/openapi.json")
        .collect();

    assert_eq!(served.len(), described.len());
    assert!(served.iter().all(|path| described.contains_key(path)));
}

#[tokio::test]
async fn errors_are_json_that_names_the_thing() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    for (path, status, error) in [
        (
            "/jobs/12345",
            StatusCode::NOT_FOUND,
            "There is no job 12345",
        ),
        (
            "/recurring/none",
            StatusCode::NOT_FOUND,
            "There is no recurring job none",
        ),
        (
            "/tenants/none",
            StatusCode::NOT_FOUND,
            "There is no tenant none",
        ),
        ("/nothing", StatusCode::NOT_FOUND, "There is no such page"),
        (
            "/jobs/x",
            StatusCode::BAD_REQUEST,
            "The address or the form is not as a page makes it.",
        ),
        (
            "/counts?within=1d",
            StatusCode::BAD_REQUEST,
            "`1d` is not a period: use `1h`, `24h` or `7d`",
        ),
        (
            "/depths?within=",
            StatusCode::BAD_REQUEST,
            "`` is not a period: use `1h`, `24h` or `7d`",
        ),
    ] {
        let answer = site.send("GET", &format!("/api/v1{path}"), "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        let said: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(said, json!({"error": error}), "{path}");
    }
    let closed = Site::of(Dashboard::new(world.queue.clone()));
    let answer = closed.send("GET", "/api/v1/jobs", "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text.starts_with("{\"error\":"), "{}", answer.text);
}

#[tokio::test]
async fn redacted_fields_and_arguments_that_a_role_may_not_see_are_not_served() {
    let world = World::new().await;
    let (job, _) = fill(&world).await;
    let shown = Site::open(&world, Role::Operator);
    let dashboard = Dashboard::new(world.queue.clone()).args_for(Role::Operator);
    let hidden =
        Site::of(dashboard.authorize(|_| async { Some(Viewer::new("vera", Role::Viewer)) }));

    for path in ["/jobs", &format!("/jobs/{job}"), "/recurring/daily"] {
        for (site, is_shown) in [(&shown, true), (&hidden, false)] {
            let text = read(site, path).await.to_string();
            assert!(!text.contains("hunter2"), "{path}: {text}");
            assert_eq!(text.contains("\"account\":7"), is_shown, "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn jobs_are_listed_by_pages() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    for _ in 0..120 {
        enqueue(
            &world,
            "send",
            &json!({}),
            Options::new().delay(Duration::from_secs(60)),
        )
        .await;
    }
    let ids = |answer: &Value| -> Vec<i64> {
        let jobs = answer.as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_i64().unwrap()).collect()
    };
    let first = ids(&read(&site, "/jobs?state=scheduled").await);
    let last = first.last().unwrap();
    let second = ids(&read(&site, &format!("/jobs?state=scheduled&before={last}")).await);
    assert_eq!((first.len(), second.len()), (100, 20));
    assert!(second.iter().all(|id| id < last));
    assert_eq!(read(&site, "/jobs?state=ready").await, json!([]));
}
