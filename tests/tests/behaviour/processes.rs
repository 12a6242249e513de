//! Processes start, live and stop: what others recover from them, and what they clean up.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use queue_core::inspect::versions;
use queue_core::process::{Asked, ProcessId, ProcessInfo, heartbeat, register};
use queue_core::transitions::cancel::request_cancel;
use queue_core::transitions::promote::promote;
use queue_core::transitions::recover::{Recovered, recover};
use queue_core::{JobId, Outcome};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Process, Settings};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Registers a process that runs nothing.
async fn inert_process(world: &World, name: &str) -> ProcessId {
    let process = ProcessId::new();
    let info = ProcessInfo {
        name: name.to_owned(),
        host: "h".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        details: json!({}),
    };
    register(
        &mut world.connect().await,
        world.queue.schema(),
        process,
        &info,
    )
    .await
    .unwrap();
    process
}

/// Claims all ready jobs for a process that runs nothing.
async fn claim_for(world: &World, process: ProcessId) {
    world
        .sql(&format!(
            "with taken as (delete from queue.ready returning *)
             insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes)
             select job_id, seq, '{process}', attempt + 1, failures, crashes from taken"
        ))
        .await;
}

async fn make_silent(world: &World, process: ProcessId) {
    world
        .sql(&format!(
            "update queue.processes set heartbeat_at = now() - interval '1 minute'
             where id = '{process}'"
        ))
        .await;
}

async fn recover_dead(world: &World) -> Vec<Recovered> {
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    recover(&mut conn, schema, DEAD_AFTER, false).await.unwrap()
}

async fn note(world: &World, text: &str) -> JobId {
    let request = world.queue.enqueue(Note::new(text));
    request.await.unwrap().id()
}

async fn assert_nothing_left(world: &World) {
    assert_eq!(world.count("processes").await, 0);
    assert_eq!(world.count("idle_processes").await, 0);
    assert_eq!(world.count("claimed").await, 0);
}

#[tokio::test]
async fn a_process_describes_itself_in_its_row() {
    let world = World::new().await;
    let mut settings = worker("mail,report*,*", 3);
    settings.workers.push(settings.workers[0].clone());
    settings.process.name = Some("the one".to_owned());
    settings.scheduler.source = Some("shop".to_owned());
    settings.dispatcher.enabled = false;
    let process = world.start(Stage::default().app(), settings);
    world.until("processes", 1).await;

    type Row = (String, i32, String, serde_json::Value, bool);
    let rows: Vec<Row> = world
        .rows("select name, pid, version, details, stopping_at is null from queue.processes")
        .await;

    let (name, pid, version, details, is_going) = &rows[0];
    assert_eq!(name, "the one");
    assert_eq!(*pid, i32::try_from(std::process::id()).unwrap());
    assert!(!version.is_empty() && *is_going);
    let wanted = json!({
        "queues": ["mail,report*,*", "mail,report*,*"],
        "kinds": ["gated", "note"],
        "concurrency": 6,
        "dispatcher": false,
        "scheduler": true,
        "maintenance": true,
        "source": "shop",
    });
    assert_eq!(*details, wanted);
    process.stop().await;
}

#[tokio::test]
async fn the_heartbeat_advances_and_records_when_the_process_is_stopping() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    let process = world.start(stage.app(), settings);
    let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    stage.noted("g begins").await;

    world
        .sql("update queue.processes set heartbeat_at = now() - interval '10 s'")
        .await;
    world
        .until("processes where heartbeat_at > now() - interval '5 s'", 1)
        .await;
    process.ask_to_stop();
    world
        .until("processes where stopping_at is not null", 1)
        .await;

    stage.open("g");
    process.ended().await;
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn the_heartbeat_of_a_process_without_a_row_reports_it() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let process = inert_process(&world, "p").await;

    let beat = heartbeat(&mut conn, schema, process, false).await;
    assert_eq!(beat.unwrap(), Some(Asked::default()));
    world.sql("delete from queue.processes").await;
    let beat = heartbeat(&mut conn, schema, process, false).await;
    assert_eq!(beat.unwrap(), None);
}

