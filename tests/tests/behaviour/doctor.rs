//! What the doctor and processes say about troubles that have a cause outside the jobs.

use std::sync::Arc;
use std::time::Duration;

use queue_core::inspect::doctor::{self, Finding};
use queue_core::recurring::pause;
use queue_core::{NewJob, Options, Queue};
use queue_tests::pgbouncer::{PgBouncer, PoolMode};
use queue_tests::postgres::DedicatedServer;
use queue_tests::recurring::{by, recurring_job, until_names};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{Process, Stop};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgPool};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::shell::Shell;

const DEAD_AFTER: Duration = Duration::from_secs(30);

async fn examine(world: &World, options: PgConnectOptions) -> Vec<Finding> {
    let mut conn = options.connect().await.unwrap();
    let found = doctor::examine(&mut conn, world.queue.schema(), DEAD_AFTER).await;
    found.unwrap()
}

/// Returns the findings of one check.
async fn found(world: &World, check: &str) -> Vec<Finding> {
    let mut findings = examine(world, world.connect_options()).await;
    findings.retain(|finding| finding.check == check);
    findings
}

/// Runs the command, and returns the finding of a check.
async fn reported(shell: &Shell, check: &str) -> Value {
    let output = shell.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let finding = findings.find(|finding| finding["check"] == check);
    finding.unwrap_or_else(|| panic!("{report}")).clone()
}

/// Makes a role with the rights that these grants give, and returns its name.
async fn role(world: &World, grants: &[&str]) -> String {
    let role: String = world.value("select current_database() || '_role'").await;
    world.sql(&format!("create role {role} login")).await;
    for grant in grants {
        world.sql(&format!("grant {grant} to {role}")).await;
    }
    role
}

async fn drop_role(world: &World, role: &str) {
    world.sql(&format!("drop owned by {role}")).await;
    world.sql(&format!("drop role {role}")).await;
}

/// Executes the grants that findings propose.
async fn grant(world: &World, findings: &[Finding]) {
    for finding in findings {
        let statement = finding.next.split('`').nth(1).unwrap();
        world.sql(statement).await;
    }
}

#[tokio::test]
async fn only_the_first_ready_jobs_of_each_lane_are_looked_at() {
    let world = World::new().await;
    world
        .sql("insert into queue.queues (name, paused_at) values ('long', now()), ('short', now())")
        .await;
    world
        .sql(
            "insert into queue.ready (job_id, seq, queue, kind, priority)
             select n, n, case n % 5000 when 0 then 'short' else 'long' end, 'k', 0
             from generate_series(1, 15000) as n",
        )
        .await;

    let paused = found(&world, "paused_queue").await;

    let what: Vec<_> = paused.iter().map(|finding| &*finding.what).collect();
    assert_eq!(
        what,
        [
            "queue long is paused with at least 10,000 jobs ready",
            "queue short is paused with 3 jobs ready"
        ]
    );
}

#[tokio::test]
async fn the_doctor_names_a_role_with_too_few_rights_and_the_grants_that_it_lacks() {
    let world = World::new().await;
    let may_enqueue = [
        "usage on schema queue",
        "select on all tables in schema queue",
        "insert on queue.jobs, queue.ready",
    ];
    let role = role(&world, &may_enqueue).await;
    let options = world.connect_options().username(&role);
    let missing = async || {
        let mut findings = examine(&world, options.clone()).await;
        findings.retain(|finding| finding.check == "missing_rights");
        findings
    };

    let findings = missing().await;
    grant(&world, &findings).await;

    assert!(findings[0].what.contains(&role), "{findings:?}");
    let deletes =
        |finding: &Finding| finding.next.contains("delete") && finding.next.contains("queue.ready");
    assert!(findings.iter().any(deletes), "{findings:?}");
    assert_eq!(missing().await, []);
    let conn = &mut options.connect().await.unwrap();
    let queue = Queue::new(world.pool().clone());
    queue.enqueue(Note::new("a")).tx(conn).await.unwrap();
    drop(std::mem::replace(conn, world.connect().await));
    drop_role(&world, &role).await;
}

#[tokio::test]
async fn the_doctor_of_a_role_that_may_read_nothing_names_the_grants_instead_of_an_error() {
    let world = World::new().await;
    let role = role(&world, &[]).await;
    let options = world.connect_options().username(&role);

    let findings = examine(&world, options.clone()).await;
    assert_eq!(findings[0].check, "missing_rights");
    let lacks = format!("the role {role} lacks rights on the schema queue: usage");
    assert_eq!(findings[0].what, lacks);
    grant(&world, &findings[..2]).await;

    let findings = examine(&world, options).await;
    assert_eq!(findings[0].check, "no_live_process");
    drop_role(&world, &role).await;
}

#[tokio::test]
async fn the_doctor_names_the_process_role_that_lacks_the_rights_to_end_a_job() {
    let (world, stage) = (World::new().await, Stage::default());
    let all_but_one = [
        "usage on schema queue",
        "select, insert, update, delete on all tables in schema queue",
        "usage, select on all sequences in schema queue",
    ];
    let role = role(&world, &all_but_one).await;
    let revoke = format!("revoke insert on queue.finished from {role}");
    world.sql(&revoke).await;
    let pool = PgPool::connect_lazy_with(world.connect_options().username(&role));
    let process = Process::new(Queue::new(pool.clone()), stage.app(), worker("*", 1)).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));
    let job = world.queue.enqueue(Note::new("a")).await.unwrap().id();
    stage.noted("a").await;

    let findings = found(&world, "missing_rights").await;
    grant(&world, &findings).await;

    assert_eq!(findings.len(), 1, "{findings:?}");
    let proposed = format!("run `grant insert on table queue.finished to {role}`");
    assert_eq!(findings[0].next, proposed);
    world.until_state(job, "finished").await;
    stop.gracefully();
    running.await.unwrap();
    pool.close().await;
    drop_role(&world, &role).await;
}

