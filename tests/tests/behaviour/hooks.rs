//! Hooks are called once for each end of a run, and are told about the job and the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Attempt, BoxError, Cx, Job, JobEvent, Next, Options, Perform};
use serde::{Deserialize, Serialize};
use tracing_subscriber::util::SubscriberInitExt as _;

/// A job whose runs end in an error, after which its fields decide what happens.
#[derive(Serialize, Deserialize)]
struct Unlucky {
    next: String,
}

impl Unlucky {
    fn new(next: &str) -> Self {
        let next = next.to_owned();
        Self { next }
    }
}

impl Job for Unlucky {
    const KIND: &'static str = "unlucky";

    fn options() -> Options {
        Options::new().attempts(2).tag("eu").tag("vip")
    }
}

impl Perform<Stage> for Unlucky {
    type Error = BoxError;

    async fn perform(self, _cx: Cx<Stage>) -> Result<(), BoxError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(self.next.into())
    }

    fn on_error(error: &BoxError, _: &Attempt) -> Next {
        match error.to_string().as_str() {
            "snooze" => Next::Snooze(Duration::from_secs(3_600)),
            _ => Next::RetryAfter(Duration::from_secs(3_600)),
        }
    }
}

/// Returns a hook that notes an event.
fn noting(stage: &Stage, name: &'static str) -> impl Fn(&JobEvent<'_>) + use<> {
    let stage = stage.clone();
    move |job| {
        let &JobEvent {
            attempt, failures, ..
        } = job;
        let error = job.error.unwrap_or("no error");
        stage.note(format!("{name} {} {attempt} {failures} {error}", job.kind));
    }
}

#[tokio::test]
async fn a_hook_is_told_about_the_job_and_about_its_run() {
    let world = World::new().await;
    let stage = Stage::default();
    let (told, told_to) = (stage.clone(), Arc::new(Mutex::new(None)));
    let times = Arc::clone(&told_to);
    let app = stage.app().register::<Unlucky>().on_retried(move |job| {
        *times.lock().unwrap() = Some((job.waited.unwrap(), job.ran.unwrap()));
        told.note(format!(
            "{} {} {:?} attempt {}, {} of {}: {} ({:?})",
            job.queue,
            job.args,
            job.tags,
            job.attempt,
            job.failures,
            job.attempts_max,
            job.error.unwrap(),
            job.retry_after,
        ));
    });
    let id = world.queue.enqueue(Unlucky::new("bad")).await.unwrap().id();
    world
        .sql("update queue.ready set ready_at = ready_at - interval '90 seconds'")
        .await;

    let process = world.start(app, worker("*", 1));

    let event = r#"default {"next": "bad"} ["eu", "vip"] attempt 1, 1 of 2: bad (Some(3600s))"#;
    stage.noted(event).await;
    process.stop().await;
    assert_eq!(world.state(id).await, "scheduled");
    let (waited, ran) = told_to.lock().unwrap().unwrap();
    assert!((90..120).contains(&waited.as_secs()), "{waited:?}");
    assert!(ran >= Duration::from_millis(20) && ran.as_secs() < 30);
}

#[tokio::test]
async fn a_retry_is_told_for_each_attempt_but_the_last_and_a_snooze_is_not_told() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage.app().register::<Unlucky>();
    let app = app
        .on_retried(noting(&stage, "retried"))
        .on_failed(noting(&stage, "failed"))
        .on_discarded(noting(&stage, "discarded"))
        .on_finished(noting(&stage, "finished"));
    let process = world.start(app, worker("*", 1));

    let _ = world.queue.enqueue(Unlucky::new("snooze")).await.unwrap();
    world.until("scheduled", 1).await;
    let _ = world.queue.enqueue(Unlucky::new("bad")).await.unwrap();
    stage.noted("retried unlucky 1 1 bad").await;
    world
        .sql("update queue.scheduled set due_at = now() where failures = 1")
        .await;
    stage.noted("failed unlucky 2 2 bad").await;
    let _ = world.queue.enqueue(Note::new("a")).await.unwrap();
    stage.noted("finished note 1 0 no error").await;

    process.stop().await;
    let told = stage.notes().into_iter().filter(|note| note != "a");
    let expected = [
        "retried unlucky 1 1 bad",
        "failed unlucky 2 2 bad",
        "finished note 1 0 no error",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_hook_that_panics_is_named_in_the_log_with_its_job() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let _logging = logging.set_default();
    let (world, stage) = (World::new().await, Stage::default());
    let app = stage.app().on_finished(|_| panic!("a hook that fails"));
    let app = app.on_finished(noting(&stage, "finished"));
    let process = world.start(app, worker("*", 1));

    let id = world.queue.enqueue(Note::new("a")).await.unwrap().id();
    stage.noted("finished note 1 0 no error").await;
    process.stop().await;

    let log = std::fs::read_to_string(log.path()).unwrap();
    let line = log.lines().find(|line| line.contains("a hook panicked"));
    let fields = format!(r#"hook="on_finished" job_id={id} kind="note" queue="default" attempt=1"#);
    assert!(line.unwrap().contains(&fields), "{log}");
}
