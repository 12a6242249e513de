//! Unique keys: the database decides, also between concurrent transactions.

use std::time::Duration;

use queue_core::transitions::clear::{ClearFilter, clear_finished};
use queue_core::transitions::retry_now::retry_now;
use queue_core::{Enqueued, JobId, NewJob, OnConflict, Options, States, Unique};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{Cx, Job, Next, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;

fn key() -> Unique {
    Unique::by_key("k")
}

async fn enqueue(world: &World, unique: Unique) -> Enqueued {
    let request = world.queue.enqueue(Note::new("n")).unique(unique);
    request.await.unwrap()
}

/// A job that fails for good.
#[derive(Serialize, Deserialize)]
struct Doomed;

impl Job for Doomed {
    const KIND: &'static str = "doomed";
}

impl Perform<Stage> for Doomed {
    type Error = std::fmt::Error;

    async fn perform(self, _: Cx<Stage>) -> Result<(), std::fmt::Error> {
        Err(std::fmt::Error)
    }

    fn on_error(_: &std::fmt::Error, _: &queue_worker::Attempt) -> Next {
        Next::Fail
    }
}

async fn waits_for_a_lock(world: &World) {
    eventually("a statement waits for a lock", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        world.value::<i64>(waiting).await > 0
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_key_is_taken_is_not_added_and_the_holder_is_returned() {
    let world = World::new().await;

    let first = enqueue(&world, key()).await;
    let second = enqueue(&world, key()).await;
    let other = enqueue(&world, Unique::by_key("other")).await;

    assert_eq!(second, Enqueued::Kept(first.id()));
    assert!(first.is_new() && other.is_new() && !second.is_new());
    assert_eq!(world.count("jobs").await, 2);
}

#[tokio::test]
async fn a_rejected_duplicate_names_the_job_that_has_the_key() {
    let world = World::new().await;

    let first = enqueue(&world, key()).await;
    let second = enqueue(&world, key().on_conflict(OnConflict::Reject)).await;

    assert_eq!(second, Enqueued::Rejected(first.id()));
    assert_eq!(world.count("jobs").await, 1);
}

#[tokio::test]
async fn a_job_that_replaces_a_waiting_one_cancels_it() {
    let world = World::new().await;
    let first = enqueue(&world, key()).await.id();

    let second = enqueue(&world, key().on_conflict(OnConflict::Replace)).await;

    let Enqueued::Replaced { id, old } = second else {
        panic!("{second:?}");
    };
    assert_eq!(old, first);
    assert_eq!(world.state(id).await, "ready");
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
    assert_eq!(world.state(first).await, "finished");
    assert_eq!(enqueue(&world, key()).await, Enqueued::Kept(id));
}

#[tokio::test]
async fn a_scheduled_job_is_replaced_even_if_its_key_outlives_it() {
    let world = World::new().await;
    let unique = key()
        .while_in(States::UNFINISHED | States::FINISHED)
        .on_conflict(OnConflict::Replace);
    let later = world.queue.enqueue(Note::new("n")).unique(unique.clone());
    let first = later.delay(Duration::from_secs(60)).await.unwrap().id();

    let second = enqueue(&world, unique).await;

    assert!(matches!(second, Enqueued::Replaced { old, .. } if old == first));
    assert_eq!(world.state(first).await, "finished");
}

#[tokio::test]
async fn the_last_of_several_replacing_jobs_in_one_bulk_stays() {
    let world = World::new().await;
    let jobs = [1, 2, 3].map(|n| {
        let unique = key().on_conflict(OnConflict::Replace);
        NewJob::untyped("k", &json!(n), Options::new().unique(unique))
    });

    let enqueued = world.queue.enqueue_all(jobs).await.unwrap();

    let [first, second, third] = [0, 1, 2].map(|n| enqueued[n].id());
    assert_eq!(
        enqueued[1],
        Enqueued::Replaced {
            id: second,
            old: first
        }
    );
    assert_eq!(
        enqueued[2],
        Enqueued::Replaced {
            id: third,
            old: second
        }
    );
    assert_eq!(world.count("ready").await, 1);
    assert_eq!(world.state(third).await, "ready");
    assert_eq!(enqueue(&world, key()).await, Enqueued::Kept(third));
}

#[tokio::test]
async fn a_running_job_is_kept_instead_of_replaced() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 2));
    let unique = key().on_conflict(OnConflict::Replace);
    let gated = world.queue.enqueue(Gated::new("g")).unique(unique.clone());
    let first = gated.await.unwrap().id();
    stage.noted("g begins").await;

    let second = enqueue(&world, unique).await;

    assert_eq!(second, Enqueued::Kept(first));
    stage.open("g");
    world.until("finished where outcome = 'done'", 1).await;
    process.stop().await;
}

