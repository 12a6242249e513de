//! Jobs that commit after later jobs, and jobs that arrive singly at a high rate.

use std::time::{Duration, Instant};

use queue_core::NewJob;
use queue_core::process::{ProcessId, poll, sleep, stop_polling};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::Settings;
use sqlx::postgres::PgListener;

/// Settings of a worker that polls once an hour, so that only notifications wake it.
fn woken_only(concurrency: usize) -> Settings {
    let mut settings = worker("*", concurrency);
    settings.process.notifications = true;
    settings.workers[0].poll_interval = Duration::from_secs(3600);
    settings
}

/// Enqueues jobs until a process polls the default queue. Each transaction notifies of so many queues
/// that the process polls however slow it is; the next one waits until the process has claimed all.
async fn flood_until_polled(world: &World) {
    let names: Vec<String> = std::iter::once("default".to_owned())
        .chain((1..30).map(|n| format!("flood{n}")))
        .collect();
    let jobs = || {
        names.iter().map(|name| {
            let job = NewJob::of(&Note::new("flood")).unwrap();
            job.with(|options| options.queue(name.clone()))
        })
    };
    eventually("a process polls", async || {
        if world.count("ready").await == 0 {
            let _ = world.queue.enqueue_all(jobs()).await.unwrap();
        }
        world.count("pollers where queue = 'default'").await == 1
    })
    .await;
}

/// Sweeps are slow and rare here, because an open snapshot keeps vacuum from removing claimed rows.
#[tokio::test]
async fn a_job_committed_after_later_jobs_does_not_wait_for_a_sweep() {
    const BEFORE: usize = 20_000;
    const LATE: usize = 15;
    let world = World::new().await;
    let stage = Stage::default();
    let mut snapshot = world.pool().begin().await.unwrap();
    sqlx::raw_sql("set transaction isolation level repeatable read; select 1")
        .execute(&mut *snapshot)
        .await
        .unwrap();
    let before = (0..BEFORE).map(|_| NewJob::of(&Note::new("before")));
    world.queue.copy_jobs(before).await.unwrap();
    let process = world.start(stage.app(), worker("*", 64));
    world.until("finished", BEFORE as i64).await;

    let mut waits = Vec::new();
    for n in 0..LATE {
        let (late, later) = (format!("late {n}"), format!("later {n}"));
        let mut tx = world.pool().begin().await.unwrap();
        let request = world.queue.enqueue(Note::new(&late));
        let _ = request.tx(&mut tx).await.unwrap();
        let _ = world.queue.enqueue(Note::new(&later)).await.unwrap();
        stage.noted(&later).await;
        tx.commit().await.unwrap();
        let committed_at = Instant::now();
        stage.noted(&late).await;
        waits.push(committed_at.elapsed());
    }

    waits.sort();
    // Expected are 10 ms, plus the interval at which the test itself polls.
    assert!(waits[LATE / 2] < Duration::from_millis(60), "{waits:?}");
    assert!(waits[LATE - 1] < Duration::from_millis(750), "{waits:?}");
    drop(snapshot);
    process.stop().await;
}

#[tokio::test]
async fn a_job_enqueued_while_its_queue_was_polled_starts_after_a_late_commit() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), woken_only(10));
    flood_until_polled(&world).await;
    let mut tx = world.pool().begin().await.unwrap();
    let request = world.queue.enqueue(Note::new("late"));
    let _ = request.tx(&mut tx).await.unwrap();

    // No more jobs arrive, so the process becomes idle.
    world.until("pollers", 0).await;
    world.until("idle_processes", 1).await;
    tx.commit().await.unwrap();

    stage.noted("late").await;
    process.stop().await;
}

