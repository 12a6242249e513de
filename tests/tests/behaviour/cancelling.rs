//! Cancelling: waiting jobs end at once, running jobs are asked to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use queue_core::transitions::cancel::{cancel_waiting, request_cancel};
use queue_core::{JobId, Outcome};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Cx, Job, Perform};
use serde::{Deserialize, Serialize};
use tracing_subscriber::util::SubscriberInitExt as _;

async fn cancel(world: &World, jobs: &[JobId]) -> Vec<JobId> {
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    cancel_waiting(&mut conn, schema, jobs, Outcome::Cancelled)
        .await
        .unwrap()
}

async fn ask(world: &World, jobs: &[JobId]) -> Vec<JobId> {
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    request_cancel(&mut conn, schema, jobs).await.unwrap()
}

async fn outcome(world: &World, job: JobId) -> String {
    let query = format!("select outcome::text from queue.finished where job_id = {job}");
    world.value(&query).await
}

#[tokio::test]
async fn cancelling_ends_waiting_jobs_and_leaves_running_ones_alone() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let running = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;
    let ready = world.queue.enqueue(Note::new("a")).await.unwrap().id();
    let later = world
        .queue
        .enqueue(Note::new("b"))
        .delay(Duration::from_secs(60));
    let later = later.await.unwrap().id();

    let mut cancelled = cancel(&world, &[running, ready, later, JobId(999_999)]).await;

    cancelled.sort();
    assert_eq!(cancelled, [ready, later]);
    assert_eq!(outcome(&world, ready).await, "cancelled");
    assert_eq!(outcome(&world, later).await, "cancelled");
    assert_eq!(world.state(running).await, "claimed");
    stage.open("g");
    world.until_state(running, "finished").await;
    process.stop().await;
    assert_eq!(stage.times("a"), 0);
}

/// A job that stops when it is asked to.
#[derive(Serialize, Deserialize)]
struct Polite;

impl Job for Polite {
    const KIND: &'static str = "polite";
}

impl Perform<Stage> for Polite {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), std::io::Error> {
        cx.state().note("polite begins");
        cx.cancelled().await;
        Err(std::io::Error::other("stopped as asked"))
    }
}

/// A job that is asked to stop and succeeds anyway.
#[derive(Serialize, Deserialize)]
struct Diligent;

impl Job for Diligent {
    const KIND: &'static str = "diligent";
}

impl Perform<Stage> for Diligent {
    type Error = Infallible;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state().note("diligent begins");
        cx.cancelled().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_running_job_that_stops_on_request_is_cancelled() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Polite>(), worker("*", 1));
    let id = world.queue.enqueue(Polite).await.unwrap().id();
    stage.noted("polite begins").await;

    assert_eq!(ask(&world, &[id]).await, [id]);
    assert_eq!(ask(&world, &[JobId(999_999)]).await, []);

    world.until_state(id, "finished").await;
    process.stop().await;
    assert_eq!(outcome(&world, id).await, "cancelled");
    let kept: Vec<(String, String)> = world.rows("select ending, error from queue.attempts").await;
    assert_eq!(
        kept,
        [("cancelled".to_owned(), "stopped as asked".to_owned())]
    );
}

#[tokio::test]
async fn a_running_job_that_ignores_a_cancel_is_dropped_after_the_grace_period() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.cancel_grace = Duration::from_millis(50);
    let process = world.start(stage.app(), settings);
    let id = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;

    ask(&world, &[id]).await;

    world.until_state(id, "finished").await;
    process.stop().await;
    assert_eq!(outcome(&world, id).await, "cancelled");
    assert_eq!(stage.times("g ends"), 0);
}

#[tokio::test]
async fn a_job_that_succeeds_after_a_cancel_request_is_done() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Diligent>(), worker("*", 1));
    let id = world.queue.enqueue(Diligent).await.unwrap().id();
    stage.noted("diligent begins").await;

    ask(&world, &[id]).await;

    world.until_state(id, "finished").await;
    process.stop().await;
    assert_eq!(outcome(&world, id).await, "done");
}

#[tokio::test]
async fn a_cancel_request_without_a_notification_is_read_with_the_next_heartbeat() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    let process = world.start(stage.app().register::<Polite>(), settings);
    let id = world.queue.enqueue(Polite).await.unwrap().id();
    stage.noted("polite begins").await;

    world
        .sql("update queue.claimed set cancel_requested_at = now()")
        .await;

    world.until_state(id, "finished").await;
    process.stop().await;
    assert_eq!(outcome(&world, id).await, "cancelled");
}

/// A job that fails at the gate `fail`, and would be retried.
#[derive(Serialize, Deserialize)]
struct Unlucky;

impl Job for Unlucky {
    const KIND: &'static str = "unlucky";
}

impl Perform<Stage> for Unlucky {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), std::io::Error> {
        cx.state().note("unlucky begins");
        cx.state().pass("fail").await;
        Err(std::io::Error::other("no luck"))
    }
}

#[tokio::test]
async fn a_late_cancel_request_cancels_the_job_instead_of_retrying_it_and_log_and_hooks_say_so() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let _logging = logging.set_default();
    let (world, stage) = (World::new().await, Stage::default());
    let heard = stage.clone();
    let app = stage.app().register::<Unlucky>();
    let app = app.on_discarded(move |job| heard.note(format!("discarded: {}", job.error.unwrap())));
    let process = world.start(app, worker("*", 1));
    let id = world.queue.enqueue(Unlucky).await.unwrap().id();
    stage.noted("unlucky begins").await;

    // The process gets no notification, as when the request commits while the run ends.
    world
        .sql("update queue.claimed set cancel_requested_at = now()")
        .await;
    stage.open("fail");

    stage.noted("discarded: no luck").await;
    process.stop().await;
    assert_eq!(outcome(&world, id).await, "cancelled");
    let log = std::fs::read_to_string(log.path()).unwrap();
    let line = log.lines().find(|line| line.contains("no luck"));
    let fields = format!(
        r#"cancelled job_id={id} kind="unlucky" queue="default" attempt=1 error="no luck""#
    );
    assert!(line.unwrap().contains(&fields), "{log}");
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_attempt_can_be_cancelled() {
    let world = World::new().await;
    let id = world.queue.enqueue(Note::new("a")).await.unwrap().id();
    world.sql("delete from queue.ready").await;
    world
        .sql(
            "insert into queue.scheduled (job_id, due_at, attempt, failures, priority, queue, kind)
              select id, now(), 3, 3, 0, queue, kind from queue.jobs",
        )
        .await;

    assert_eq!(cancel(&world, &[id]).await, [id]);

    assert_eq!(world.count("finished where attempt = 3").await, 1);
}
