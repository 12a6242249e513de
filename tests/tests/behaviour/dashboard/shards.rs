//! The dashboard of several shards: all as one, to read, and each alone.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use queue_core::counts::{Counts, KindCounts, append};
use queue_core::depths::sample;
use queue_core::operations::jobs::JobAction;
use queue_core::{JobId, Options, Queue, ShardState, Shards};
use queue_tests::world::World;
use queue_worker::dashboard::{Dashboard, Role, routes_of_shards};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;

use super::api::{answers_are_as_described, fill, read};
use super::many::{begin, ended, failed};
use super::{Site, enqueue, fail};

/// Every address of the pages that show all shards.
const ROUTES: [(&str, &str, Role); 30] = [
    ("GET", "/", Role::Viewer),
    ("GET", "/jobs", Role::Viewer),
    ("GET", "/failures", Role::Viewer),
    ("GET", "/queues", Role::Viewer),
    ("GET", "/limits", Role::Viewer),
    ("GET", "/recurring", Role::Viewer),
    ("GET", "/batches", Role::Viewer),
    ("GET", "/tenants", Role::Viewer),
    ("GET", "/processes", Role::Viewer),
    ("GET", "/audit", Role::Viewer),
    ("GET", "/audit.csv", Role::Viewer),
    ("GET", "/help", Role::Viewer),
    ("GET", "/display", Role::Viewer),
    ("GET", "/metrics", Role::Viewer),
    ("GET", "/api/v1/openapi.json", Role::Viewer),
    ("GET", "/jobs/{id}", Role::Viewer),
    ("GET", "/api/v1/findings", Role::Viewer),
    ("GET", "/api/v1/stats", Role::Viewer),
    ("GET", "/api/v1/counts", Role::Viewer),
    ("GET", "/api/v1/depths", Role::Viewer),
    ("GET", "/api/v1/jobs", Role::Viewer),
    ("GET", "/api/v1/failures", Role::Viewer),
    ("GET", "/api/v1/queues", Role::Viewer),
    ("GET", "/api/v1/limits", Role::Viewer),
    ("GET", "/api/v1/recurring", Role::Viewer),
    ("GET", "/api/v1/batches", Role::Viewer),
    ("GET", "/api/v1/tenants", Role::Viewer),
    ("GET", "/api/v1/processes", Role::Viewer),
    ("GET", "/api/v1/operations", Role::Viewer),
    ("GET", "/api/v1/audit", Role::Viewer),
];

/// The pages of all shards.
const PAGES: [&str; 11] = [
    "",
    "/jobs",
    "/failures",
    "/queues",
    "/limits",
    "/recurring",
    "/batches",
    "/tenants",
    "/processes",
    "/audit",
    "/help",
];

struct Two {
    eu: World,
    us: World,
}

impl Two {
    async fn new() -> Self {
        let (eu, us) = (World::new().await, World::new().await);
        Self { eu, us }
    }

    fn shards(&self) -> Shards {
        let shards = [("eu", self.eu.queue.clone()), ("us", self.us.queue.clone())];
        Shards::new(shards).unwrap()
    }

    fn site(&self, role: Role) -> Site {
        Site::open_all(&self.shards(), role)
    }
}

/// A queue whose server does not answer.
fn away() -> Queue {
    let nowhere = "postgres://queue@127.0.0.1:1/queue";
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(100));
    Queue::new(options.connect_lazy(nowhere).unwrap())
}

async fn start_process(world: &World) {
    world
        .sql(
            "insert into queue.processes (id, name, host, pid, version, details)
             values (gen_random_uuid(), 'worker-1', 'host', 1, '1', '{}')",
        )
        .await;
}