#[tokio::test]
async fn equal_arguments_give_the_same_key_regardless_of_the_order_of_their_fields() {
    let world = World::new().await;
    let options = || Options::new().unique(Unique::by_args());

    let jobs = [
        NewJob::untyped("k", &json!({"a": 1, "b": 2}), options()),
        NewJob::untyped("k", &json!({"b": 2, "a": 1}), options()),
        NewJob::untyped("k", &json!({"a": 1, "b": 3}), options()),
        NewJob::untyped("other", &json!({"a": 1, "b": 2}), options()),
    ];
    let enqueued = world.queue.enqueue_all(jobs).await.unwrap();

    assert_eq!(enqueued[1], Enqueued::Kept(enqueued[0].id()));
    assert!(enqueued[2].is_new() && enqueued[3].is_new());
}

#[tokio::test]
async fn a_key_held_while_waiting_is_free_once_the_job_is_claimed() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let unique = key().while_in(States::WAITING);
    let running = world.queue.enqueue(Gated::new("g")).unique(unique.clone());
    let _ = running.await.unwrap();
    stage.noted("g begins").await;

    let behind = enqueue(&world, unique.clone()).await;
    let third = enqueue(&world, unique).await;

    assert!(behind.is_new());
    assert_eq!(third, Enqueued::Kept(behind.id()));
    stage.open("g");
    world.until("finished", 2).await;
    process.stop().await;
}

#[tokio::test]
async fn a_key_held_while_unfinished_is_free_once_the_job_is_finished() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let running = world.queue.enqueue(Gated::new("g")).unique(key());
    let first = running.await.unwrap();
    stage.noted("g begins").await;

    assert_eq!(enqueue(&world, key()).await, Enqueued::Kept(first.id()));
    stage.open("g");
    world.until("finished", 1).await;

    assert!(enqueue(&world, key()).await.is_new());
    world.until("finished", 2).await;
    process.stop().await;
}

async fn fail_one(world: &World, unique: Unique) -> JobId {
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Doomed>(), worker("*", 1));
    let doomed = world.queue.enqueue(Doomed).unique(unique);
    let id = doomed.await.unwrap().id();
    world.until_state(id, "failed").await;
    process.stop().await;
    id
}

#[tokio::test]
async fn a_failed_job_frees_its_key_unless_the_key_is_held_while_failed() {
    let world = World::new().await;
    let counts = Unique::by_key("counts").while_in(States::UNFINISHED | States::FAILED);

    fail_one(&world, key()).await;
    let holder = fail_one(&world, counts.clone()).await;

    assert!(enqueue(&world, key()).await.is_new());
    assert_eq!(enqueue(&world, counts).await, Enqueued::Kept(holder));
}

#[tokio::test]
async fn a_key_held_by_a_finished_job_is_free_once_the_job_is_cleared() {
    let world = World::new().await;
    let stage = Stage::default();
    let unique = key().while_in(States::UNFINISHED | States::FINISHED);
    let process = world.start(stage.app(), worker("*", 1));
    let first = enqueue(&world, unique.clone()).await.id();
    world.until("finished", 1).await;
    process.stop().await;

    assert_eq!(enqueue(&world, unique.clone()).await, Enqueued::Kept(first));
    let (schema, which) = (world.queue.schema(), ClearFilter::default());
    let mut conn = world.connect().await;
    let cleared = clear_finished(&mut conn, schema, &which, Duration::ZERO, None, 10).await;
    assert_eq!(cleared.unwrap().0, 1);

    assert!(enqueue(&world, unique).await.is_new());
}

