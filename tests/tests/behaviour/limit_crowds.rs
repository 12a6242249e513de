//! Many jobs that wait for a key delay only each other.

use queue_core::operations::queues::pause;
use queue_core::{Limits, NewJob, Options};
use queue_tests::soundness::{assert_tables_sound, until_idle};
use queue_tests::stage::{Gated, Note, Stage, gated, note};
use queue_tests::world::{Running, World, promptly, without_passes, worker};
use queue_worker::Settings;
use serde_json::json;

fn key() -> Limits {
    Limits::key("k").group("g")
}

fn numbers(count: usize) -> Vec<Note> {
    (0..count).map(|n| Note::new(format!("{n:04}"))).collect()
}

#[tokio::test]
async fn thousands_of_jobs_of_a_full_key_delay_no_other_job() {
    let world = World::new().await;
    let stage = Stage::default();
    let holder = world.queue.enqueue(Gated::new("holder")).limits(key());
    holder.await.unwrap();
    // Their limits are added afterwards: a bulk with limits would block them at once.
    for chunk in numbers(2_000).chunks(500) {
        world.queue.enqueue_many(chunk.to_vec()).await.unwrap();
    }
    world
        .sql(r#"update queue.jobs set limits = '[{"key": "g/k", "name": "g", "slots": 1}]' where kind = 'note'"#)
        .await;
    world
        .sql("update queue.ready set track = 1 where kind = 'note'")
        .await;
    let other_key = note(&world, "other key", Limits::key("other")).await;
    let free = note(&world, "no limit", Limits::none()).await;

    let process = world.start(stage.app(), without_passes(2));

    world.until_state(other_key, "finished").await;
    world.until_state(free, "finished").await;
    stage.noted("holder begins").await;
    world.until("blocked", 2_000).await;
    assert_tables_sound(world.pool()).await;
    let late = note(&world, "late", Limits::none()).await;
    let late_other = note(&world, "late other", Limits::key("other")).await;
    world.until_state(late, "finished").await;
    world.until_state(late_other, "finished").await;
    assert_eq!(stage.times("0000"), 0);
    process.stop_at_once().await;
}

/// Starts jobs of many keys that end together, and enqueues one more job of each key.
async fn pairs_of_many_keys(world: &World, stage: &Stage, settings: Settings) -> Running {
    let process = world.start(stage.app(), settings);
    for n in 0..KEYS {
        let limits = Limits::key(format!("k{n}")).group("g");
        gated(world, "together", limits).await;
    }
    world.until("claimed", KEYS).await;
    for n in 0..KEYS {
        let limits = Limits::key(format!("k{n}")).group("g");
        note(world, &format!("{n}"), limits).await;
    }
    world.until("blocked", KEYS).await;
    process
}

/// More keys than the unblocker handles in one batch.
const KEYS: i64 = 120;

#[tokio::test]
async fn the_next_jobs_of_many_keys_freed_at_once_start() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = pairs_of_many_keys(&world, &stage, without_passes(130)).await;

    stage.open("together");

    until_idle(&world).await;
    assert_eq!(world.count("finished").await, 2 * KEYS);
    process.stop().await;
}

#[tokio::test]
async fn the_next_jobs_of_many_keys_start_elsewhere_when_their_process_stops() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = pairs_of_many_keys(&world, &stage, without_passes(130)).await;
    let other = world.start(stage.app(), without_passes(4));

    stage.open("together");
    process.stop().await;

    until_idle(&world).await;
    assert_eq!(world.count("finished").await, 2 * KEYS);
    other.stop().await;
}

#[tokio::test]
async fn a_very_high_limit_is_reached_and_not_exceeded() {
    let world = World::new().await;
    let stage = Stage::default();
    for _ in 0..60 {
        gated(&world, "together", key().to(40)).await;
    }

    let process = world.start(stage.app(), without_passes(60));

    world.until("claimed", 40).await;
    world.until("blocked", 20).await;
    assert_eq!(world.count("slots").await, 40);
    stage.open("together");
    until_idle(&world).await;
    assert_eq!(world.count("finished").await, 60);
    process.stop().await;
}

