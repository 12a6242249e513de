//! Lines of jobs that wait for one key: each job hands its slot over to the next.

use std::time::Duration;

use queue_core::operations::limits::{LimitSetting, SetBy, set};
use queue_core::operations::queues::pause;
use queue_core::{Limits, NewJob, Queue};
use queue_tests::proxy::Proxy;
use queue_tests::soundness::{assert_tables_sound, until_idle};
use queue_tests::stage::{Gated, Note, Stage, gated, note};
use queue_tests::world::{World, eventually, without_passes};
use queue_worker::{Process, Stop};
use sqlx::postgres::PgPoolOptions;

fn key() -> Limits {
    Limits::key("k").group("g")
}

/// Enqueues notes that are numbered from 0. All but the first are blocked at once.
async fn line(world: &World, count: usize) {
    let jobs = (0..count).map(|n| {
        let job = NewJob::of(&Note::new(format!("{n:05}")))?;
        Ok(job.with(|options| options.limits(key())))
    });
    world.queue.copy_jobs(jobs).await.unwrap();
}

#[tokio::test]
async fn a_long_line_runs_in_order_and_never_two_jobs_at_once() {
    let world = World::new().await;
    let stage = Stage::default();
    line(&world, 1_000).await;

    let processes = [1, 2].map(|_| world.start(stage.app(), without_passes(4)));

    until_idle(&world).await;
    for process in processes {
        process.stop().await;
    }
    let notes = stage.notes();
    assert!(notes.is_sorted(), "{notes:?}");
    assert_eq!(notes.len(), 1_000);
    let overlaps = "finished as one
        join queue.finished as next
            on next.started_at > one.started_at and next.started_at < one.finished_at";
    assert_eq!(world.count(overlaps).await, 0);
}

#[tokio::test]
async fn slots_are_handed_over_without_a_way_through_ready() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(4));
    gated(&world, "holder", key()).await;
    stage.noted("holder begins").await;
    line(&world, 200).await;
    let before: i64 = world.value("select last_value from queue.job_seq").await;

    stage.open("holder");

    until_idle(&world).await;
    // A job that becomes ready draws a place in line.
    let after: i64 = world.value("select last_value from queue.job_seq").await;
    assert!((1..=100).contains(&(after - before)), "{}", after - before);
    process.stop().await;
}

#[tokio::test]
async fn an_urgent_job_of_another_kind_does_not_wait_for_the_end_of_a_line() {
    let world = World::new().await;
    let stage = Stage::default();
    line(&world, 5_000).await;
    let process = world.start(stage.app(), without_passes(4));
    stage.noted("00010").await;

    let urgent = world.queue.enqueue(Gated::new("urgent")).limits(key());
    urgent.priority(-1).await.unwrap();
    stage.noted("urgent begins").await;

    assert!(world.count("blocked").await > 0);
    stage.open("urgent");
    stage.noted("urgent ends").await;
    process.stop().await;
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn jobs_without_limits_do_not_wait_for_the_end_of_a_line() {
    let world = World::new().await;
    let stage = Stage::default();
    line(&world, 5_000).await;
    let process = world.start(stage.app(), without_passes(1));
    stage.noted("00010").await;

    note(&world, "other", Limits::none()).await;
    stage.noted("other").await;

    assert!(world.count("blocked").await > 0);
    process.stop().await;
}

#[tokio::test]
async fn a_pause_and_a_limit_of_zero_end_the_handing_over() {
    for stops_by_pause in [true, false] {
        let world = World::new().await;
        let stage = Stage::default();
        line(&world, 5_000).await;
        let process = world.start(stage.app(), without_passes(4));
        stage.noted("00010").await;

        let (mut conn, schema) = (world.connect().await, world.queue.schema());
        if stops_by_pause {
            pause(&mut conn, schema, "default").await.unwrap();
        } else {
            let none = LimitSetting {
                to: Some(0),
                rate: None,
            };
            let setting = set(&mut conn, schema, "g/k", none, SetBy::Operator);
            setting.await.unwrap();
        }

        world.until("claimed", 0).await;
        let notes = stage.notes().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(
            (world.count("claimed").await, stage.notes().len()),
            (0, notes)
        );
        assert!(world.count("blocked").await > 0);
        process.stop().await;
        assert_tables_sound(world.pool()).await;
    }
}

#[tokio::test]
async fn a_job_with_a_smaller_limit_of_its_own_waits_for_room() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    for name in ["a", "b", "c"] {
        gated(&world, name, key().to(2)).await;
    }
    let alone = gated(&world, "alone", key()).await;
    stage.noted("b begins").await;
    world.until("blocked", 2).await;

    stage.open("a");
    stage.noted("c begins").await;
    stage.open("c");
    stage.noted("c ends").await;
    world.until("claimed", 1).await;
    assert_eq!(world.state(alone).await, "blocked");
    stage.open("b");

    stage.noted("alone begins").await;
    stage.open("alone");
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_stops_gives_back_the_jobs_it_was_handed() {
    let world = World::new().await;
    let stage = Stage::default();
    line(&world, 1_000).await;
    for stop_at in ["00010", "00200", "00400", "00600"] {
        let process = world.start(stage.app(), without_passes(4));
        stage.noted(stop_at).await;
        process.stop().await;
        assert_eq!(world.count("claimed").await, 0);
        assert_tables_sound(world.pool()).await;
    }

    let process = world.start(stage.app(), without_passes(4));
    eventually("all jobs are done", async || stage.notes().len() == 1_000).await;
    process.stop().await;
    let mut notes = stage.notes();
    notes.sort();
    notes.dedup();
    assert_eq!(notes.len(), 1_000);
}

#[tokio::test]
async fn a_line_goes_on_when_the_answer_to_a_handover_is_lost() {
    let world = World::new().await;
    let stage = Stage::default();
    let proxy = Proxy::before(&world.connect_options());
    proxy.lose_one("-- claimed -> finished (done), and blocked -> claimed");
    let queue = Queue::new(PgPoolOptions::new().connect_lazy_with(proxy.connect_options()));
    let process = Process::new(queue, stage.app(), without_passes(4)).unwrap();
    let stop = Stop::new();
    let task = tokio::spawn(process.run(stop.clone()));

    line(&world, 300).await;

    world.until("finished where outcome = 'done'", 300).await;
    assert_eq!(proxy.lost(), 1);
    assert_eq!(world.count("attempts").await, 0);
    stop.gracefully();
    task.await.unwrap();
    assert_eq!(stage.notes().len(), 300);
    assert_tables_sound(world.pool()).await;
}