#[tokio::test]
async fn a_key_held_for_a_period_is_free_after_it_in_any_state() {
    let world = World::new().await;
    let unique = || key().within(Duration::from_secs(3600));
    let first = enqueue(&world, unique()).await.id();
    assert_eq!(enqueue(&world, unique()).await, Enqueued::Kept(first));

    world
        .sql("update queue.unique_keys set held_until = held_until - interval '1 hour'")
        .await;
    let second = enqueue(&world, unique()).await;

    assert!(second.is_new());
    assert_eq!(world.state(first).await, "ready");
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    world.until("finished", 2).await;
    process.stop().await;
    assert_eq!(world.count("unique_keys").await, 0);
}

#[tokio::test]
async fn a_job_that_ends_after_its_period_does_not_free_the_key_of_its_successor() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let first = world
        .queue
        .enqueue(Gated::new("g"))
        .unique(key().within(Duration::from_secs(60)));
    let _ = first.await.unwrap();
    stage.noted("g begins").await;
    world
        .sql("update queue.unique_keys set held_until = held_until - interval '1 hour'")
        .await;
    let second = enqueue(&world, key()).await;
    assert!(second.is_new());
    world
        .sql("insert into queue.queues (name, paused_at) values ('default', now())")
        .await;

    stage.open("g");
    world.until("finished", 1).await;

    assert_eq!(enqueue(&world, key()).await, Enqueued::Kept(second.id()));
    process.stop().await;
}

#[tokio::test]
async fn a_key_may_occur_twice_in_one_bulk() {
    let world = World::new().await;
    let jobs = ["a", "b", "a", "a"].map(|key| {
        let options = Options::new().unique(Unique::by_key(key));
        NewJob::untyped("k", &json!(key), options)
    });

    let enqueued = world.queue.enqueue_all(jobs).await.unwrap();

    assert!(enqueued[0].is_new() && enqueued[1].is_new());
    let kept = Enqueued::Kept(enqueued[0].id());
    assert_eq!(enqueued[2..], [kept, kept]);
    assert_eq!(world.count("ready").await, 2);
}

#[tokio::test]
async fn a_conflict_leaves_the_callers_transaction_usable() {
    let world = World::new().await;
    let first = enqueue(&world, key()).await.id();
    let mut tx = world.pool().begin().await.unwrap();

    let second = world
        .queue
        .enqueue(Note::new("n"))
        .unique(key())
        .tx(&mut tx);
    assert_eq!(second.await.unwrap(), Enqueued::Kept(first));
    let third = world.queue.enqueue(Note::new("n")).tx(&mut tx);
    let third = third.await.unwrap().id();
    tx.commit().await.unwrap();

    assert_eq!(world.state(third).await, "ready");
}

#[tokio::test]
async fn an_open_transaction_with_a_duplicate_does_not_delay_the_end_of_the_first_job() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let gated = world.queue.enqueue(Gated::new("g")).unique(key());
    let first = gated.await.unwrap().id();
    stage.noted("g begins").await;

    let mut tx = world.pool().begin().await.unwrap();
    let duplicate = world.queue.enqueue(Note::new("n")).unique(key());
    assert_eq!(duplicate.tx(&mut tx).await.unwrap(), Enqueued::Kept(first));
    stage.open("g");

    world.until("finished where outcome = 'done'", 1).await;
    tx.rollback().await.unwrap();
    process.stop().await;
}

#[tokio::test]
async fn concurrent_chunks_that_find_a_period_over_take_the_key_once() {
    let world = World::new().await;
    let _first = enqueue(&world, key().within(Duration::from_secs(60))).await;
    world
        .sql("update queue.unique_keys set held_until = held_until - interval '1 hour'")
        .await;
    let mut tx = world.pool().begin().await.unwrap();
    let second = world.queue.enqueue(Note::new("n")).unique(key());
    let second = second.tx(&mut tx).await.unwrap();
    assert!(second.is_new());

    let queue = world.queue.clone();
    let third =
        tokio::spawn(async move { queue.enqueue(Note::new("n")).unique(key()).await.unwrap() });
    waits_for_a_lock(&world).await;
    tx.commit().await.unwrap();

    assert_eq!(third.await.unwrap(), Enqueued::Kept(second.id()));
}