/// Returns a page without its tags and line breaks.
fn words(page: &str) -> String {
    let page = page.split_once("<main").map_or(page, |(_, main)| main);
    let texts = page
        .split('<')
        .filter_map(|tag| Some(tag.split_once('>')?.1));
    texts
        .collect::<Vec<_>>()
        .join(" ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

async fn send(world: &World, kind: &'static str) -> JobId {
    enqueue(world, kind, &json!({}), Options::new()).await
}

#[test]
fn the_table_of_addresses_of_all_shards_is_whole() {
    let routes = routes_of_shards();
    let routes = routes
        .iter()
        .map(|(method, path, role)| (*method, &**path, *role));
    assert_eq!(routes.collect::<Vec<_>>(), ROUTES);
}

#[tokio::test]
async fn nothing_of_shards_is_shown_to_strangers_or_changed_where_all_are_shown() {
    let two = Two::new().await;
    let job = send(&two.eu, "send").await;
    let closed = Site::of(Dashboard::of_shards(&two.shards()));
    let admin = two.site(Role::Admin);

    for (method, path, _) in ROUTES {
        let path = path.replace("{id}", &format!("eu:{job}"));
        for path in [path.clone(), format!("/shards/eu{path}")] {
            let answer = closed.send(method, &path, "").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        }
        let posted = admin.send("POST", &path, "").await;
        assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for page in PAGES {
        let page = admin.page(page).await;
        assert!(
            !page.contains("formaction") && !page.contains("row-acts\"><"),
            "{page}"
        );
    }
    let posted = admin
        .send("POST", &format!("/jobs/eu:{job}/discard"), "")
        .await;
    assert_eq!(posted.status, StatusCode::NOT_FOUND);
}

/// Enqueues so many jobs, and lets as many others fail.
async fn send_and_fail(world: &World, jobs: i64) {
    for _ in 0..jobs {
        send(world, "send").await;
        let failed = send(world, "charge").await;
        fail(world, failed, "the bank is closed").await;
    }
}

#[tokio::test]
async fn counts_queues_and_causes_add_up() {
    let two = Two::new().await;
    for (world, jobs) in [(&two.eu, 1), (&two.us, 2)] {
        send_and_fail(world, jobs).await;
    }
    two.us
        .sql("insert into queue.queues (name, paused_at) values ('default', now())")
        .await;
    let site = two.site(Role::Admin);

    let overview = words(&site.page("").await);
    let queues = site.page("/queues").await;
    let failures = site.page("/failures").await;

    assert!(overview.contains("Ready 3"), "{overview}");
    assert!(
        overview.contains("Failed 3 until somebody retries"),
        "{overview}"
    );
    let queues = words(&queues);
    assert!(
        queues.contains("One queue is paused: default ."),
        "{queues}"
    );
    assert!(queues.contains("eu us paused"), "{queues}");
    for shard in ["eu", "us"] {
        let href = format!("href=\"/ops/jobs/shards/{shard}/failures/charge/");
        assert!(failures.contains(&href), "{failures}");
    }
    let failures = words(&failures);
    assert!(
        failures.contains("1 cause is behind 3 failed jobs."),
        "{failures}"
    );
}

#[tokio::test]
async fn a_shard_that_is_not_open_says_which_jobs_it_takes() {
    let two = Two::new().await;
    let overview = async |state| {
        let shards = two.shards().with_state("us", state).unwrap();
        let page = Site::open_all(&shards, Role::Viewer).page("").await;
        words(page.split_once("id=\"shards\"").unwrap().1)
    };

    let open = overview(ShardState::Open).await;
    let adding = overview(ShardState::Adding).await;
    let draining = overview(ShardState::Draining).await;

    for word in ["open", "adding", "draining"] {
        assert!(!open.contains(word), "{open}");
    }
    let moves = "us adding A key moves to it when its old shard has none of its unfinished jobs.";
    assert!(adding.contains(moves), "{adding}");
    let takes = "us draining It takes no new jobs, and runs those it has.";
    assert!(draining.contains(takes), "{draining}");
    assert_eq!(draining.matches("draining").count(), 1, "{draining}");
}

#[tokio::test]
async fn jobs_of_all_shards_are_one_list_of_pages() {
    let two = Two::new().await;
    let mut sent = Vec::new();
    for _ in 0..30 {
        sent.push(format!("eu:{}", send(&two.eu, "old").await));
    }
    for _ in 0..40 {
        sent.push(format!("us:{}", send(&two.us, "new").await));
    }
    let site = two.site(Role::Admin);

    let mut path = "/jobs?state=ready".to_owned();
    let mut listed = Vec::new();
    loop {
        let page = site.page(&path).await;
        let rows = page.split("<tr role=\"row\" id=\"job-").skip(1);
        listed.extend(rows.map(|row| row.split('"').next().unwrap().to_owned()));
        let Some((_, next)) = page.split_once("rel=\"next\" href=\"/ops/jobs") else {
            break;
        };
        path = next
            .split('"')
            .next()
            .unwrap()
            .replace("&#38;", "&")
            .replace("&amp;", "&");
    }

    sent.reverse();
    assert_eq!(listed, sent);
}

#[tokio::test]
async fn an_id_with_its_shard_leads_to_the_page_of_the_job() {
    let two = Two::new().await;
    let job = send(&two.us, "send").await;
    let site = two.site(Role::Viewer);
    let page = format!("/ops/jobs/shards/us/jobs/{job}");

    for path in [
        format!("/jobs/us:{job}"),
        format!("/jobs?q=us:{job}"),
        format!("/shards/eu/jobs?q=us:{job}"),
    ] {
        let answer = site.get(&path).await;
        assert_eq!(answer.header("location"), page, "{path}");
    }
    assert!(
        site.page(&format!("/shards/us/jobs/{job}"))
            .await
            .contains("send")
    );
    assert_eq!(
        site.get(&format!("/shards/eu/jobs/{job}")).await.status,
        StatusCode::NOT_FOUND
    );
    for path in [format!("/jobs/{job}"), format!("/jobs/asia:{job}")] {
        let answer = site.get(&path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.text.contains("an id is eu:4711 or us:4711"),
            "{}",
            answer.text
        );
    }
    let searched = site.page(&format!("/jobs?q={job}")).await;
    assert!(
        searched.contains("an id is eu:4711 or us:4711"),
        "{searched}"
    );
}

#[tokio::test]
async fn pages_of_all_shards_say_where_to_act_to_those_who_may() {
    let two = Two::new().await;
    let says = async |site: &Site, path: &str| {
        let page = words(&site.page(path).await);
        page.contains("To retry or pause, choose a shard.")
    };

    let operator = two.site(Role::Operator);
    for path in PAGES {
        assert!(says(&operator, path).await, "{path}");
    }
    assert!(!says(&operator, "/shards/eu").await);
    assert!(!says(&two.site(Role::Viewer), "").await);
}

#[tokio::test]
async fn one_acts_on_the_pages_of_a_shard() {
    let two = Two::new().await;
    for world in [&two.eu, &two.us] {
        let job = send(world, "send").await;
        fail(world, job, "no answer").await;
    }
    let site = two.site(Role::Operator);
    let job: JobId = JobId(1);
    let page = format!("/shards/us/jobs/{job}");

    let token = site.get(&page).await.token();
    let foreign = site.get(&format!("/shards/eu/jobs/{job}")).await.token();
    let path = format!("{page}/retry");
    let refused = site.send("POST", &path, &format!("token={foreign}")).await;
    let done = site.send("POST", &path, &format!("token={token}")).await;

    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_eq!(done.header("location"), format!("/ops/jobs{page}"));
    assert!(
        done.header("set-cookie")
            .contains("Path=/ops/jobs/shards/us;")
    );
    assert_eq!(
        [two.eu.count("ready").await, two.us.count("ready").await],
        [0, 1]
    );
    assert_eq!(
        [two.eu.count("audit").await, two.us.count("audit").await],
        [0, 1]
    );
    let audit = site.page("/audit").await;
    assert!(words(&audit).contains("us retried job us:1"), "{audit}");
    let viewer = two.site(Role::Viewer);
    let refused = viewer.send("POST", &path, "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_act_on_many_jobs_whose_dashboard_died_goes_on_where_all_shards_are_shown() {
    let two = Two::new().await;
    let job = send(&two.us, "send").await;
    fail(&two.us, job, "no answer").await;
    begin(&two.us, JobAction::Retry, failed()).await;

    let site = two.site(Role::Viewer);
    let page = site.page("/jobs").await;
    ended(&two.us).await;

    assert!(
        page.contains("href=\"/ops/jobs/shards/us/operations/1\""),
        "{page}"
    );
    assert_eq!(two.us.count("ready").await, 1);
}

#[tokio::test]
async fn a_shard_that_is_away_is_said_and_the_rest_is_shown() {
    let eu = World::new().await;
    send(&eu, "send").await;
    let shards = Shards::new([("eu", eu.queue.clone()), ("us", away())]).unwrap();
    let site = Site::open_all(&shards, Role::Admin);

    for path in PAGES {
        let page = words(&site.page(path).await);
        assert!(page.contains("The shard us is away"), "{path}: {page}");
    }
    assert!(
        site.page("/jobs?state=ready")
            .await
            .contains("id=\"job-eu:1\"")
    );
    let there = site.page("/shards/eu/jobs").await;
    assert!(!there.contains("is away"), "{there}");
    let gone = site.get("/shards/us/jobs").await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.get("/ready").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_shard_that_refuses_is_said_and_the_rest_is_shown() {
    let eu = World::new().await;
    let nowhere = eu.connect_options().database("there_is_no_such_database");
    let us = Queue::new(PgPoolOptions::new().connect_lazy_with(nowhere));
    let shards = Shards::new([("eu", eu.queue.clone()), ("us", us)]).unwrap();
    let site = Site::open_all(&shards, Role::Admin);

    for path in PAGES {
        let page = words(&site.page(path).await);
        assert!(page.contains("The shard us is away"), "{path}: {page}");
    }
    let stats = site.get("/api/v1/stats").await;
    assert_eq!(stats.status, StatusCode::OK, "{}", stats.text);
}

#[tokio::test]
async fn a_shard_that_is_away_is_a_problem_and_has_a_row_between_the_others() {
    let two = Two::new().await;
    start_process(&two.eu).await;
    start_process(&two.us).await;
    let shards = [
        ("eu", two.eu.queue.clone()),
        ("gb", away()),
        ("us", two.us.queue.clone()),
    ];
    let shards = Shards::new(shards).unwrap();
    let shards = shards.with_state("gb", ShardState::Draining).unwrap();
    let site = Site::open_all(&shards, Role::Viewer);

    let page = site.page("").await;

    let all = words(&page);
    assert!(all.contains("1 problem stops jobs"), "{all}");
    assert!(!all.contains("No job has been enqueued yet"), "{all}");
    let (_, table) = page.split_once("aria-label=\"Shards\">\n<thead").unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    let rows: Vec<_> = table.split("<tr").skip(2).collect();
    let names = rows.iter().map(|row| words(row)[..2].to_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["eu", "gb", "us"], "{table}");
    let cells = rows.iter().map(|row| row.matches("<td").count());
    assert_eq!(cells.collect::<BTreeSet<_>>().len(), 1, "{table}");
    assert!(rows[1].contains("href=\"/ops/jobs/shards/gb\""), "{table}");
    assert!(
        rows[1].contains("<span class=\"bad\">away</span>"),
        "{table}"
    );
    assert!(words(rows[1]).contains("gb draining"), "{table}");
}

#[tokio::test]
async fn pages_say_why_a_shard_is_away_without_its_password() {
    let eu = World::new().await;
    let nowhere = "postgres://queue:hunter2@127.0.0.1:1/queue";
    let away = |patience| {
        let options = PgPoolOptions::new().acquire_timeout(patience);
        Queue::new(options.connect_lazy(nowhere).unwrap())
    };
    let shards = [
        ("eu", eu.queue.clone()),
        ("gb", away(Duration::from_millis(100))),
        ("us", away(Duration::from_secs(30))),
    ];
    let site = Site::open_all(&Shards::new(shards).unwrap(), Role::Viewer);

    let page = site.page("").await;

    assert!(!page.contains("hunter2"), "{page}");
    let page = words(&page);
    for shard in ["gb", "us"] {
        let said = format!(
            "The shard {shard} is away, and its jobs are not shown here: could not connect to \
             127.0.0.1, port 1: error communicating with database: Connection refused"
        );
        assert!(page.contains(&said), "{page}");
    }
}

#[tokio::test]
async fn numbers_of_queues_and_processes_say_what_they_count() {
    let two = Two::new().await;
    let site = two.site(Role::Viewer);
    send(&two.eu, "send").await;
    let one = words(&site.page("").await);
    two.us
        .sql("insert into queue.queues (name, paused_at) values ('mail', now())")
        .await;
    for world in [&two.eu, &two.us] {
        start_process(world).await;
    }

    let overview = words(&site.page("").await);
    let processes = words(&site.page("/processes").await);
    let alone = words(&site.page("/shards/eu/processes").await);

    assert!(one.contains("All queues"), "{one}");
    assert!(overview.contains("All 2 queues"), "{overview}");
    let counts = "Processes counted on each of their shards All 2 processes";
    assert!(overview.contains(counts), "{overview}");
    let counts =
        "All 2 processes are well. A process that serves several shards is counted on each.";
    assert!(processes.contains(counts), "{processes}");
    assert!(!alone.contains("several shards"), "{alone}");
}

#[tokio::test]
async fn nothing_is_shown_if_all_shards_are_away() {
    let site = Site::open_all(&Shards::new([("eu", away())]).unwrap(), Role::Admin);
    let answer = site.get("").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("The database does not answer"));
    assert_eq!(
        site.get("/ready").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn rows_of_the_json_name_their_shard() {
    let two = Two::new().await;
    let mut jobs = Vec::new();
    for world in [&two.eu, &two.us] {
        fill(world).await;
        jobs.push(send(world, "send").await);
    }
    let site = two.site(Role::Viewer);

    answers_are_as_described(&site, |path| path.to_owned()).await;
    let processes = read(&site, "/processes").await;
    let processes = processes.as_array().unwrap().iter();
    let names = processes.map(|process| &process["shard"]);
    let stats = read(&site, "/stats").await;
    let before = format!("/jobs?state=ready&before=eu:{},us:{}", jobs[0], jobs[1]);
    let older = read(&site, &before).await;
    let older = older.as_array().unwrap();

    assert!(names.eq(["eu", "us"]));
    assert_eq!(stats["jobs"]["failed"]["count"], 2);
    assert!(
        !older.is_empty() && older.iter().all(|job| job["kind"] == "import"),
        "{older:?}"
    );
    for list in ["queues", "processes"] {
        let alone = site.page(&format!("/shards/us/api/v1/{list}")).await;
        assert!(!alone.contains("shard"), "{alone}");
    }
}

#[tokio::test]
async fn the_json_adds_up_what_the_pages_add_up() {
    let two = Two::new().await;
    for (world, jobs) in [(&two.eu, 1), (&two.us, 2)] {
        send_and_fail(world, jobs).await;
        let (mut conn, schema) = (world.connect().await, world.queue.schema());
        let counts = Counts {
            done: jobs,
            ..Counts::default()
        };
        let of_kind = KindCounts {
            queue: "default".to_owned(),
            kind: "send".to_owned(),
            counts,
        };
        append(&mut conn, schema, &[of_kind]).await.unwrap();
        sample(&mut conn, schema).await.unwrap();
    }
    two.us
        .sql("insert into queue.queues (name, paused_at) values ('default', now())")
        .await;
    let site = two.site(Role::Viewer);

    for (path, field) in [
        ("/queues", "ready"),
        ("/failures", "count"),
        ("/counts", "done"),
        ("/depths", "ready"),
    ] {
        let answer = read(&site, path).await;
        let rows = answer.as_array().unwrap();
        let number = |row: &Value| row[field].as_i64().unwrap_or(0);
        let of_shard = |shard: &str| {
            let parts = rows.iter().map(|row| number(&row["shards"][shard]));
            parts.sum::<i64>()
        };
        let keys = rows
            .iter()
            .map(|row| [&row["name"], &row["kind"], &row["at"]].map(Value::to_string));
        assert_eq!(keys.collect::<BTreeSet<_>>().len(), rows.len(), "{path}");
        assert_eq!(rows.iter().map(number).sum::<i64>(), 3, "{path}");
        assert_eq!([of_shard("eu"), of_shard("us")], [1, 2], "{path}");
    }
    let queues = read(&site, "/queues").await;
    assert!(!queues[0]["paused_at"].is_null(), "{queues}");
    assert!(queues[0]["shards"]["eu"]["paused_at"].is_null(), "{queues}");

    let shards = [("eu", two.eu.queue.clone()), ("us", away())];
    let site = Site::open_all(&Shards::new(shards).unwrap(), Role::Viewer);
    for path in ["/queues", "/failures", "/counts", "/depths", "/processes"] {
        let answer = site.get(&format!("/api/v1{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("x-queue-away"), "us", "{path}");
    }
    let queues = read(&site, "/queues").await;
    assert_eq!(queues[0]["ready"], 1);
    assert_eq!(queues[0]["shards"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_cause_adds_up_although_its_shard_has_a_hundred_larger_ones() {
    let two = Two::new().await;
    for (world, jobs) in [(&two.eu, 1), (&two.us, 5)] {
        for _ in 0..jobs {
            let job = send(world, "rare").await;
            fail(world, job, "no answer").await;
        }
    }
    two.eu
        .sql(
            "insert into queue.failed (job_id, attempt, failures, crashes, queue, kind)
             select 1000 + n, 1, 1, 0, 'default', 'kind' || n / 2 from generate_series(0, 201) n",
        )
        .await;
    two.eu
        .sql(
            "update queue.failed set failed_at = failed_at - interval '3 days' where kind = 'rare'",
        )
        .await;
    let site = two.site(Role::Viewer);

    let causes = read(&site, "/failures").await;
    let page = site.page("/failures?within=24h").await;

    let causes = causes.as_array().unwrap();
    assert_eq!(causes.len(), 100);
    let rare = &causes[0];
    assert_eq!((&rare["kind"], &rare["count"]), (&json!("rare"), &json!(6)));
    assert_eq!(rare["shards"].as_object().unwrap().len(), 2);
    assert!(
        words(&page).contains("6 failed jobs are of kind rare and the first cause."),
        "{page}"
    );
    let href = format!("/failures/rare/{}", rare["fingerprint"].as_str().unwrap());
    site.page(&format!("/shards/eu{href}")).await;
}

#[tokio::test]
async fn a_place_that_names_no_shard_is_refused() {
    let two = Two::new().await;
    let site = two.site(Role::Viewer);
    let places = ["jobs?before", "batches?before", "audit?before"];
    let refused = async |path: String, said: &str| {
        let answer = site.get(&path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.text.contains(said), "{}", answer.text);
    };

    for place in places {
        for id in ["2", "zz:2", "eu:4,2"] {
            refused(format!("/api/v1/{place}={id}"), "eu:4711,us:4711").await;
        }
        let of_shard = format!("/shards/eu/api/v1/{place}=eu:2");
        refused(of_shard, "such as `4711`").await;
        for id in ["eu:2", "us:2,eu:2"] {
            site.page(&format!("/api/v1/{place}={id}")).await;
        }
    }
    for page in ["jobs?before", "batches?below", "audit?before"] {
        refused(format!("/{page}=2"), "eu:4711,us:4711").await;
    }
}

#[tokio::test]
async fn keys_and_tenants_of_all_shards_are_lists_of_pages() {
    let two = Two::new().await;
    for (world, first) in [(&two.eu, 0), (&two.us, 100)] {
        let names = format!("'m' || n from generate_series({first}, {first} + 125) n");
        for set in [
            "limits (declared, slots, name) select false, 2,",
            "tenants (weight, name) select 2,",
        ] {
            world.sql(&format!("insert into queue.{set} {names}")).await;
        }
    }
    let site = two.site(Role::Viewer);

    for (list, name) in [("limits?key", "key"), ("tenants?after", "name")] {
        let (mut listed, mut last) = (Vec::new(), String::new());
        loop {
            let page = read(&site, &format!("/{list}={last}")).await;
            let rows = page.as_array().unwrap().iter();
            let rows = rows.map(|row| [&row[name], &row["shard"]].map(Value::to_string));
            listed.extend(rows);
            let Some(row) = page.as_array().unwrap().last() else {
                break;
            };
            last = row[name].as_str().unwrap().to_owned();
        }
        assert_eq!(listed.len(), 252, "{list}");
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 252, "{list}");
    }
}

#[tokio::test]
async fn a_name_with_a_slash_and_one_connection_to_each_shard_suffice() {
    let (eu, us) = (World::new().await, World::new().await);
    let options = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(3));
    let queue =
        |world: &World| Queue::new(options.clone().connect_lazy_with(world.connect_options()));
    let shards = Shards::new([("eu/1", queue(&eu)), ("us/1", queue(&us))]).unwrap();
    let job = send(&eu, "send").await;
    let site = Site::open_all(&shards, Role::Admin);

    for path in PAGES {
        let page = words(&site.page(path).await);
        assert!(!page.contains("is away"), "{path}: {page}");
    }
    let answer = site.get(&format!("/jobs/eu%2F1:{job}")).await;
    let page = format!("/shards/eu%2F1/jobs/{job}");
    assert_eq!(answer.header("location"), format!("/ops/jobs{page}"));
    assert!(
        site.page(&page)
            .await
            .contains("href=\"/ops/jobs/shards/us%2F1/jobs\"")
    );
    assert!(
        site.page("/shards/us%2F1")
            .await
            .contains("No queue has been seen yet")
    );
}

#[tokio::test]
async fn each_page_leads_to_the_same_of_other_shards() {
    let two = Two::new().await;
    let site = two.site(Role::Viewer);

    let page = site.page("/shards/eu/queues").await;

    for (href, name) in [
        ("/ops/jobs/queues\"", "All shards"),
        ("/ops/jobs/shards/eu/queues\" aria-current=\"true\"", "eu"),
        ("/ops/jobs/shards/us/queues\"", "us"),
    ] {
        let link = format!("<a href=\"{href}><bdi>{name}</bdi></a>");
        assert!(page.contains(&link), "{link}: {page}");
    }
    let dark = site
        .get("/shards/eu/display?theme=dark&back=%2Fqueues")
        .await;
    assert!(
        dark.header("set-cookie")
            .starts_with("queue_theme=dark; Path=/ops/jobs;")
    );
    assert_eq!(dark.header("location"), "/ops/jobs/shards/eu/queues");
}