#[tokio::test]
async fn a_polling_process_without_room_leaves_jobs_to_idle_processes() {
    const SLOTS: usize = 30;
    let world = World::new().await;
    let (first, second) = (Stage::default(), Stage::default());
    let polling = world.start(first.app(), woken_only(SLOTS));
    flood_until_polled(&world).await;
    let sleeping = world.start(second.app(), woken_only(SLOTS));
    let newest = "select id from queue.processes order by started_at desc limit 1";
    let sleeps = format!("idle_processes where process_id = ({newest})");
    world.until("processes", 2).await;
    world.until(&sleeps, 1).await;

    for _ in 0..2 * SLOTS {
        let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    }

    let begun = async || first.times("g begins") + second.times("g begins");
    eventually("all jobs run", async || begun().await == 2 * SLOTS).await;
    assert_eq!(second.times("g begins"), SLOTS);
    first.open("g");
    second.open("g");
    polling.stop().await;
    sleeping.stop().await;
    assert_eq!(world.count("pollers").await, 0);
}

#[tokio::test]
async fn enqueueing_does_not_notify_while_a_process_polls_the_queue() {
    let world = World::new().await;
    let mut listener = PgListener::connect_with(world.pool()).await.unwrap();
    listener.listen("queue.wake").await.unwrap();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let (idle, poller) = (ProcessId::new(), ProcessId::new());
    let queues = |name: &str| [name.to_owned()];
    let kinds = ["note".to_owned()];
    for process in [idle, poller] {
        world
            .sql(&format!(
                "insert into queue.processes (id, pid, name, host, version, details)
                 values ('{process}', 1, 'p', 'h', '1', '{{}}')"
            ))
            .await;
    }
    sleep(&mut conn, schema, idle, &[]).await.unwrap();
    let polled = poll(&mut conn, schema, poller, &queues("polled"), &kinds)
        .await
        .unwrap();
    assert_eq!(polled, ["polled"]);
    let polled = poll(&mut conn, schema, idle, &queues("polled"), &kinds)
        .await
        .unwrap();
    assert!(polled.is_empty(), "another process polls that queue");

    for (queue, priority) in [("polled", 0), ("other", 0), ("polled", 1)] {
        let request = world.queue.enqueue(Note::new("n")).queue(queue);
        let _ = request.priority(priority).await.unwrap();
    }
    let request = world.queue.enqueue(Gated::new("g")).queue("polled");
    let _ = request.await.unwrap();
    stop_polling(&mut conn, schema, poller, &queues("polled"))
        .await
        .unwrap();
    world.sql("select pg_notify('queue.wake', 'the end')").await;

    let mut heard = Vec::new();
    while heard.last().is_none_or(|payload| payload != "the end") {
        heard.push(listener.recv().await.unwrap().payload().to_owned());
    }
    assert_eq!(heard, ["other", "polled", "!polled", "the end"]);
}

/// A worker relies on it to know which jobs may still appear below its floor. A sequence gives a
/// transaction its id with only some of its places, so each way is tried twice.
#[tokio::test]
async fn a_transaction_has_its_id_before_a_job_has_its_place() {
    let world = World::new().await;
    world
        .sql(
            "create function public.has_id() returns trigger language plpgsql as $$
             begin
                if pg_current_xact_id_if_assigned() is null then
                    raise 'job % has no transaction id', new.id;
                end if;
                return new;
             end $$",
        )
        .await;
    world
        .sql(
            "create trigger has_id before insert on queue.jobs
             for each row execute function public.has_id()",
        )
        .await;
    let jobs = || (0..2).map(|_| NewJob::of(&Note::new("x")));
    for _ in 0..2 {
        let _ = world.queue.enqueue(Note::new("x")).await.unwrap();
        let many = vec![Note::new("x"), Note::new("y")];
        let _ = world.queue.enqueue_many(many).await.unwrap();
        let later = world.queue.enqueue(Note::new("x"));
        let _ = later.delay(Duration::from_secs(60)).await.unwrap();
        world.queue.copy_jobs(jobs()).await.unwrap();
    }
    assert_eq!(world.count("jobs").await, 12);
}
