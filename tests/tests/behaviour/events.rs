//! Jobs that wait for events, and the events that wake them.

use std::time::Duration;

use queue_core::events::{clear_events, open_strays};
use queue_core::{EmitError, JobId, Options, inspect};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{Running, World, eventually, notifications, worker};
use queue_worker::testing::TestProcess;
use queue_worker::{BoxError, Cx, Job, Perform};
use serde::{Deserialize, Serialize};
use sqlx::Executor as _;

const HOUR: Duration = Duration::from_secs(3600);

/// A job that passes the gate `before`, waits an hour for an event, and notes its payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiter;

impl Job for Waiter {
    const KIND: &'static str = "waiter";

    fn options() -> Options {
        Options::new().attempts(1)
    }
}

impl Perform<Stage> for Waiter {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        cx.state().pass("before").await;
        let payload: Option<String> = cx.wait_for("paid", HOUR).await?;
        cx.state().note(format!("{payload:?}"));
        Ok(())
    }
}

/// Starts a process with a job that waits.
async fn waiting(world: &World, stage: &Stage) -> (JobId, Running) {
    stage.open("before");
    let (job, process) = begun(world, stage).await;
    world.until_state(job, "scheduled").await;
    (job, process)
}

async fn begun(world: &World, stage: &Stage) -> (JobId, Running) {
    let job = world.queue.enqueue(Waiter).await.unwrap().id();
    let process = world.start(stage.app().register::<Waiter>(), worker("*", 1));
    (job, process)
}

#[tokio::test]
async fn a_waiting_job_holds_no_slot_and_goes_on_when_its_event_comes() {
    let world = World::new().await;
    let stage = Stage::default();
    let (job, process) = waiting(&world, &stage).await;
    let details = inspect::jobs::show(&mut world.connect().await, world.queue.schema(), job).await;
    assert_eq!(details.unwrap().unwrap().waits_for_event.unwrap(), "paid");
    world.queue.enqueue(Note::new("beside")).await.unwrap();
    stage.noted("beside").await;

    let is_first = world.queue.emit("paid", &"receipt").await.unwrap();

    assert!(is_first);
    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["beside", r#"Some("receipt")"#]);
    assert_eq!(world.count("attempts").await, 0);
    assert_eq!(world.count("waits").await, 0);
    process.stop().await;
}

#[tokio::test]
async fn the_first_event_of_a_name_stays_and_is_found_later() {
    let world = World::new().await;
    let stage = Stage::default();
    stage.open("before");

    assert!(world.queue.emit("paid", &"first").await.unwrap());
    assert!(!world.queue.emit("paid", &"second").await.unwrap());

    let (job, process) = begun(&world, &stage).await;
    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), [r#"Some("first")"#]);
    assert_eq!(world.count("finished where attempt = 1").await, 1);
    process.stop().await;
}

#[tokio::test]
async fn an_event_that_is_not_valid_is_refused() {
    let world = World::new().await;

    let misnamed = world.queue.emit("two words", &1).await.unwrap_err();
    let large = world.queue.emit("large", &"x".repeat(300_000)).await;

    let words = "the event \"two words\" is refused";
    assert!(misnamed.to_string().starts_with(words), "{misnamed}");
    assert!(matches!(large, Err(EmitError::TooLarge(300_002))));
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let world = World::new().await;
    let stage = Stage::default();
    let (job, process) = waiting(&world, &stage).await;

    world.make_scheduled_due().await;
    world.until("scheduled where attempt = 2", 1).await;
    world
        .sql("update queue.steps set finished_at = finished_at - interval '1 hour'")
        .await;
    world.make_scheduled_due().await;

    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["None"]);
    process.stop().await;
}

#[tokio::test]
async fn a_test_does_not_wait_for_an_event() {
    let world = World::new().await;
    let stage = Stage::default();
    stage.open("before");
    let mut process = TestProcess::new(&world.queue, stage.app().register::<Waiter>()).await;

    let waits = process.perform(Waiter).await;
    process.make_next_due(1).await;
    let done = process.drain("default").await;

    assert!(waits.retry_after.unwrap() > HOUR / 2);
    done[0].assert_done();
    assert_eq!(stage.notes(), ["None"]);
}