#[tokio::test]
async fn a_duplicate_in_an_open_transaction_waits_and_keeps_the_committed_job() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();
    let first = world
        .queue
        .enqueue(Note::new("n"))
        .unique(key())
        .tx(&mut tx);
    let first = first.await.unwrap().id();

    let queue = world.queue.clone();
    let second =
        tokio::spawn(async move { queue.enqueue(Note::new("n")).unique(key()).await.unwrap() });
    waits_for_a_lock(&world).await;
    tx.commit().await.unwrap();

    assert_eq!(second.await.unwrap(), Enqueued::Kept(first));
}

#[tokio::test]
async fn a_duplicate_in_an_open_transaction_is_added_when_the_first_is_rolled_back() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();
    let first = world
        .queue
        .enqueue(Note::new("n"))
        .unique(key())
        .tx(&mut tx);
    let first = first.await.unwrap().id();

    let queue = world.queue.clone();
    let second =
        tokio::spawn(async move { queue.enqueue(Note::new("n")).unique(key()).await.unwrap() });
    waits_for_a_lock(&world).await;
    tx.rollback().await.unwrap();

    assert!(second.await.unwrap().is_new());
    assert_eq!(world.state(first).await, "gone");
    assert_eq!(world.count("jobs").await, 1);
}

#[tokio::test]
async fn bulks_with_the_same_keys_in_opposite_order_do_not_deadlock() {
    let world = World::new().await;
    let bulk = |numbers: Vec<i32>| {
        numbers.into_iter().map(|n| {
            let options = Options::new().unique(Unique::by_key(format!("k{n}")));
            NewJob::untyped("k", &json!(n), options)
        })
    };

    let mut tasks = Vec::new();
    for turn in 0..20 {
        let mut numbers: Vec<i32> = (0..300).collect();
        if turn % 2 == 1 {
            numbers.reverse();
        }
        let (queue, jobs) = (world.queue.clone(), bulk(numbers));
        tasks.push(tokio::spawn(async move { queue.enqueue_all(jobs).await }));
    }
    let mut new = 0;
    for task in tasks {
        let enqueued = task.await.unwrap().unwrap();
        new += enqueued.iter().filter(|answer| answer.is_new()).count();
    }

    assert_eq!(new, 300);
    assert_eq!(world.count("ready").await, 300);
}

#[tokio::test]
async fn a_failed_job_whose_key_was_taken_cannot_be_retried() {
    let world = World::new().await;
    let failed = fail_one(&world, key()).await;
    let holder = enqueue(&world, key()).await.id();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    let retried = retry_now(&mut conn, schema, &[failed]).await.unwrap();

    assert_eq!(retried, []);
    assert_eq!(world.state(failed).await, "failed");
    assert_eq!(world.state(holder).await, "ready");
}

#[tokio::test]
async fn a_retried_job_holds_its_key_no_longer_than_its_period() {
    let world = World::new().await;
    let unique = key().within(Duration::from_secs(3_600));
    let failed = fail_one(&world, unique).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    assert_eq!(
        retry_now(&mut conn, schema, &[failed]).await.unwrap(),
        [failed]
    );

    let is_held = "held_until between now() + interval '59 min' and now() + interval '1 hour'";
    assert_eq!(
        world.count(&format!("unique_keys where {is_held}")).await,
        1
    );
}

#[tokio::test]
async fn a_retried_job_whose_period_is_over_leaves_its_key_to_its_successor() {
    let world = World::new().await;
    let failed = fail_one(&world, key().within(Duration::from_secs(60))).await;
    let holder = enqueue(&world, key()).await.id();
    world
        .sql("update queue.jobs set unique_until = unique_until - interval '1 hour'")
        .await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    assert_eq!(
        retry_now(&mut conn, schema, &[failed]).await.unwrap(),
        [failed]
    );

    assert_eq!(world.state(failed).await, "ready");
    assert_eq!(enqueue(&world, key()).await, Enqueued::Kept(holder));
}

#[tokio::test]
async fn a_retried_job_takes_its_key_again() {
    let world = World::new().await;
    let failed = fail_one(&world, key()).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    let retried = retry_now(&mut conn, schema, &[failed]).await.unwrap();

    assert_eq!(retried, [failed]);
    assert_eq!(world.state(failed).await, "ready");
    assert_eq!(enqueue(&world, key()).await, Enqueued::Kept(failed));
}
