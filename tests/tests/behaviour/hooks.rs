//! Hooks are called once for each end of a run, with an event that describes the job and the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use queue_tests::stage::{Gated, Note, Stage, note};
use queue_tests::world::{World, worker};
use queue_worker::{
    App, Attempt, BoxError, Conflict, Cx, Job, JobEvent, JobId, Limits, Next, Options, Perform,
    Process, Stop,
};
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

/// Leaves a job in the hands of a process that is gone.
async fn orphan(world: &World, crashes: i16) -> JobId {
    let jobs = world.queue.enqueue_many([Note::new("orphan")]);
    let jobs = jobs.with(|options| options.crashes(crashes).tag("lost"));
    let id = jobs.await.unwrap()[0].id();
    world
        .sql(&format!(
            "with taken as (delete from queue.ready where job_id = {id} returning *)
             insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes)
             select job_id, seq, gen_random_uuid(), attempt + 1, failures, crashes from taken"
        ))
        .await;
    id
}

#[tokio::test]
async fn a_job_of_a_process_that_died_is_told_once_whichever_process_recovers_it() {
    let world = World::new().await;
    let stage = Stage::default();
    let told = |name: &'static str| {
        let stage = stage.clone();
        move |job: &JobEvent<'_>| {
            let (tags, args, error) = (job.tags, job.args, job.error.unwrap());
            let is_dead = error.ends_with("died while it held this job");
            let (attempt, max, ran) = (job.attempt, job.attempts_max, job.ran);
            stage.note(format!(
                "{name} {args} {tags:?} {attempt} of {max} {is_dead} {ran:?}"
            ));
        }
    };
    let failed = orphan(&world, 1).await;
    let retried = orphan(&world, 3).await;

    let start = |_| {
        let app = stage.app().on_failed(told("failed"));
        world.start(app.on_retried(told("retried")), worker("another", 1))
    };
    let processes = [0, 1, 2].map(start);

    stage
        .noted(r#"failed "orphan" ["lost"] 1 of 10 true None"#)
        .await;
    stage
        .noted(r#"retried "orphan" ["lost"] 1 of 10 true None"#)
        .await;
    for process in processes {
        process.stop().await;
    }
    assert_eq!(stage.notes().len(), 2);
    assert_eq!(world.state(failed).await, "failed");
    assert_eq!(world.state(retried).await, "ready");
}

#[tokio::test]
async fn a_job_that_a_limit_drops_is_told_as_discarded() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage.app().on_discarded(noting(&stage, "discarded"));
    let process = world.start(app, worker("*", 4));
    let key = |name: &str, conflict| Limits::key(name).group("g").on_conflict(conflict);
    for name in ["refuses", "replaces"] {
        let holder = world.queue.enqueue(Gated::new(name));
        let holder = holder.limits(key(name, Conflict::Block));
        let _ = holder.await.unwrap();
        stage.noted(&format!("{name} begins")).await;
    }

    note(&world, "refused", key("refuses", Conflict::Discard)).await;
    let older = note(&world, "older", key("replaces", Conflict::Replace)).await;
    world.until_state(older, "blocked").await;
    note(&world, "newer", key("replaces", Conflict::Replace)).await;

    let discarded = "discarded note 0 0 the limit of the key";
    stage
        .noted(&format!("{discarded} `g/refuses` has no room"))
        .await;
    stage
        .noted(&format!("{discarded} `g/replaces` has a newer job"))
        .await;
    for gate in ["refuses", "replaces"] {
        stage.open(gate);
    }
    stage.noted("newer").await;
    process.stop().await;
    let told = stage.notes().into_iter();
    assert_eq!(told.filter(|note| note.starts_with("discarded")).count(), 2);
}

/// Adds hooks that note the start and the stop.
fn noting_its_life(stage: &Stage) -> App<Stage> {
    let (start, stop) = (stage.clone(), stage.clone());
    stage
        .app()
        .on_start(move |process| start.note(format!("{} starts", process.name)))
        .on_stop(move |process| stop.note(format!("{} stops", process.name)))
}

#[tokio::test]
async fn a_process_tells_its_start_before_its_first_job_and_its_stop_once_over_two_lives() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.name = Some("p".to_owned());
    settings.process.heartbeat_interval = Duration::from_millis(100);
    settings.process.cancel_grace = Duration::from_millis(50);
    let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    let process = world.start(noting_its_life(&stage), settings);
    stage.noted("g begins").await;

    world.sql("delete from queue.processes").await;
    stage.noted_times("g begins", 2).await;
    stage.open("g");
    stage.noted("g ends").await;
    process.stop().await;

    let expected = ["p starts", "g begins", "g begins", "g ends", "p stops"];
    assert_eq!(stage.notes(), expected);
}

#[tokio::test]
async fn a_panic_in_a_hook_about_the_process_stops_nothing() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = App::new(stage.clone()).register::<Note>();
    let app = app
        .on_start(|_| panic!("at the start"))
        .on_stop(|_| panic!("at the stop"));
    let late = stage.clone();
    let app = app.on_stop(move |_| late.note("stops"));
    let process = world.start(app, worker("*", 1));

    let _ = world.queue.enqueue(Note::new("a")).await.unwrap();
    stage.noted("a").await;
    process.stop().await;

    assert_eq!(stage.notes(), ["a", "stops"]);
}

#[tokio::test]
async fn a_process_that_is_stopped_while_it_tells_its_start_claims_nothing() {
    let world = World::new().await;
    let stage = Stage::default();
    let stop = Stop::new();
    let asked = stop.clone();
    let app = noting_its_life(&stage).on_start(move |_| {
        // Time enough to claim the job.
        std::thread::sleep(Duration::from_millis(300));
        asked.gracefully();
    });
    let mut settings = worker("*", 1);
    settings.process.name = Some("p".to_owned());
    let id = world.queue.enqueue(Note::new("a")).await.unwrap().id();

    let process = Process::new(world.queue.clone(), app, settings).unwrap();
    process.run(stop).await;

    assert_eq!(stage.notes(), ["p starts", "p stops"]);
    assert_eq!(world.state(id).await, "ready");
    assert_eq!(world.count("ready where attempt = 0").await, 1);
    assert_eq!(world.count("processes").await, 0);
}

#[tokio::test]
async fn a_hook_that_never_returns_does_not_keep_a_process_from_ending() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.cancel_grace = Duration::from_millis(100);
    let hang = |stage: &Stage, what: &'static str| {
        let stage = stage.clone();
        move || {
            stage.note(what);
            loop {
                std::thread::park();
            }
        }
    };
    let (start, stop) = (hang(&stage, "hangs"), hang(&stage, "hangs"));

    let process = world.start(stage.app().on_start(move |_| start()), settings.clone());
    stage.noted("hangs").await;
    process.stop().await;
    let process = world.start(stage.app().on_stop(move |_| stop()), settings);
    let _ = world.queue.enqueue(Note::new("a")).await.unwrap();
    stage.noted("a").await;
    process.stop().await;

    assert_eq!(stage.times("hangs"), 2);
    assert_eq!(world.count("processes").await, 0);
}