/// Enqueues jobs of a key that no process can run, and after them a holder and notes of the same key.
async fn crowd_with(world: &World, stage: &Stage, stuck: Vec<NewJob>) {
    let count = stuck.len();
    let process = world.start(stage.app(), without_passes(4));
    let holder = world.queue.enqueue(Gated::new("holder")).limits(key());
    holder.await.unwrap();
    stage.noted("holder begins").await;
    world.queue.enqueue_all(stuck).await.unwrap();
    // As if a process that can run them had found no room, and had stopped.
    world
        .sql(
            "with moved as (delete from queue.ready returning *)
             insert into queue.blocked (job_id, seq, attempt, priority, failures, crashes, frees_key,
                 replaces, key, queue, kind)
             select job_id, seq, 0, priority, 0, 0, false, false, 'g/k', queue, kind from moved",
        )
        .await;
    world.until("blocked", count as i64).await;
    for note in numbers(30) {
        world.queue.enqueue(note).limits(key()).await.unwrap();
    }
    world.until("blocked", count as i64 + 30).await;
    assert_tables_sound(world.pool()).await;
    process.ask_to_stop();
    stage.open("holder");
    process.ended().await;

    let process = world.start(stage.app(), worker("default", 4));

    stage.noted("0029").await;
    world.until("slots", 0).await;
    process.stop().await;
    assert!(stage.notes()[2..].is_sorted());
    // Only as many were moved as there is room for.
    let moved = world.count("ready").await;
    assert!(moved <= 1, "{moved} were moved");
    assert_eq!(moved + world.count("blocked").await, count as i64);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn blocked_jobs_of_a_paused_queue_do_not_stop_others_of_their_key() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut conn = world.connect().await;
    pause(&mut conn, world.queue.schema(), "paused")
        .await
        .unwrap();
    let options = Options::new().queue("paused").limits(key());
    let stuck = vec![
        NewJob::of(&Note::new("x"))
            .unwrap()
            .with(|_| options.clone());
        20
    ];

    crowd_with(&world, &stage, stuck).await;

    assert_eq!(world.count("blocked where queue = 'paused'").await, 20);
}

#[tokio::test]
async fn blocked_jobs_of_an_unserved_queue_do_not_stop_others_of_their_key() {
    let world = World::new().await;
    let stage = Stage::default();
    let options = Options::new().queue("elsewhere").limits(key());
    let stuck = vec![NewJob::untyped("elsewhere", &json!(1), options); 20];

    crowd_with(&world, &stage, stuck).await;
}

#[tokio::test]
async fn blocked_jobs_of_an_unknown_kind_do_not_stop_others_of_their_key() {
    let world = World::new().await;
    let stage = Stage::default();
    let stuck = vec![NewJob::untyped("forgotten", &json!(1), Options::new().limits(key())); 20];

    crowd_with(&world, &stage, stuck).await;
}

#[tokio::test]
async fn jobs_of_one_bulk_run_in_order_and_those_without_room_are_blocked_at_once() {
    for way in ["enqueue_many", "enqueue_all", "copy_jobs"] {
        let world = World::new().await;
        let stage = Stage::default();
        let jobs = numbers(50);
        let with_limits = |job: &Note| {
            let job = NewJob::of(job).unwrap();
            job.with(|options| options.limits(key()))
        };
        match way {
            "enqueue_many" => {
                let request = world.queue.enqueue_many(jobs.clone());
                let request = request.with(|options| options.limits(key()).tag("tagged"));
                request.await.unwrap();
            }
            "enqueue_all" => {
                let jobs = jobs.iter().map(with_limits);
                world.queue.enqueue_all(jobs).await.unwrap();
            }
            _ => {
                let jobs: Vec<_> = jobs.iter().map(|job| Ok(with_limits(job))).collect();
                world.queue.copy_jobs(jobs).await.unwrap();
            }
        }
        assert_eq!(world.count("blocked where key = 'g/k'").await, 49, "{way}");
        assert_tables_sound(world.pool()).await;

        let process = world.start(stage.app(), without_passes(4));

        until_idle(&world).await;
        process.stop().await;
        assert!(stage.notes().is_sorted(), "{way}");
        assert_eq!(stage.notes().len(), 50, "{way}");
    }
}

#[tokio::test]
async fn transactions_that_enqueue_jobs_of_the_same_keys_do_not_wait() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(4));
    let holder = world.queue.enqueue(Gated::new("holder")).limits(key());
    holder.await.unwrap();
    stage.noted("holder begins").await;
    let other = || Limits::key("other").group("g");
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    for conn in [&mut first, &mut second] {
        sqlx::query("begin").execute(&mut *conn).await.unwrap();
    }

    promptly(async {
        for round in 0..3 {
            for (conn, limits) in [
                (&mut first, key().and(other())),
                (&mut second, other().and(key())),
            ] {
                let request = world.queue.enqueue(Note::new(format!("{round}")));
                request.limits(limits.clone()).tx(conn).await.unwrap();
                let request = world.queue.enqueue_many(numbers(3));
                let request = request.with(|options| options.limits(limits.clone()));
                request.tx(conn).await.unwrap();
            }
            // The key is claimed and freed meanwhile.
            let passing = note(&world, &format!("passing {round}"), other()).await;
            world.until_state(passing, "finished").await;
        }
    })
    .await;
    for conn in [&mut first, &mut second] {
        sqlx::query("commit").execute(&mut *conn).await.unwrap();
    }

    stage.open("holder");
    until_idle(&world).await;
    process.stop().await;
    assert_eq!(stage.notes().len(), 2 + 24 + 3);
}
