//! Connections that were cut between a process and its server: they pass nothing and stay open, while new
//! ones work.

use std::time::{Duration, Instant};

use queue_core::{Job, Queue};
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::proxy::Proxy;
use queue_tests::soundness::assert_sound;
use queue_tests::stage::Stage;
use queue_tests::world::{World, eventually, notifications};
use queue_worker::{App, CompleteError, Cx, Perform, Process, Settings, Stop, pool_options};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::database_trouble::Worker;

/// The default settings.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.process.notifications = notifications();
    settings
}

async fn world() -> (World, Proxy) {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let proxy = Proxy::before(&world.connect_options());
    (world, proxy)
}

fn start(world: &World, proxy: &Proxy, settings: Settings) -> Worker {
    Worker::start(proxy.connect_options(), world.pool(), settings)
}

async fn enqueue(world: &World, jobs: usize) {
    let request = world.queue.enqueue_many(vec![Deed::Quick; jobs]);
    request.await.expect("jobs should be enqueued");
}

/// Waits until a process has become idle.
async fn until_idle(world: &World) {
    if notifications() {
        world.until("idle_processes", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_finish_again_within_eleven_seconds_of_a_cut_and_do_not_stand_still_again() {
    let (world, proxy) = world().await;
    let worker = start(&world, &proxy, settings());
    enqueue(&world, 3_000).await;
    eventually("some jobs are done", async || {
        world.count("finished").await >= 300
    })
    .await;

    proxy.cut();
    let cut_at = Instant::now();
    enqueue(&world, 100).await;
    world.until("finished where outcome = 'done'", 3_100).await;
    assert!(
        cut_at.elapsed() < Duration::from_secs(11),
        "{:?}",
        cut_at.elapsed()
    );

    for round in 1..=5 {
        until_idle(&world).await;
        let began = Instant::now();
        enqueue(&world, 1).await;
        world.until("finished", 3_100 + round).await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    worker.stop().await;
    assert_sound(world.pool()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_is_written_again_within_five_seconds_of_a_cut() {
    let (world, proxy) = world().await;
    let worker = start(&world, &proxy, settings());
    until_idle(&world).await;
    world.until("processes", 1).await;

    let now: String = world.value("select clock_timestamp()::text").await;
    proxy.cut();
    let cut_at = Instant::now();
    let written = format!("processes where heartbeat_at > '{now}'");
    world.until(&written, 1).await;

    assert!(
        cut_at.elapsed() < Duration::from_secs(5),
        "{:?}",
        cut_at.elapsed()
    );
    worker.stop().await;
}

/// Waits until all jobs are done, and stops the process.
async fn assert_soon_done(world: &World, worker: Worker, jobs: i64) {
    let since = Instant::now();
    world.until("finished where outcome = 'done'", jobs).await;
    // An operation without another limit goes on for 30 seconds.
    let took = since.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_found_although_the_heartbeat_has_lost_its_connection_just_before() {
    let (world, proxy) = world().await;
    let worker = start(&world, &proxy, settings());
    world
        .until("processes where heartbeat_at > started_at", 1)
        .await;
    enqueue(&world, 6_000).await;
    let some_are_done = async |jobs| {
        eventually("jobs are done", async || {
            world.count("finished").await >= jobs
        })
        .await;
    };
    some_are_done(300).await;

    proxy.reset();
    let done = world.count("finished").await;
    some_are_done(done + 300).await;
    proxy.cut();

    enqueue(&world, 100).await;
    assert_soon_done(&world, worker, 6_100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_found_although_it_comes_while_counts_are_appended() {
    let (world, proxy) = world().await;
    let mut settings = settings();
    settings.process.heartbeat_interval = Duration::from_millis(300);
    let worker = start(&world, &proxy, settings);
    enqueue(&world, 100).await;
    world.until("finished", 100).await;

    let mut tx = world.pool().begin().await.unwrap();
    let lock = sqlx::query("lock table queue.counts in exclusive mode");
    lock.execute(&mut *tx).await.unwrap();
    enqueue(&world, 1_000).await;
    let waiting = "select count(*) from pg_locks
        where not granted and relation = 'queue.counts'::regclass";
    eventually("counts are appended", async || {
        world.value::<i64>(waiting).await == 1
    })
    .await;
    proxy.cut();
    tx.rollback().await.unwrap();

    enqueue(&world, 100).await;
    assert_soon_done(&world, worker, 1_200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_finish_again_after_a_time_without_heartbeats_whose_connections_stay_cut() {
    // The process starts over in the last case. In the others, connections work again in different moments
    // between two heartbeats.
    let cases = [
        (30_000, 3_000),
        (30_000, 3_300),
        (30_000, 3_600),
        (1_500, 3_000),
    ];
    for (dead_after, time) in cases {
        let (world, proxy) = world().await;
        let mut settings = settings();
        settings.process.heartbeat_interval = Duration::from_millis(300);
        settings.process.dead_after = Duration::from_millis(dead_after);
        let worker = start(&world, &proxy, settings);
        enqueue(&world, 3_000).await;
        eventually("some jobs are done", async || {
            world.count("finished").await >= 300
        })
        .await;

        proxy.drop_all(true);
        tokio::time::sleep(Duration::from_millis(time)).await;
        proxy.cut();
        proxy.drop_all(false);
        let over_at = Instant::now();
        world.until("finished where outcome = 'done'", 3_000).await;
        assert!(
            over_at.elapsed() < Duration::from_secs(20),
            "{:?}, {dead_after}, {time}",
            over_at.elapsed()
        );
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_process_is_notified_of_jobs_again_after_a_cut() {
    if !notifications() {
        return;
    }
    let (world, proxy) = world().await;
    let mut settings = settings();
    settings.workers[0].poll_interval = Duration::from_secs(60);
    let worker = start(&world, &proxy, settings);
    until_idle(&world).await;

    proxy.cut();
    let cut_at = Instant::now();
    enqueue(&world, 1).await;
    world.until("finished", 1).await;
    assert!(
        cut_at.elapsed() < Duration::from_secs(11),
        "{:?}",
        cut_at.elapsed()
    );
    for count in 2..5 {
        until_idle(&world).await;
        enqueue(&world, 1).await;
        world.until("finished", count).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_runs_nothing_stops_within_a_second_of_a_request_after_a_cut() {
    for known_for in [0, 700, 6_000].map(Duration::from_millis) {
        let (world, proxy) = world().await;
        let worker = start(&world, &proxy, settings());
        enqueue(&world, 10).await;
        world.until("finished", 10).await;
        // With the answer to its last statement, it runs nothing.
        until_idle(&world).await;
        tokio::time::sleep(Duration::from_millis(300)).await;

        proxy.cut();
        // How long it has had to find out is what is tested.
        tokio::time::sleep(known_for).await;
        let asked = Instant::now();
        worker.stop().await;

        let elapsed = asked.elapsed();
        assert!(
            elapsed < Duration::from_secs(1),
            "{elapsed:?}, {known_for:?}"
        );
        assert_eq!(world.count("processes").await, 0);
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Complete;

impl Job for Complete {
    const KIND: &'static str = "complete";
}

impl Perform<(Stage, PgPool)> for Complete {
    type Error = CompleteError;

    async fn perform(self, cx: Cx<(Stage, PgPool)>) -> Result<(), CompleteError> {
        let (stage, pool) = cx.state();
        let mut tx = pool.begin().await?;
        if cx.attempt().number == 1 {
            stage.note("began");
            stage.pass("cut").await;
        }
        cx.complete_in(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_in_a_transaction_whose_connection_was_cut_fails_after_ten_seconds() {
    let (world, proxy) = world().await;
    let pool = pool_options().connect_lazy_with(proxy.connect_options());
    let stage = Stage::default();
    let app = App::new((stage.clone(), pool)).register::<Complete>();
    let queue = Queue::new(world.pool().clone());
    let process = Process::new(queue, app, settings()).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));
    world.queue.enqueue(Complete).await.unwrap();
    stage.noted("began").await;

    proxy.cut();
    let cut_at = Instant::now();
    stage.open("cut");
    world.until("attempts where ending = 'error'", 1).await;
    assert!(
        cut_at.elapsed() < Duration::from_secs(11),
        "{:?}",
        cut_at.elapsed()
    );
    world.until("scheduled", 1).await;
    world.make_scheduled_due().await;

    world.until("finished where attempt = 2", 1).await;
    stop.gracefully();
    running.await.unwrap();
}

#[tokio::test]
async fn a_pool_replaces_cut_connections_of_interrupted_runs_and_idle_ones() {
    let (_world, proxy) = world().await;
    let options = pool_options().max_connections(1);
    let pool = options.connect_with(proxy.connect_options()).await.unwrap();
    let ask = async || sqlx::query("select").execute(&pool).await.unwrap();
    ask().await;

    proxy.cut();
    let interrupted = timeout(Duration::from_millis(100), ask()).await;
    assert!(interrupted.is_err());
    let answered = timeout(Duration::from_secs(3), ask()).await;
    assert!(answered.is_ok());

    // Shorter rests are not tested.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    proxy.cut();
    let answered = timeout(Duration::from_secs(3), ask()).await;
    assert!(answered.is_ok());
}