#[tokio::test]
async fn the_doctor_says_why_a_database_takes_no_writes() {
    let world = World::new().await;
    let name: String = world.value("select current_database()::text").await;
    let read_only = format!("alter database {name} set default_transaction_read_only = on");
    world.sql(&read_only).await;

    let finding = reported(&Shell::on(&world), "takes_no_writes").await;

    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("set for the database"), "{what}");
}

#[tokio::test]
async fn the_doctor_and_an_enqueue_say_that_a_standby_takes_no_writes() {
    let mut server = DedicatedServer::start().await;
    server.become_standby().await;
    let mut shell = Shell::without_database();
    shell.url = Some(server.url());

    let finding = reported(&shell, "takes_no_writes").await;
    let said = shell.refused(3, &["enqueue", "send"]).await;

    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("it is a standby"), "{what}");
    assert!(said.contains("takes no writes"), "{said}");
}

#[tokio::test]
async fn migrate_and_the_doctor_say_what_a_database_without_utf8_cannot_hold() {
    let world = World::new().await;
    let name = world.create_latin1_database().await;
    let mut shell = Shell::on(&world);
    let url = world.connect_options().database(&name).to_url_lossy();
    shell.url = Some(url.to_string());

    let said = shell.refused(0, &["migrate"]).await;
    let finding = reported(&shell, "encoding").await;

    assert!(said.contains("is LATIN1, not UTF8"), "{said}");
    assert!(
        said.contains("only the characters of that encoding"),
        "{said}"
    );
    assert!(finding["what"].as_str().unwrap().contains("LATIN1"));
    world
        .sql(&format!("drop database {name} with (force)"))
        .await;
}

#[tokio::test]
async fn the_doctor_says_that_a_pooler_is_in_front_of_the_server() {
    let world = World::new().await;
    let bouncer = PgBouncer::start(PoolMode::Session, &world.connect_options(), 5);
    let mut shell = Shell::on(&world);
    let report = shell.run(&["doctor", "--json"]).await.stdout;
    assert!(!String::from_utf8_lossy(&report).contains("\"pooler\""));

    shell.url = Some(bouncer.url(&world.connect_options()));

    reported(&shell, "pooler").await;
}

#[tokio::test]
async fn the_doctor_names_paused_recurring_jobs_and_sources_without_a_process() {
    let (world, stage) = (World::new().await, Stage::default());
    let yearly = |name| recurring_job(name, "@yearly");
    let app = stage.app().recurring(yearly("a")).recurring(yearly("b"));
    let process = world.start(app, by("old"));
    until_names(&world, &["a", "b"]).await;
    pause(&mut world.connect().await, world.queue.schema(), "a")
        .await
        .unwrap();
    assert_eq!(found(&world, "abandoned_source").await, []);
    process.stop().await;

    let process = world.start(stage.app(), by("new"));
    world.until("processes", 1).await;

    let paused = found(&world, "paused_recurring_jobs").await;
    assert!(paused[0].what.ends_with(": a"), "{paused:?}");
    let abandoned = found(&world, "abandoned_source").await;
    assert!(abandoned[0].what.contains("source old"), "{abandoned:?}");
    process.stop().await;
}

#[tokio::test]
async fn the_doctor_names_kinds_whose_arguments_do_not_fit_their_type() {
    let (world, stage) = (World::new().await, Stage::default());
    let process = world.start(stage.app(), worker("*", 1));
    let misfit = NewJob::untyped("note", &json!({"no": "text"}), Options::new());
    let job = world.queue.enqueue_all([misfit]).await.unwrap()[0].id();
    world.until_state(job, "scheduled").await;

    let findings = found(&world, "undecodable_kind").await;
    assert!(
        findings[0].what.contains("1 job of kind note"),
        "{findings:?}"
    );

    world.queue.discard(job).await.unwrap();
    assert_eq!(found(&world, "undecodable_kind").await, []);
    process.stop().await;
}

#[tokio::test]
async fn a_process_logs_once_that_jobs_of_an_unknown_kind_wait() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let _logging = logging.set_default();
    let (world, stage) = (World::new().await, Stage::default());
    let lines = || {
        let log = std::fs::read_to_string(log.path()).unwrap();
        let about = |kind: &str| log.matches(&format!("kind=\"{kind}\"")).count();
        (about("typo"), about("other_typo"))
    };
    let wait_since = async |kind: &str| {
        let job = NewJob::untyped(kind, &json!({}), Options::new());
        world.queue.enqueue_all([job]).await.unwrap();
        world
            .sql("update queue.ready set ready_at = now() - interval '1 minute'")
            .await;
    };
    let mut settings = worker("*", 1);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    let process = world.start(stage.app(), settings);

    wait_since("typo").await;
    eventually("the kind is logged", async || lines() == (1, 0)).await;
    wait_since("other_typo").await;

    eventually("the other kind is logged", async || lines().1 == 1).await;
    assert_eq!(lines(), (1, 1));

    // Its connections are opened again, and it looks at once.
    world
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name like 'queue %'",
        )
        .await;
    wait_since("third_typo").await;
    eventually("the third kind is logged", async || {
        let log = std::fs::read_to_string(log.path()).unwrap();
        log.contains("third_typo")
    })
    .await;
    assert_eq!(lines(), (1, 1));
    process.stop().await;
}
