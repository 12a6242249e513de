//! Finished and failed jobs are kept for their retention, then cleared with their rows elsewhere.

use std::time::Duration;

use queue_core::operations::audit::clear_audit;
use queue_core::transitions::clear::{ClearFilter, clear_failed, clear_finished};
use queue_core::{Options, States, Unique};
use queue_tests::stage::Stage;
use queue_tests::world::{World, worker};
use queue_worker::config::KeepFor;
use queue_worker::{NewJob, Settings};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

/// Adds a job that finished this many hours ago, with a recorded attempt and a unique key.
async fn finished(world: &World, kind: &str, queue: &'static str, hours: u32) {
    ended(world, kind, queue).await;
    world
        .sql(&format!(
            "insert into queue.finished (job_id, attempt, outcome, finished_at)
             select max(id), 2, 'done', now() - interval '{hours} hours' from queue.jobs"
        ))
        .await;
}

async fn failed(world: &World, hours: u32) {
    ended(world, "k", "q").await;
    world
        .sql(&format!(
            "insert into queue.failed (job_id, attempt, failures, crashes, queue, kind, failed_at)
             select max(id), 1, 1, 0, 'q', 'k', now() - interval '{hours} hours' from queue.jobs"
        ))
        .await;
}

async fn ended(world: &World, kind: &str, queue: &'static str) {
    let states = States::UNFINISHED | States::FINISHED | States::FAILED;
    let key = world.count("jobs").await;
    let unique = Unique::by_key(key.to_string()).while_in(states);
    let job = NewJob::untyped(kind, &json!(1), Options::new().queue(queue).unique(unique));
    let _ = world.queue.enqueue_all([job]).await.unwrap();
    world.sql("delete from queue.ready").await;
    world
        .sql(
            "insert into queue.attempts (job_id, attempt, started_at, process, ending, error)
             select max(id), 1, now(), 'p', 'error', 'e' from queue.jobs",
        )
        .await;
}

async fn counts(world: &World) -> [i64; 4] {
    [
        world.count("jobs").await,
        world.count("finished").await,
        world.count("attempts").await,
        world.count("unique_keys").await,
    ]
}

fn frequent_maintenance() -> Settings {
    let mut settings = worker("*", 1);
    settings.maintenance.interval = Duration::from_millis(100);
    settings
}

#[tokio::test]
async fn finished_jobs_beyond_the_retention_are_cleared_with_their_attempts_and_keys() {
    let world = World::new().await;
    for hours in [30, 25, 23, 0] {
        finished(&world, "k", "q", hours).await;
    }

    let process = world.start(Stage::default().app(), frequent_maintenance());
    world.until("jobs", 2).await;
    process.stop().await;

    assert_eq!(counts(&world).await, [2, 2, 2, 2]);
    let young = "finished where finished_at > now() - interval '24 hours'";
    assert_eq!(world.count(young).await, 2);
}

#[tokio::test]
async fn the_retention_of_a_kind_overrides_its_queue_and_a_queue_the_default() {
    let world = World::new().await;
    for (kind, queue) in [
        ("short", "long"),
        ("forever", "short"),
        ("k", "long"),
        ("k", "short"),
        ("k", "q"),
    ] {
        finished(&world, kind, queue, 48).await;
    }
    finished(&world, "k", "q", 12).await;
    let mut settings = frequent_maintenance();
    let retention = &mut settings.retention;
    for (kinds, name, keep) in [
        (true, "short", KeepFor::For(HOUR)),
        (true, "forever", KeepFor::Forever),
        (false, "short", KeepFor::For(HOUR)),
        (false, "long", KeepFor::For(72 * HOUR)),
    ] {
        let rules = if kinds {
            &mut retention.kinds
        } else {
            &mut retention.queues
        };
        rules.insert(name.to_owned(), keep);
    }

    let process = world.start(Stage::default().app(), settings);
    world.until("jobs", 3).await;
    process.stop().await;

    let kept: Vec<(String, String)> = world
        .rows("select kind, queue from queue.jobs order by id")
        .await;
    let kept: Vec<(&str, &str)> = kept.iter().map(|(k, q)| (k.as_str(), q.as_str())).collect();
    assert_eq!(kept, [("forever", "short"), ("k", "long"), ("k", "q")]);
}

