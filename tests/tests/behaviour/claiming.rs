//! Which jobs a worker claims, in which order, and which it leaves alone.

use std::collections::BTreeSet;
use std::convert::Infallible;

use queue_core::process::{ProcessId, ProcessInfo, register};
use queue_core::transitions::Claim;
use queue_core::transitions::claim::{Lane, Track, claim};
use queue_core::transitions::end::release;
use queue_core::{JobId, NewJob, Options, Schema};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{Cx, Job, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

async fn note(world: &World, text: &str, queue: &'static str, priority: i16) -> JobId {
    let request = world.queue.enqueue(Note::new(text));
    let enqueued = request.queue(queue).priority(priority).await;
    enqueued.unwrap().id()
}

/// Runs all jobs one after another, and returns their notes.
async fn run_one_by_one(world: &World, queues: &str, jobs: i64) -> Vec<String> {
    let stage = Stage::default();
    let process = world.start(stage.app(), worker(queues, 1));
    world.until("finished", jobs).await;
    process.stop().await;
    stage.notes()
}

async fn pause(world: &World, queue: &str) {
    world
        .sql(&format!(
            "insert into queue.queues (name, paused_at) values ('{queue}', now())
             on conflict (name) do update set paused_at = now()"
        ))
        .await;
}

#[tokio::test]
async fn jobs_of_one_queue_run_in_the_order_they_were_enqueued() {
    let world = World::new().await;
    let texts: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let jobs = texts.iter().map(Note::new);
    let _ = world.queue.enqueue_many(jobs).await.unwrap();

    let notes = run_one_by_one(&world, "default", 20).await;

    assert_eq!(notes, texts);
}

#[tokio::test]
async fn jobs_of_one_queue_run_by_priority_and_then_in_order() {
    let world = World::new().await;
    for (text, priority) in [("c", 0), ("e", 5), ("a", -5), ("d", 0), ("b", -5)] {
        note(&world, text, "default", priority).await;
    }

    let notes = run_one_by_one(&world, "default", 5).await;

    assert_eq!(notes, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn named_queues_are_served_in_list_order_regardless_of_priority() {
    let world = World::new().await;
    for (text, queue, priority) in [("3", "b", -9), ("1", "a", 7), ("4", "b", 0), ("2", "a", 9)] {
        note(&world, text, queue, priority).await;
    }

    let notes = run_one_by_one(&world, "a,b", 4).await;

    assert_eq!(notes, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn queues_are_served_in_list_order_and_alphabetically_within_a_prefix() {
    let world = World::new().await;
    for (text, queue) in [("4", "z"), ("3", "mail_b"), ("2", "mail_a"), ("1", "first")] {
        note(&world, text, queue, 0).await;
    }

    let notes = run_one_by_one(&world, "first,mail_*,z", 4).await;

    assert_eq!(notes, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_star_serves_all_queues_by_priority() {
    let world = World::new().await;
    for (text, queue, priority) in [("3", "a", 5), ("1", "c", -5), ("2", "b", 0)] {
        note(&world, text, queue, priority).await;
    }

    let notes = run_one_by_one(&world, "*", 3).await;

    assert_eq!(notes, ["1", "2", "3"]);
}

#[tokio::test]
async fn unlike_in_solid_queue_a_star_after_names_serves_the_other_queues_last() {
    let world = World::new().await;
    for (text, queue, priority) in [("3", "x", 1), ("2", "y", -9), ("1", "urgent", 9)] {
        note(&world, text, queue, priority).await;
    }

    let notes = run_one_by_one(&world, "urgent,*", 3).await;

    assert_eq!(notes, ["1", "2", "3"]);
}

#[tokio::test]
async fn queues_outside_the_list_are_left_alone() {
    let world = World::new().await;
    let stranger = note(&world, "x", "other", -9).await;
    let near = note(&world, "x", "mails", -9).await;
    note(&world, "1", "mail", 0).await;

    let notes = run_one_by_one(&world, "mail,report*", 1).await;

    assert_eq!(notes, ["1"]);
    assert_eq!(world.state(stranger).await, "ready");
    assert_eq!(world.state(near).await, "ready");
}

#[tokio::test]
async fn a_paused_queue_is_not_claimed_from_until_it_is_resumed() {
    let world = World::new().await;
    let stage = Stage::default();
    pause(&world, "a").await;
    let paused = note(&world, "paused", "a", -9).await;
    let process = world.start(stage.app(), worker("*", 1));

    note(&world, "first", "b", 0).await;
    stage.noted("first").await;
    note(&world, "second", "b", 0).await;
    stage.noted("second").await;
    assert_eq!(world.state(paused).await, "ready");

    world.sql("update queue.queues set paused_at = null").await;
    stage.noted("paused").await;
    process.stop().await;
}

#[tokio::test]
async fn a_queue_paused_while_a_worker_is_busy_is_not_claimed_from() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let _ = world
        .queue
        .enqueue(Gated::new("g"))
        .queue("a")
        .await
        .unwrap();
    stage.noted("g begins").await;
    let behind = note(&world, "behind", "a", 0).await;

    pause(&world, "a").await;
    stage.open("g");
    note(&world, "other", "b", 5).await;
    stage.noted("other").await;

    assert_eq!(world.state(behind).await, "ready");
    process.stop().await;
}

#[tokio::test]
async fn pausing_one_queue_does_not_change_the_order_of_the_others() {
    let world = World::new().await;
    for (text, queue, priority) in [("3", "c", -9), ("2", "b", 9), ("x", "a", 0), ("4", "d", -9)] {
        note(&world, text, queue, priority).await;
    }
    pause(&world, "a").await;

    let notes = run_one_by_one(&world, "a,b,c,*", 3).await;

    assert_eq!(notes, ["2", "3", "4"]);
}

#[tokio::test]
async fn unlike_in_solid_queue_a_job_of_an_unknown_kind_stays_ready() {
    let world = World::new().await;
    let stage = Stage::default();
    let strangers = (0..50).map(|n| NewJob::untyped("stranger", &json!(n), Options::new()));
    let _ = world.queue.enqueue_all(strangers).await.unwrap();
    let process = world.start(stage.app(), worker("*", 2));

    note(&world, "1", "default", 0).await;
    stage.noted("1").await;
    note(&world, "2", "default", 0).await;
    stage.noted("2").await;
    process.stop().await;

    let untouched = "ready where kind = 'stranger' and attempt = 0 and seq = job_id";
    assert_eq!(world.count(untouched).await, 50);
    assert_eq!(world.count("attempts").await, 0);
}

#[tokio::test]
async fn a_job_committed_after_later_jobs_is_found() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut tx = world.pool().begin().await.unwrap();
    let straggler = world.queue.enqueue(Note::new("straggler")).tx(&mut tx);
    let straggler = straggler.await.unwrap().id();
    let process = world.start(stage.app(), worker("*", 2));
    let later = note(&world, "later", "default", 0).await;
    stage.noted("later").await;
    assert!(straggler < later);

    tx.commit().await.unwrap();

    stage.noted("straggler").await;
    process.stop().await;
}

#[tokio::test]
async fn a_released_job_is_found_by_a_worker_that_is_past_its_place() {
    let world = World::new().await;
    let (first, second) = (Stage::default(), Stage::default());
    let leaving = world.start(first.app(), worker("*", 1));
    let gated = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    first.noted("g begins").await;
    let staying = world.start(second.app(), worker("*", 1));
    note(&world, "past", "default", 0).await;
    second.noted("past").await;

    leaving.stop_at_once().await;

    second.noted("g begins").await;
    second.open("g");
    world.until_state(gated, "finished").await;
    staying.stop().await;
}

/// A job that enqueues its own successor until the gate `enough` is open.
#[derive(Serialize, Deserialize)]
struct Chain;

impl Job for Chain {
    const KIND: &'static str = "chain";
}

impl Perform<Stage> for Chain {
    type Error = Infallible;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state().note("link");
        if !cx.state().is_open("enough") {
            let _ = cx.queue().enqueue_many([Chain, Chain]).await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_job_of_a_new_priority_is_found_while_its_queue_is_busy() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Chain>(), worker("default", 1));
    let _ = world.queue.enqueue(Chain).await.unwrap();
    stage.noted_times("link", 20).await;

    note(&world, "urgent", "default", -5).await;

    stage.noted("urgent").await;
    assert!(world.count("ready").await > 0);
    stage.open("enough");
    process.stop().await;
}

#[tokio::test]
async fn no_job_is_claimed_by_two_workers() {
    let world = World::new().await;
    let stage = Stage::default();
    let processes: Vec<_> = (0..4)
        .map(|_| world.start(stage.app(), worker("*", 8)))
        .collect();

    for start in [0, 1_000] {
        let jobs = (start..start + 1_000).map(|n| Note::new(n.to_string()));
        let _ = world.queue.enqueue_many(jobs).await.unwrap();
    }
    world
        .until("finished where attempt = 1 and outcome = 'done'", 2_000)
        .await;
    for process in processes {
        process.stop().await;
    }

    let notes = stage.notes();
    let distinct: BTreeSet<&String> = notes.iter().collect();
    assert_eq!((notes.len(), distinct.len()), (2_000, 2_000));
}

#[tokio::test]
async fn a_worker_runs_as_many_jobs_at_once_as_its_concurrency() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 3));

    let jobs = (0..5).map(|n| Gated::new(n.to_string()));
    let _ = world.queue.enqueue_many(jobs).await.unwrap();

    for n in ["0 begins", "1 begins", "2 begins"] {
        stage.noted(n).await;
    }
    assert_eq!(world.count("claimed").await, 3);
    assert_eq!(world.count("ready").await, 2);
    stage.open("1");
    stage.noted("3 begins").await;
    assert_eq!(stage.times("4 begins"), 0);
    for n in 0..5 {
        stage.open(&n.to_string());
    }
    world.until("finished", 5).await;
    process.stop().await;
}

#[tokio::test]
async fn long_jobs_are_not_prefetched() {
    let world = World::new().await;
    let stage = Stage::default();
    let quick = (0..2_000).map(|n| NewJob::of(&Note::new(n.to_string())));
    world.queue.copy_jobs(quick).await.unwrap();
    let slow = (0..50).map(|_| NewJob::of(&Gated::new("g")));
    world.queue.copy_jobs(slow).await.unwrap();

    let process = world.start(stage.app(), worker("*", 4));
    stage.noted_times("g begins", 4).await;

    // The quick jobs let the prefetch grow; the slow jobs in it are released.
    world.until("claimed", 4).await;
    let without_failures = "ready where kind = 'gated' and failures = 0 and seq = job_id";
    assert_eq!(world.count(without_failures).await, 46);
    assert_eq!(stage.times("g begins"), 4);
    stage.open("g");
    world.until("finished", 2_050).await;
    process.stop().await;
}

#[tokio::test]
async fn prefetched_jobs_are_given_back_when_no_more_jobs_are_found() {
    let world = World::new().await;
    let stage = Stage::default();
    let quick = (0..2_000).map(|n| NewJob::of(&Note::new(n.to_string())));
    world.queue.copy_jobs(quick).await.unwrap();
    // So few that there is room for more beside them, and the process waits for more to come.
    let slow = (0..7).map(|_| NewJob::of(&Gated::new("g")));
    world.queue.copy_jobs(slow).await.unwrap();

    let process = world.start(stage.app(), worker("*", 4));
    stage.noted_times("g begins", 4).await;

    world.until("claimed", 4).await;
    assert_eq!(world.count("ready").await, 3);
    stage.open("g");
    world.until("finished", 2_007).await;
    process.stop().await;
}

#[tokio::test]
async fn a_stop_returns_prefetched_jobs_to_their_place_without_a_failure() {
    let world = World::new().await;
    let stage = Stage::default();
    let quick = (0..2_000).map(|n| NewJob::of(&Note::new(n.to_string())));
    world.queue.copy_jobs(quick).await.unwrap();
    let slow = (0..50).map(|_| NewJob::of(&Gated::new("g")));
    world.queue.copy_jobs(slow).await.unwrap();
    let process = world.start(stage.app(), worker("*", 4));
    stage.noted_times("g begins", 4).await;

    process.ask_to_stop();
    eventually("the prefetched jobs are released", async || {
        world.count("claimed").await == 4
    })
    .await;
    stage.open("g");
    process.ended().await;

    assert_eq!(world.count("finished").await, 2_004);
    let without_failures = "ready where kind = 'gated' and failures = 0 and seq = job_id";
    assert_eq!(world.count(without_failures).await, 46);
    assert_eq!(world.count("claimed").await, 0);
}

async fn registered(conn: &mut PgConnection, schema: &Schema) -> ProcessId {
    let process = ProcessId::new();
    let info = ProcessInfo {
        name: "p".to_owned(),
        host: "h".to_owned(),
        pid: 1,
        version: "0".to_owned(),
        details: json!({}),
    };
    register(conn, schema, process, &info).await.unwrap();
    process
}

#[tokio::test]
async fn a_process_without_a_row_claims_nothing() {
    let world = World::new().await;
    note(&world, "n", "a", 0).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let lane = Lane {
        queue: "a".to_owned(),
        priority: 0,
        track: Track::Open,
        above: 0,
        up_to: i64::MAX,
    };
    let kinds = ["note".to_owned()];

    let dead = ProcessId::new();
    let claimed = claim(
        &mut conn,
        schema,
        dead,
        std::slice::from_ref(&lane),
        &kinds,
        1,
    )
    .await;
    assert!(claimed.unwrap().is_empty());

    let alive = registered(&mut conn, schema).await;
    let claimed = claim(&mut conn, schema, alive, &[lane], &kinds, 1).await;
    assert_eq!(claimed.unwrap().len(), 1);
}

#[tokio::test]
async fn a_claim_takes_the_first_jobs_of_its_lanes_and_a_release_returns_them() {
    let world = World::new().await;
    for n in 0..5 {
        note(&world, &n.to_string(), "a", 0).await;
    }
    note(&world, "urgent", "a", -1).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let process = registered(&mut conn, schema).await;
    let lanes = [-1, 0].map(|priority| Lane {
        queue: "a".to_owned(),
        priority,
        track: Track::Open,
        above: 0,
        up_to: i64::MAX,
    });
    let before: Vec<(i64, i64, i16)> = world
        .rows("select job_id, seq, failures from queue.ready order by 1")
        .await;

    let kinds = ["note".to_owned()];
    let claimed = claim(&mut conn, schema, process, &lanes, &kinds, 3)
        .await
        .unwrap();

    let args: Vec<&str> = claimed.iter().map(|job| job.args.get()).collect();
    assert_eq!(args, ["\"urgent\"", "\"0\"", "\"1\""]);
    assert_eq!(world.count("ready").await, 3);
    let claims: Vec<Claim> = claimed.iter().map(|job| job.claim).collect();
    release(&mut conn, schema, process, &claims).await.unwrap();
    let after: Vec<(i64, i64, i16)> = world
        .rows("select job_id, seq, failures from queue.ready order by 1")
        .await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_claim_skips_a_locked_job() {
    let world = World::new().await;
    let locked = note(&world, "locked", "default", 0).await;
    note(&world, "free", "default", 0).await;
    let stage = Stage::default();
    let mut holding = world.pool().begin().await.unwrap();
    sqlx::query("select from queue.ready where job_id = $1 for update")
        .bind(locked.0)
        .execute(&mut *holding)
        .await
        .unwrap();
    let process = world.start(stage.app(), worker("*", 1));

    stage.noted("free").await;

    assert_eq!(stage.times("locked"), 0);
    holding.rollback().await.unwrap();
    stage.noted("locked").await;
    process.stop().await;
}

/// A job that runs longer than prefetched jobs wait for a slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slow;

impl Job for Slow {
    const KIND: &'static str = "slow";
}

impl Perform<Stage> for Slow {
    type Error = Infallible;

    async fn perform(self, _cx: Cx<Stage>) -> Result<(), Infallible> {
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        Ok(())
    }
}

#[tokio::test]
async fn jobs_behind_long_ones_are_not_claimed_and_released_repeatedly() {
    let world = World::new().await;
    let stage = Stage::default();
    let quick = (0..300).map(|n| Note::new(n.to_string()));
    let _ = world.queue.enqueue_many(quick).await.unwrap();
    let _ = world
        .queue
        .enqueue_many([Slow, Slow, Slow, Slow])
        .await
        .unwrap();

    let process = world.start(stage.app().register::<Slow>(), worker("default", 1));
    world.until("finished", 304).await;

    // What was prefetched while jobs were quick was released once.
    let most: i32 = world.value("select max(attempt) from queue.finished").await;
    assert!(most <= 3, "a job was claimed {most} times");
    process.stop().await;
}
