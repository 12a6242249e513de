//! Idle workers are woken by notifications, and find jobs by polling without them.
//!
//! Tests of notifications switch them on themselves, regardless of `QUEUE_TEST_NOTIFICATIONS`.

use std::time::Duration;

use queue_core::NewJob;
use queue_core::process::{ProcessId, sleep, wake};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::Settings;
use sqlx::postgres::PgListener;

/// Settings of a worker that polls once an hour, so that only notifications wake it.
fn woken_only() -> Settings {
    let mut settings = worker("*", 2);
    settings.process.notifications = true;
    settings.workers[0].poll_interval = Duration::from_secs(3600);
    settings
}

/// Waits until the process is idle and listens.
async fn sleeps(world: &World) {
    world.until("idle_processes", 1).await;
    listens(world).await;
}

const LISTENERS: &str = "from pg_stat_activity
    where datname = current_database() and query like 'LISTEN%'";

async fn listens(world: &World) {
    eventually("a process listens", async || {
        world
            .value::<i64>(&format!("select count(*) {LISTENERS}"))
            .await
            == 1
    })
    .await;
}

#[tokio::test]
async fn an_idle_worker_is_woken_for_a_new_job() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), woken_only());
    sleeps(&world).await;

    for n in 0..20 {
        let text = n.to_string();
        let _ = world.queue.enqueue(Note::new(&text)).await.unwrap();
        stage.noted(&text).await;
    }

    process.stop().await;
}

#[tokio::test]
async fn an_idle_worker_is_woken_by_every_way_to_enqueue() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), woken_only());
    sleeps(&world).await;

    for round in 0..5 {
        let name = |how: &str| format!("{how} {round}");
        let many = [Note::new(name("many"))];
        let _ = world.queue.enqueue_many(many).await.unwrap();
        stage.noted(&name("many")).await;
        let copied = [NewJob::of(&Note::new(name("copied")))];
        world.queue.copy_jobs(copied).await.unwrap();
        stage.noted(&name("copied")).await;
        let later = world.queue.enqueue(Note::new(name("later")));
        let _ = later.delay(Duration::from_millis(1)).await.unwrap();
        stage.noted(&name("later")).await;
        let mut tx = world.pool().begin().await.unwrap();
        let request = world.queue.enqueue(Note::new(name("tx"))).priority(3);
        let _ = request.tx(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        stage.noted(&name("tx")).await;
    }

    process.stop().await;
}

#[tokio::test]
async fn a_listener_that_lost_its_connection_reconnects_and_looks_at_once() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), woken_only());
    sleeps(&world).await;
    let listener: i32 = world.value(&format!("select pid {LISTENERS}")).await;

    // One job without a notification, and one notified to the new connection.
    world
        .sql(
            "with job as (
                insert into queue.jobs
                    (id, priority, attempts_max, crashes_max, kind, queue, args)
                values (nextval('queue.job_seq'), 0, 1, 1, 'note', 'default', '\"silent\"')
                returning id
            )
            insert into queue.ready (job_id, seq, priority, queue, kind)
            select id, id, 0, 'default', 'note' from job",
        )
        .await;
    world
        .sql(&format!("select pg_terminate_backend({listener})"))
        .await;

    stage.noted("silent").await;
    listens(&world).await;
    let _ = world.queue.enqueue(Note::new("again")).await.unwrap();
    stage.noted("again").await;
    process.stop().await;
}

#[tokio::test]
async fn jobs_are_found_by_polling_when_notifications_are_off() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.notifications = false;
    settings.workers[0].poll_interval = Duration::from_millis(50);
    let process = world.start(stage.app(), settings);

    for n in 0..5 {
        let text = n.to_string();
        let _ = world
            .queue
            .enqueue(Note::new(&text))
            .priority(n)
            .await
            .unwrap();
        stage.noted(&text).await;
    }

    assert_eq!(
        world
            .value::<i64>(&format!("select count(*) {LISTENERS}"))
            .await,
        0
    );
    process.stop().await;
}

#[tokio::test]
async fn enqueueing_notifies_only_while_a_process_is_idle() {
    let world = World::new().await;
    let mut listener = PgListener::connect_with(world.pool()).await.unwrap();
    listener.listen("queue.wake").await.unwrap();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let idle = ProcessId::new();

    for queue in ["a", "b"] {
        let _ = world
            .queue
            .enqueue(Note::new("n"))
            .queue(queue)
            .await
            .unwrap();
    }
    sleep(&mut conn, schema, idle, &[]).await.unwrap();
    let _ = world
        .queue
        .enqueue(Note::new("n"))
        .queue("c")
        .await
        .unwrap();
    wake(&mut conn, schema, idle).await.unwrap();
    let _ = world
        .queue
        .enqueue(Note::new("n"))
        .queue("d")
        .await
        .unwrap();
    world.sql("select pg_notify('queue.wake', 'the end')").await;

    let mut heard = Vec::new();
    while heard.last().is_none_or(|payload| payload != "the end") {
        heard.push(listener.recv().await.unwrap().payload().to_owned());
    }
    assert_eq!(heard, ["c", "the end"]);
}

#[tokio::test]
async fn a_process_whose_workers_are_all_busy_is_not_idle() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.notifications = true;
    let process = world.start(stage.app(), settings);
    world.until("idle_processes", 1).await;

    let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    stage.noted("g begins").await;

    world.until("idle_processes", 0).await;
    stage.open("g");
    world.until("idle_processes", 1).await;
    process.stop().await;
    assert_eq!(world.count("idle_processes").await, 0);
}