#[tokio::test]
async fn unlike_in_solid_queue_a_process_whose_row_is_gone_starts_a_new_life() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    settings.process.cancel_grace = Duration::from_millis(50);
    let process = world.start(stage.app(), settings);
    let job = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;
    let first: String = world.value("select id::text from queue.processes").await;

    world.sql("delete from queue.processes").await;

    stage.noted_times("g begins", 2).await;
    let second: String = world.value("select id::text from queue.processes").await;
    assert_ne!(first, second);
    stage.open("g");
    world.until_state(job, "finished").await;
    process.stop().await;
    assert_eq!(stage.times("g ends"), 1);
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn recovery_makes_the_jobs_of_a_dead_process_ready_and_counts_a_crash() {
    let world = World::new().await;
    let job = note(&world, "a").await;
    let (dead, living) = (
        inert_process(&world, "dead").await,
        inert_process(&world, "living").await,
    );
    claim_for(&world, dead).await;
    let safe = note(&world, "b").await;
    claim_for(&world, living).await;
    assert!(recover_dead(&world).await.is_empty());

    make_silent(&world, dead).await;
    let recovered = recover_dead(&world).await;

    assert_eq!(recovered.len(), 1);
    let job_recovered = &recovered[0];
    assert_eq!(
        (
            job_recovered.job_id,
            job_recovered.process.as_str(),
            job_recovered.became.as_str(),
        ),
        (job, "dead", "ready")
    );
    let ready: Vec<(i64, bool, i32, i16, i16)> = world
        .rows("select job_id, seq > job_id, attempt, failures, crashes from queue.ready")
        .await;
    assert_eq!(ready, [(job.0, true, 1, 0, 1)]);
    let attempts: Vec<(i32, String, String, String)> = world
        .rows("select attempt, ending, process, error from queue.attempts")
        .await;
    let error = "process dead died while it held this job".to_owned();
    assert_eq!(
        attempts,
        [(1, "crash".to_owned(), "dead".to_owned(), error)]
    );
    assert_eq!(world.state(safe).await, "claimed");
    let left: String = world.value("select name from queue.processes").await;
    assert_eq!(left, "living");
}

#[tokio::test]
async fn a_job_whose_process_died_three_times_fails() {
    let world = World::new().await;
    let job = note(&world, "a").await;

    for state in ["ready", "scheduled", "failed"] {
        let process = inert_process(&world, "p").await;
        claim_for(&world, process).await;
        make_silent(&world, process).await;
        recover_dead(&world).await;
        assert_eq!(world.state(job).await, state);
        world.make_scheduled_due().await;
        let mut conn = world.connect().await;
        promote(&mut conn, world.queue.schema(), None, 10)
            .await
            .unwrap();
    }

    let failed: Vec<(i32, i16, i16)> = world
        .rows("select attempt, failures, crashes from queue.failed")
        .await;
    assert_eq!(failed, [(3, 0, 3)]);
    assert_eq!(world.count("attempts where ending = 'crash'").await, 3);
}

#[tokio::test]
async fn a_job_with_one_crash_allowed_does_not_run_again_after_it() {
    let world = World::new().await;
    let request = world.queue.enqueue_many([Note::new("a")]);
    let request = request.with(|options| options.crashes(1));
    let job = request.await.unwrap()[0].id();
    let process = inert_process(&world, "p").await;
    claim_for(&world, process).await;
    make_silent(&world, process).await;

    recover_dead(&world).await;

    assert_eq!(world.state(job).await, "failed");
}

#[tokio::test]
async fn a_job_with_a_cancel_request_is_cancelled_when_its_process_dies() {
    let world = World::new().await;
    let job = note(&world, "a").await;
    let process = inert_process(&world, "p").await;
    claim_for(&world, process).await;
    request_cancel(&mut world.connect().await, world.queue.schema(), &[job])
        .await
        .unwrap();
    make_silent(&world, process).await;

    recover_dead(&world).await;

    let outcome: String = world
        .value("select outcome::text from queue.finished")
        .await;
    assert_eq!(outcome, Outcome::Cancelled.as_str());
    assert_eq!(world.state(job).await, "finished");
}