#[tokio::test]
async fn failed_jobs_are_kept_by_default() {
    let world = World::new().await;
    failed(&world, 24 * 365).await;
    finished(&world, "k", "q", 48).await;

    let process = world.start(Stage::default().app(), frequent_maintenance());
    world.until("finished", 0).await;
    process.stop().await;

    assert_eq!(world.count("failed").await, 1);
    assert_eq!(counts(&world).await, [1, 0, 1, 1]);
}

#[tokio::test]
async fn failed_jobs_are_cleared_if_a_retention_is_set() {
    let world = World::new().await;
    failed(&world, 48).await;
    failed(&world, 1).await;
    let mut settings = frequent_maintenance();
    settings.retention.failed = Some(24 * HOUR);

    let process = world.start(Stage::default().app(), settings);
    world.until("failed", 1).await;
    process.stop().await;

    assert_eq!(counts(&world).await, [1, 0, 1, 1]);
}

#[tokio::test]
async fn a_process_with_endless_retention_clears_nothing() {
    let world = World::new().await;
    finished(&world, "k", "q", 24 * 365).await;
    failed(&world, 48).await;
    let mut settings = frequent_maintenance();
    settings.retention.finished = None;
    settings.retention.failed = Some(HOUR);

    let process = world.start(Stage::default().app(), settings);
    world.until("failed", 0).await;
    process.stop().await;

    assert_eq!(world.count("finished").await, 1);
}

#[tokio::test]
async fn a_batch_clears_the_oldest_jobs_up_to_its_size() {
    let world = World::new().await;
    for hours in [40, 50, 30, 60, 26] {
        finished(&world, "k", "q", hours).await;
    }
    failed(&world, 48).await;
    failed(&world, 48).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let which = ClearFilter::default();

    let first = clear_finished(&mut conn, schema, &which, 24 * HOUR, None, 2).await;

    let (cleared, last) = first.unwrap();
    assert_eq!(cleared, 2);
    assert_eq!(world.count("finished").await, 3);
    assert_eq!(
        world
            .count("finished where finished_at < now() - interval '45 hours'")
            .await,
        0
    );
    let rest = clear_finished(&mut conn, schema, &which, 24 * HOUR, last, 10).await;
    assert_eq!(rest.unwrap().0, 3);
    assert_eq!(clear_failed(&mut conn, schema, HOUR, 1).await.unwrap(), 1);
    assert_eq!(world.count("failed").await, 1);
}

#[tokio::test]
async fn more_than_a_batch_is_cleared_in_one_pass() {
    let world = World::new().await;
    for hours in 30..42 {
        finished(&world, "k", "q", hours).await;
    }
    let mut settings = frequent_maintenance();
    settings.maintenance.batch_size = 5;
    // The next pass would be tomorrow.
    settings.maintenance.interval = 24 * HOUR;

    let process = world.start(Stage::default().app(), settings);
    world.until("jobs", 0).await;
    process.stop().await;

    assert_eq!(counts(&world).await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn old_acts_and_operations_are_cleared_and_recent_ones_stay() {
    let world = World::new().await;
    world
        .sql(
            "insert into queue.audit (at, who, role, what, target)
             select now() - age * interval '1 hour', 'mira', 'admin', 'pause', 'queues/mail'
             from unnest('{4, 3, 1}'::integer[]) as age",
        )
        .await;
    world
        .sql(
            "insert into queue.operations
                 (counted, counted_at_least, action, who, role, filter, ended_at)
             select 1, false, 'retry', 'mira', 'admin', '{}', now() - age * interval '1 hour'
             from unnest('{4, null, 1}'::integer[]) as age",
        )
        .await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    assert_eq!(
        clear_audit(&mut conn, schema, 2 * HOUR, 1).await.unwrap(),
        1
    );
    assert_eq!(
        clear_audit(&mut conn, schema, 2 * HOUR, 10).await.unwrap(),
        1
    );

    assert_eq!(
        world
            .count("audit where at > now() - interval '2 hours'")
            .await,
        1
    );
    assert_eq!(world.count("audit").await, 1);
    assert_eq!(world.count("operations").await, 2);
    let mut settings = frequent_maintenance();
    settings.retention.audit = Some(HOUR / 2);
    let process = world.start(Stage::default().app(), settings);
    world.until("audit", 0).await;
    process.stop().await;
}