#[tokio::test]
async fn an_event_of_a_transaction_wakes_jobs_that_began_to_wait_before_its_commit() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut rolled_back = world.pool().begin().await.unwrap();
    let emitting = world.queue.emit("paid", &"never").tx(&mut rolled_back);
    assert!(emitting.await.unwrap());
    rolled_back.rollback().await.unwrap();
    let mut tx = world.pool().begin().await.unwrap();
    let emitting = world.queue.emit("paid", &"late").tx(&mut tx);
    assert!(emitting.await.unwrap());

    let (job, process) = waiting(&world, &stage).await;
    tx.commit().await.unwrap();

    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), [r#"Some("late")"#]);
    process.stop().await;
}

#[tokio::test]
async fn an_event_that_is_over_before_a_wait_is_committed_wakes_its_job() {
    let world = World::new().await;
    let stage = Stage::default();
    let (job, process) = begun(&world, &stage).await;
    world.until_state(job, "claimed").await;
    let mut blocking = world.pool().begin().await.unwrap();
    // Steps can be recorded, but the run cannot end.
    blocking
        .execute("select from queue.claimed for no key update")
        .await
        .unwrap();
    stage.open("before");
    let blocked = "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'";
    eventually("the end of the run is blocked", async || {
        world.value::<i64>(blocked).await == 1
    })
    .await;

    world.queue.emit("paid", &"early").await.unwrap();
    world.until("events where not is_open", 1).await;
    blocking.rollback().await.unwrap();

    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), [r#"Some("early")"#]);
    process.stop().await;
}

#[tokio::test]
async fn a_job_whose_process_died_before_it_looked_for_its_event_is_found() {
    let world = World::new().await;
    let stage = Stage::default();
    let (job, process) = waiting(&world, &stage).await;
    process.stop().await;
    world
        .sql("insert into queue.events values (now(), false, 'paid', '\"unseen\"')")
        .await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    let last = open_strays(&mut conn, schema, JobId(0)).await.unwrap();

    assert_eq!(last, Some(job));
    let process = world.start(stage.app().register::<Waiter>(), worker("*", 1));
    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), [r#"Some("unseen")"#]);
    process.stop().await;
}

#[tokio::test]
async fn a_notification_wakes_a_job_before_the_next_look_for_events() {
    if !notifications() {
        return;
    }
    let world = World::new().await;
    let stage = Stage::default();
    stage.open("before");
    let job = world.queue.enqueue(Waiter).await.unwrap().id();
    let mut settings = worker("*", 1);
    settings.dispatcher.poll_interval = HOUR;
    let process = world.start(stage.app().register::<Waiter>(), settings);
    world.until_state(job, "scheduled").await;

    world.queue.emit("paid", &"receipt").await.unwrap();

    world.until_state(job, "finished").await;
    process.stop().await;
}

#[tokio::test]
async fn one_event_wakes_thousands_of_jobs() {
    let world = World::new().await;
    let stage = Stage::default();
    stage.open("before");
    world.queue.enqueue_many(vec![Waiter; 2_500]).await.unwrap();
    let process = world.start(stage.app().register::<Waiter>(), worker("*", 100));
    world.until("scheduled", 2_500).await;

    world.queue.emit("paid", &"all").await.unwrap();

    world.until("finished where outcome = 'done'", 2_500).await;
    assert_eq!(stage.times(r#"Some("all")"#), 2_500);
    world.until("events where not is_open", 1).await;
    process.stop().await;
}

#[tokio::test]
async fn an_event_leaves_a_job_alone_that_waits_no_more() {
    let world = World::new().await;
    let stage = Stage::default();
    let (job, process) = waiting(&world, &stage).await;

    world.queue.cancel(job).await.unwrap();
    world.queue.emit("paid", &"late").await.unwrap();
    world.until("events where not is_open", 1).await;

    assert_eq!(world.state(job).await, "finished");
    assert_eq!(stage.notes(), [""; 0]);
    process.stop().await;
}

#[tokio::test]
async fn events_are_cleared_once_the_jobs_that_wait_for_them_are_woken() {
    let world = World::new().await;
    world.queue.emit("open", &1).await.unwrap();
    world.queue.emit("closed", &1).await.unwrap();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    world
        .sql("update queue.events set is_open = false where name = 'closed'")
        .await;

    let kept = clear_events(&mut conn, schema, HOUR, 9).await.unwrap();
    let cleared = clear_events(&mut conn, schema, Duration::ZERO, 9).await;

    assert_eq!((kept, cleared.unwrap()), (0, 1));
    assert_eq!(world.count("events where name = 'open'").await, 1);
}