#[tokio::test]
async fn concurrent_recoveries_recover_each_job_once() {
    let world = World::new().await;
    let jobs = (0..300).map(|n| Note::new(n.to_string()));
    let _ = world.queue.enqueue_many(jobs).await.unwrap();
    let process = inert_process(&world, "p").await;
    claim_for(&world, process).await;
    make_silent(&world, process).await;

    let mut reapers = JoinSet::new();
    for _ in 0..8 {
        let (mut conn, schema) = (world.connect().await, world.queue.schema().clone());
        reapers.spawn(async move {
            let recovered = recover(&mut conn, &schema, DEAD_AFTER, true).await;
            recovered.unwrap().len()
        });
    }
    let recovered: usize = reapers.join_all().await.into_iter().sum();

    assert_eq!(recovered, 300);
    assert_eq!(world.count("ready where crashes = 1").await, 300);
    assert_eq!(world.count("attempts").await, 300);
}

#[tokio::test]
async fn claims_of_unknown_processes_are_recovered_when_a_process_starts() {
    let world = World::new().await;
    let stage = Stage::default();
    note(&world, "orphan").await;
    claim_for(&world, ProcessId::new()).await;

    let process = world.start(stage.app(), worker("*", 1));

    stage.noted("orphan").await;
    world.until("finished where attempt = 2", 1).await;
    process.stop().await;
}

#[tokio::test]
async fn a_live_process_recovers_and_runs_the_jobs_of_a_dead_one() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    let process = world.start(stage.app(), settings);
    run_first_job(&world, &stage).await;
    world
        .sql("insert into queue.queues (name, paused_at) values ('default', now())")
        .await;
    note(&world, "left").await;
    let dead = inert_process(&world, "dead").await;
    claim_for(&world, dead).await;
    world.sql("delete from queue.queues").await;

    make_silent(&world, dead).await;

    stage.noted("left").await;
    process.stop().await;
    assert_eq!(world.count("attempts where ending = 'crash'").await, 1);
}

async fn run_first_job(world: &World, stage: &Stage) {
    note(world, "ready").await;
    stage.noted("ready").await;
}

#[tokio::test]
async fn a_stop_waits_for_running_jobs_and_claims_no_more() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    stage.noted("g begins").await;
    let behind = note(&world, "behind").await;

    process.ask_to_stop();
    stage.open("g");
    process.ended().await;

    assert_eq!(stage.notes(), ["g begins", "g ends"]);
    assert_eq!(world.count("finished").await, 1);
    assert_eq!(world.state(behind).await, "ready");
    assert_nothing_left(&world).await;
}

fn short_timeouts() -> Settings {
    let mut settings = worker("*", 1);
    settings.process.shutdown_timeout = Duration::from_millis(100);
    settings.process.cancel_grace = Duration::from_millis(100);
    settings
}

#[tokio::test]
async fn a_job_that_outlasts_the_shutdown_timeout_becomes_ready_without_a_failure() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), short_timeouts());
    let job = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;

    process.stop().await;

    let ready: Vec<(i64, i64, i32, i16, i16)> = world
        .rows("select job_id, seq, attempt, failures, crashes from queue.ready")
        .await;
    assert_eq!(ready, [(job.0, job.0, 1, 0, 0)]);
    assert_eq!(world.count("attempts").await, 0);
    assert_nothing_left(&world).await;
    let process = world.start(stage.app(), worker("*", 1));
    stage.open("g");
    world
        .until("finished where attempt = 2 and outcome = 'done'", 1)
        .await;
    process.stop().await;
}

#[tokio::test]
async fn a_process_with_a_job_that_does_not_stop_is_gone_by_its_shutdown_timeout() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.shutdown_timeout = Duration::from_secs(3);
    let process = world.start(stage.app(), settings);
    let job = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;

    let began = Instant::now();
    process.stop().await;

    // With the default grace of 5 s beside the timeout it would be 8 s.
    assert!(
        began.elapsed() < Duration::from_millis(3_500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.state(job).await, "ready");
}

