//! An idle process asks the database seldom, by few connections, and is there at once all the same.

use std::time::{Duration, Instant};

use queue_core::recurring::add;
use queue_core::schedule::Tz;
use queue_tests::recurring::recurring_job;
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{Running, World, notifications};
use queue_worker::Settings;

/// How long what was added without a notification may wait at default settings: a poll interval, and as
/// long again for a machine that is busy.
const POLL_MAX: Duration = Duration::from_secs(2);

/// Starts a process with default settings, and waits until its first looks are over.
async fn idle_process(world: &World, stage: &Stage) -> Running {
    let mut settings = Settings::default();
    settings.process.notifications = notifications();
    let app = stage.app().recurring(recurring_job("yearly", "0 12 1 1 *"));
    let process = world.start(app, settings);
    world.until("recurring_jobs", 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    process
}

#[tokio::test]
async fn an_idle_process_makes_few_transactions() {
    let world = World::new().await;
    let process = idle_process(&world, &Stage::default()).await;
    let count = "select (xact_commit + xact_rollback)::bigint from pg_stat_database
        where datname = current_database()";

    let before: i64 = world.value(count).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let made: i64 = world.value::<i64>(count).await - before;

    // About two a second: a look each second, and heartbeats. Servers count late.
    assert!(made <= 30, "{made} transactions in 5 s");
    process.stop().await;
}

#[tokio::test]
async fn an_idle_process_has_at_most_six_connections() {
    let world = World::new().await;
    let process = idle_process(&world, &Stage::default()).await;

    let mut most: i64 = 0;
    for _ in 0..30 {
        let open = world.value(
            "select count(*) from pg_stat_activity
             where datname = current_database() and application_name like 'queue %'",
        );
        most = most.max(open.await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert!(most <= 6, "{most} connections");
    process.stop().await;
}

#[tokio::test]
async fn a_recurring_job_that_is_added_while_the_scheduler_sleeps_is_in_time() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = idle_process(&world, &stage).await;

    let mut conn = world.connect().await;
    let ticking = recurring_job("tick", "every second");
    add(&mut conn, world.queue.schema(), &ticking, Tz::UTC)
        .await
        .unwrap();
    stage.noted_times("tick", 3).await;
    process.stop().await;

    let late: f64 = world
        .value(
            "select max(extract(epoch from fired_at - due_at))::float8
             from queue.firings where outcome = 'enqueued'",
        )
        .await;
    assert!(late < POLL_MAX.as_secs_f64(), "fired {late} s late");
}

#[tokio::test]
async fn a_job_that_is_scheduled_while_the_dispatcher_sleeps_is_in_time() {
    let world = World::new().await;
    let stage = Stage::default();
    let later = world.queue.enqueue(Note::new("later"));
    let _ = later.delay(Duration::from_secs(3_600)).await.unwrap();
    let process = idle_process(&world, &stage).await;

    let soon = world.queue.enqueue(Note::new("soon"));
    let _ = soon.delay(Duration::from_millis(500)).await.unwrap();
    let began = Instant::now();
    stage.noted("soon").await;

    assert!(began.elapsed() < Duration::from_millis(500) + POLL_MAX);
    process.stop().await;
}

#[tokio::test]
async fn a_lost_notification_costs_at_most_a_poll() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = idle_process(&world, &stage).await;

    // In a queue and at a priority of which the worker does not know.
    world
        .sql(
            "with job as (
                insert into queue.jobs
                    (id, priority, attempts_max, crashes_max, kind, queue, args)
                values (nextval('queue.job_seq'), 7, 1, 1, 'note', 'new', '\"silent\"')
                returning id
            )
            insert into queue.ready (job_id, seq, priority, queue, kind)
            select id, id, 7, 'new', 'note' from job",
        )
        .await;
    let began = Instant::now();
    stage.noted("silent").await;

    assert!(began.elapsed() < POLL_MAX, "{:?}", began.elapsed());
    process.stop().await;
}