#[tokio::test]
async fn an_immediate_stop_releases_the_jobs_within_two_seconds() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 2));
    let short = note(&world, "short").await;
    world.until_state(short, "finished").await;
    let long = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;

    let began = Instant::now();
    process.stop_at_once().await;

    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.state(long).await, "ready");
    assert_eq!(world.state(short).await, "finished");
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_second_stop_request_ends_a_graceful_stop() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let job = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;

    process.ask_to_stop();
    let began = Instant::now();
    process.stop_at_once().await;

    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.state(job).await, "ready");
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn an_idle_process_stops_immediately() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    run_first_job(&world, &stage).await;
    world.until("finished", 1).await;

    let began = Instant::now();
    process.stop().await;

    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_process_stopped_during_its_start_claims_nothing() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = note(&world, "a").await;

    let process = world.start(stage.app(), worker("*", 1));
    process.stop().await;

    assert_eq!(world.state(job).await, "ready");
    assert_eq!(stage.notes(), Vec::<String>::new());
    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_web_service_runs_a_process_inside_itself_until_its_own_shutdown() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = Process::new(world.queue.clone(), stage.app(), worker("*", 1)).unwrap();
    let (shut_down, shutdown) = oneshot::channel::<()>();

    let service = async {
        note(&world, "from a request").await;
        stage.noted("from a request").await;
        world.until("finished", 1).await;
        shut_down.send(()).unwrap();
    };
    let running = process.run_until(async {
        let _either_way = shutdown.await;
    });
    tokio::join!(running, service);

    assert_nothing_left(&world).await;
}

#[tokio::test]
async fn a_process_that_starts_before_the_tables_exist_waits_for_them() {
    let world = World::new().await;
    let stage = Stage::default();
    world.sql("alter schema queue rename to not_yet").await;
    let process = world.start(stage.app(), worker("*", 1));
    world.until_looked_for_tables().await;

    world.sql("alter schema not_yet rename to queue").await;

    note(&world, "at last").await;
    stage.noted("at last").await;
    process.stop().await;
}

#[tokio::test]
async fn a_version_is_first_seen_once_for_each_kind() {
    let world = World::new().await;
    let start = async |version: &str, kinds: &[&str]| {
        let info = ProcessInfo {
            version: version.to_owned(),
            details: json!({"kinds": kinds}),
            ..ProcessInfo::default()
        };
        let (conn, schema) = (&mut world.connect().await, world.queue.schema());
        register(conn, schema, ProcessId::new(), &info)
            .await
            .unwrap();
    };
    let known = async |kind| {
        let (conn, schema) = (&mut world.connect().await, world.queue.schema());
        let known = versions::of_kinds(conn, schema, &[kind]).await.unwrap();
        let versions = known.into_iter().map(|of| of.seen.version);
        versions.collect::<Vec<String>>()
    };

    start("1.0", &["send", "resize"]).await;
    start("1.0", &["send", "resize"]).await;
    start("1.1", &["send"]).await;

    assert_eq!(known("send").await, ["1.0", "1.1"]);
    assert_eq!(known("resize").await, ["1.0"]);
    assert_eq!(known("unknown").await, [""; 0]);
    let first = "select min(first_seen_at) from queue.kind_versions where version = '1.0'";
    let since: DateTime<Utc> = world.value(first).await;
    let (conn, schema) = (&mut world.connect().await, world.queue.schema());
    let seen = versions::since(conn, schema, since, 9).await.unwrap();
    let seen: Vec<&str> = seen.iter().map(|seen| seen.version.as_str()).collect();
    assert_eq!(seen, ["1.1", "1.0"]);

    for patch in 0..19 {
        start(&format!("2.{patch}"), &["send"]).await;
    }
    let kept = known("send").await;
    assert_eq!((kept.len(), kept[0].as_str()), (20, "1.1"));
    assert_eq!(known("resize").await, ["1.0"]);
}
