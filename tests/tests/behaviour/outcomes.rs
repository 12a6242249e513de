//! How runs end, and which state their jobs get.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use queue_core::transitions::cancel::request_cancel;
use queue_core::{JobId, NewJob, Options};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Attempt, Backoff, Cx, Job, Next, Perform, PerformBlocking, Settings};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A job that ends in the way its arguments name.
#[derive(Clone, Serialize, Deserialize)]
enum Act {
    Err(Wish),
    PanicStr,
    PanicString,
    PanicOther,
    /// Fails this many times, then succeeds.
    FailTimes(i32),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Wish {
    Retry,
    RetryAfter,
    Snooze,
    Discard,
    Cancel,
    Fail,
}

#[derive(Debug)]
struct ActError(Wish, std::fmt::Error);

impl std::fmt::Display for ActError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it wants {:?}", self.0)
    }
}

impl std::error::Error for ActError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.1)
    }
}

impl Job for Act {
    const KIND: &'static str = "act";
}

impl Perform<Stage> for Act {
    type Error = ActError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), ActError> {
        cx.state().note(format!("run {}", cx.attempt().number));
        match self {
            Act::Err(wish) => Err(ActError(wish, std::fmt::Error)),
            Act::PanicStr => panic!("a plain text"),
            Act::PanicString => panic!("a text with {}", 7),
            Act::PanicOther => std::panic::panic_any(7),
            Act::FailTimes(times) if cx.attempt().number <= times => {
                Err(ActError(Wish::Retry, std::fmt::Error))
            }
            Act::FailTimes(_) => Ok(()),
        }
    }

    fn on_error(error: &ActError, _: &Attempt) -> Next {
        match error.0 {
            Wish::Retry => Next::Retry,
            Wish::RetryAfter => Next::RetryAfter(Duration::from_secs(77)),
            Wish::Snooze => Next::Snooze(Duration::from_secs(300)),
            Wish::Discard => Next::Discard,
            Wish::Cancel => Next::Cancel,
            Wish::Fail => Next::Fail,
        }
    }

    fn backoff() -> Backoff {
        Backoff::exponential(Duration::from_secs(100)).jitter(0.1)
    }
}

async fn act(world: &World, act: Act, attempts: i16) -> JobId {
    let request = world.queue.enqueue(act).attempts(attempts);
    request.await.unwrap().id()
}

/// Runs one job until it has left `ready` and `claimed`, and returns the state it is in.
async fn act_alone(world: &World, job: Act, attempts: i16) -> String {
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.dispatcher.enabled = false;
    let process = world.start(stage.app().register::<Act>(), settings);
    let id = act(world, job, attempts).await;
    stage.noted("run 1").await;
    process.stop().await;
    world.state(id).await
}

/// Returns the recorded attempts: number, ending, error, backtrace.
async fn attempts(world: &World) -> Vec<(i32, String, String, Option<String>)> {
    world
        .rows("select attempt, ending, error, backtrace from queue.attempts order by attempt")
        .await
}

async fn due_in(world: &World) -> f64 {
    world
        .value(
            "select extract(epoch from due_at - ended_at)::float8
             from queue.scheduled join queue.attempts using (job_id, attempt)",
        )
        .await
}

#[tokio::test]
async fn a_successful_job_leaves_only_its_finished_row() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));

    let id = world.queue.enqueue(Note::new("a")).await.unwrap().id();
    world.until_state(id, "finished").await;
    process.stop().await;

    let finished: Vec<(i32, String, bool)> = world
        .rows("select attempt, outcome::text, started_at <= finished_at from queue.finished")
        .await;
    assert_eq!(finished, [(1, "done".to_owned(), true)]);
    assert_eq!(world.count("attempts").await, 0);
    assert_eq!(world.count("claimed").await, 0);
}

#[tokio::test]
async fn an_error_is_stored_with_its_causes_and_the_job_waits_for_its_backoff() {
    let world = World::new().await;

    let state = act_alone(&world, Act::Err(Wish::Retry), 5).await;

    assert_eq!(state, "scheduled");
    let [(1, ending, error, None)] = &attempts(&world).await[..] else {
        panic!("{:?}", attempts(&world).await);
    };
    assert_eq!(ending, "error");
    let cause = std::fmt::Error.to_string();
    assert_eq!(*error, format!("it wants Retry: {cause}"));
    let wait = due_in(&world).await;
    assert!((89.0..111.0).contains(&wait), "{wait}");
    let counted: Vec<(i32, i16)> = world
        .rows("select attempt, failures from queue.scheduled")
        .await;
    assert_eq!(counted, [(1, 1)]);
}

#[tokio::test]
async fn the_backoff_grows_with_the_failures() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Act>(), worker("*", 1));
    act(&world, Act::Err(Wish::Retry), 5).await;

    for run in ["run 1", "run 2"] {
        stage.noted(run).await;
        world.until("scheduled", 1).await;
        world.make_scheduled_due().await;
    }
    stage.noted("run 3").await;
    world.until("scheduled", 1).await;
    process.stop().await;

    let wait = due_in(&world).await;
    assert!((359.0..441.0).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_error_may_set_the_delay_of_the_retry() {
    let world = World::new().await;

    let state = act_alone(&world, Act::Err(Wish::RetryAfter), 5).await;

    assert_eq!(state, "scheduled");
    let wait = due_in(&world).await;
    assert!((76.5..77.5).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_snooze_counts_as_no_failure_and_stores_no_error() {
    let world = World::new().await;

    let state = act_alone(&world, Act::Err(Wish::Snooze), 1).await;

    assert_eq!(state, "scheduled");
    assert_eq!(attempts(&world).await, []);
    let snoozed: Vec<(i32, i16, bool)> = world
        .rows(
            "select attempt, failures,
                due_at - clock_timestamp() between interval '290 s' and interval '300 s'
             from queue.scheduled",
        )
        .await;
    assert_eq!(snoozed, [(1, 0, true)]);
}

#[tokio::test]
async fn a_snoozed_job_runs_again_under_the_next_number() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Act>(), worker("*", 1));
    act(&world, Act::Err(Wish::Snooze), 1).await;
    stage.noted("run 1").await;
    world.until("scheduled", 1).await;

    world.make_scheduled_due().await;

    stage.noted("run 2").await;
    world
        .until("scheduled where attempt = 2 and failures = 0", 1)
        .await;
    process.stop().await;
}

#[tokio::test]
async fn rules_by_error_decide_how_a_run_ends() {
    for (wish, state, outcome) in [
        (Wish::Discard, "finished", Some("discarded")),
        (Wish::Cancel, "finished", Some("cancelled")),
        (Wish::Fail, "failed", None),
    ] {
        let world = World::new().await;
        assert_eq!(act_alone(&world, Act::Err(wish), 5).await, state);
        let outcomes: Vec<(String,)> = world.rows("select outcome::text from queue.finished").await;
        let found = outcomes.first().map(|(outcome,)| outcome.as_str());
        assert_eq!(found, outcome);
        assert_eq!(
            attempts(&world).await[0].2,
            format!("it wants {wish:?}: {}", std::fmt::Error)
        );
    }
}

#[tokio::test]
async fn a_job_that_succeeds_after_failures_keeps_their_errors() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Act>(), worker("*", 1));
    let id = act(&world, Act::FailTimes(2), 3).await;

    for attempt in 1..=2 {
        let failed = format!("scheduled where attempt = {attempt}");
        world.until(&failed, 1).await;
        world.make_scheduled_due().await;
    }
    world.until_state(id, "finished").await;
    process.stop().await;

    assert_eq!(stage.notes(), ["run 1", "run 2", "run 3"]);
    let numbers: Vec<i32> = attempts(&world).await.iter().map(|row| row.0).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(world.count("finished where attempt = 3").await, 1);
}

#[tokio::test]
async fn a_job_whose_attempts_are_exhausted_fails_and_keeps_every_attempt() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.name = Some("the one".to_owned());
    let process = world.start(stage.app().register::<Act>(), settings);
    let id = act(&world, Act::Err(Wish::Retry), 3).await;

    for run in ["run 1", "run 2"] {
        stage.noted(run).await;
        world.until("scheduled", 1).await;
        world.make_scheduled_due().await;
    }
    world.until_state(id, "failed").await;
    process.stop().await;

    let kept: Vec<(i32, String, bool)> = world
        .rows(
            "select attempt, process, started_at <= ended_at
             from queue.attempts order by attempt",
        )
        .await;
    let attempt = |number| (number, "the one".to_owned(), true);
    assert_eq!(kept, [attempt(1), attempt(2), attempt(3)]);
    let failed: Vec<(i32, i16, i16)> = world
        .rows("select attempt, failures, crashes from queue.failed")
        .await;
    assert_eq!(failed, [(3, 3, 0)]);
}

#[tokio::test]
async fn a_panic_is_stored_as_an_error_with_its_place() {
    for (job, error) in [
        (Act::PanicStr, "panicked: a plain text"),
        (Act::PanicString, "panicked: a text with 7"),
        (Act::PanicOther, "panicked: a value that is no text"),
    ] {
        let world = World::new().await;
        assert_eq!(act_alone(&world, job, 5).await, "scheduled");
        let kept = attempts(&world).await;
        assert_eq!((kept[0].1.as_str(), kept[0].2.as_str()), ("panic", error));
        let backtrace = kept[0].3.as_deref().unwrap();
        let first_line = backtrace.lines().next().unwrap();
        assert!(first_line.contains("outcomes.rs:"), "{first_line}");
    }
}

#[tokio::test]
async fn a_worker_survives_a_panic() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Act>(), worker("*", 1));

    let id = act(&world, Act::PanicStr, 1).await;
    world.until_state(id, "failed").await;
    let _ = world.queue.enqueue(Note::new("next")).await.unwrap();

    stage.noted("next").await;
    process.stop().await;
}

/// A job whose errors are anyhow's.
#[derive(Serialize, Deserialize)]
struct Anyhow;

impl Job for Anyhow {
    const KIND: &'static str = "anyhow";
}

impl Perform<Stage> for Anyhow {
    type Error = anyhow::Error;

    async fn perform(self, _: Cx<Stage>) -> anyhow::Result<()> {
        "seven"
            .parse::<i32>()
            .context("could not read the number")?;
        Ok(())
    }
}

#[tokio::test]
async fn errors_of_anyhow_are_stored_with_their_causes() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Anyhow>(), worker("*", 1));

    let id = world.queue.enqueue(Anyhow).attempts(1).await.unwrap().id();
    world.until_state(id, "failed").await;
    process.stop().await;

    let error = &attempts(&world).await[0].2;
    assert_eq!(
        *error,
        "could not read the number: invalid digit found in string"
    );
}

/// A job with a timeout of 100 ms that runs until its token is cancelled, or for ever.
#[derive(Serialize, Deserialize)]
struct Slow {
    heeds_its_token: bool,
}

impl Job for Slow {
    const KIND: &'static str = "slow";
}

impl Perform<Stage> for Slow {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), std::io::Error> {
        let _dropped = NoteOnDrop(cx.state().clone(), "slow is dropped");
        cx.state().note("slow begins");
        if self.heeds_its_token {
            cx.cancelled().await;
            return Err(std::io::Error::other("stopped by its token"));
        }
        std::future::pending().await
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

struct NoteOnDrop(Stage, &'static str);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

fn short_grace() -> Settings {
    let mut settings = worker("*", 1);
    settings.process.cancel_grace = Duration::from_millis(100);
    settings
}

#[tokio::test]
async fn a_run_beyond_its_timeout_is_asked_to_stop_and_recorded_as_a_timeout() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Slow>(), worker("*", 1));

    let slow = Slow {
        heeds_its_token: true,
    };
    let id = world.queue.enqueue(slow).attempts(1).await.unwrap().id();
    world.until_state(id, "failed").await;
    process.stop().await;

    let kept = attempts(&world).await;
    let found = (kept[0].1.as_str(), kept[0].2.as_str());
    assert_eq!(
        found,
        ("timeout", "ran longer than its 100ms: stopped by its token")
    );
}

#[tokio::test]
async fn a_run_that_ignores_its_timeout_is_dropped_after_a_tenth_of_it() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Slow>(), worker("*", 1));
    let began = Instant::now();

    let slow = Slow {
        heeds_its_token: false,
    };
    let id = world.queue.enqueue(slow).attempts(1).await.unwrap().id();
    world.until_state(id, "failed").await;

    // With the default grace of 5 s it would be 5 s.
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(stage.times("slow is dropped"), 1);
    let kept = attempts(&world).await;
    let found = (kept[0].1.as_str(), kept[0].2.as_str());
    assert_eq!(found, ("timeout", "ran longer than its 100ms"));
    let _ = world.queue.enqueue(Note::new("next")).await.unwrap();
    stage.noted("next").await;
    process.stop().await;
}

/// A job that blocks its thread until the gate `thread` is open.
#[derive(Serialize, Deserialize)]
struct Blocking;

impl Job for Blocking {
    const KIND: &'static str = "blocking";
}

impl PerformBlocking<Stage> for Blocking {
    type Error = Infallible;

    fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state()
            .note(format!("blocking begins {}", cx.attempt().number));
        while !cx.state().is_open("thread") {
            std::thread::yield_now();
        }
        cx.state().note("blocking ends");
        Ok(())
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }
}

#[tokio::test]
async fn a_blocking_job_runs_outside_the_asynchronous_threads() {
    // The test's runtime has one thread: if the job blocked it, nothing else would run.
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage.app().register_blocking::<Blocking>();
    let process = world.start(app, worker("*", 2));

    let id = world.queue.enqueue(Blocking).await.unwrap().id();
    stage.noted("blocking begins 1").await;
    let _ = world.queue.enqueue(Note::new("meanwhile")).await.unwrap();
    stage.noted("meanwhile").await;
    stage.open("thread");

    world.until_state(id, "finished").await;
    process.stop().await;
}

#[tokio::test]
async fn a_blocking_job_beyond_its_timeout_keeps_its_slot_and_its_result_is_ignored() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage.app().register_blocking::<Blocking>();
    let process = world.start(app, short_grace());
    let id = world.queue.enqueue(Blocking).await.unwrap().id();
    stage.noted("blocking begins 1").await;

    request_cancel(&mut world.connect().await, world.queue.schema(), &[id])
        .await
        .unwrap();
    world.until_state(id, "finished").await;
    let next = world.queue.enqueue(Note::new("next")).await.unwrap().id();

    // The thread still holds the only slot, so the next job cannot have begun.
    assert_eq!(stage.times("next"), 0);
    assert_ne!(world.state(next).await, "finished");
    stage.open("thread");
    stage.noted("next").await;
    process.stop().await;
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
    assert_eq!(stage.times("blocking ends"), 1);
}

#[tokio::test]
async fn a_job_with_undecodable_arguments_is_retried_until_its_last_attempt() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let misfit = queue_core::NewJob::untyped(
        "note",
        &serde_json::json!({"no": "text"}),
        queue_core::Options::new().attempts(2),
    );

    let id = world.queue.enqueue_all([misfit]).await.unwrap()[0].id();
    world.until_state(id, "scheduled").await;
    world.make_scheduled_due().await;
    world.until_state(id, "failed").await;
    process.stop().await;

    let kept = attempts(&world).await;
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].1, "undecodable");
    assert!(
        kept[0]
            .2
            .starts_with("the arguments do not fit the job's type: ")
    );
}

#[tokio::test]
async fn a_job_that_fails_for_good_is_logged_with_the_beginning_of_its_error() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let _logging = logging.set_default();
    let (world, stage) = (World::new().await, Stage::default());
    let process = world.start(stage.app().register::<Act>(), worker("*", 1));
    let long = "x".repeat(5_000);
    let misfit = NewJob::untyped("act", &json!(long), Options::new().attempts(1));

    let id = world.queue.enqueue_all([misfit]).await.unwrap()[0].id();
    world.until_state(id, "failed").await;
    process.stop().await;

    let log = std::fs::read_to_string(log.path()).unwrap();
    let line = log.lines().find(|line| line.contains("failed for good"));
    let said = format!(r#"job_id={id} kind="act" queue="default" attempt=1 error="the arguments"#);
    assert!(line.unwrap().contains(&said), "{log}");
    assert!(line.unwrap().len() < 2_000, "{log}");
}

#[tokio::test]
async fn a_retry_by_hand_gives_a_failed_job_all_its_attempts_again() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Act>(), worker("*", 1));
    let job = act(&world, Act::Err(Wish::Retry), 3).await;
    let fail_from = async |first: i32| {
        for attempt in [first, first + 1] {
            let scheduled = format!("scheduled where attempt = {attempt}");
            world.until(&scheduled, 1).await;
            world.make_scheduled_due().await;
        }
        world.until_state(job, "failed").await;
    };

    fail_from(1).await;
    world.queue.retry(job).await.unwrap();
    fail_from(4).await;

    process.stop().await;
    assert_eq!(attempts(&world).await.len(), 6);
}

/// A job whose arguments have changed: the old ones are of no use any more.
#[derive(Serialize, Deserialize)]
struct Renamed {
    _new_name: i64,
}

impl Job for Renamed {
    const KIND: &'static str = "renamed";
}

impl Perform<Stage> for Renamed {
    type Error = std::convert::Infallible;

    async fn perform(self, _: Cx<Stage>) -> Result<(), std::convert::Infallible> {
        Ok(())
    }

    fn on_undecodable(_: &serde_json::Error, _: &Attempt) -> Next {
        Next::Discard
    }
}

#[tokio::test]
async fn a_kind_decides_about_its_undecodable_arguments() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Renamed>(), worker("*", 1));
    let old = serde_json::json!({"old_name": 7});
    let old = queue_core::NewJob::untyped("renamed", &old, queue_core::Options::new());

    world.queue.enqueue_all([old]).await.unwrap();

    world.until("finished where outcome = 'discarded'", 1).await;
    process.stop().await;
}

/// A job without arguments.
#[derive(Serialize, Deserialize)]
struct Tick;

impl Job for Tick {
    const KIND: &'static str = "tick";
}

impl Perform<Stage> for Tick {
    type Error = std::convert::Infallible;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), std::convert::Infallible> {
        cx.state().note("tick");
        Ok(())
    }
}

#[tokio::test]
async fn a_job_without_arguments_runs_whether_they_are_null_or_an_empty_object() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Tick>(), worker("*", 1));
    let by_name =
        queue_core::NewJob::untyped("tick", &serde_json::json!({}), queue_core::Options::new());

    let _ = world.queue.enqueue(Tick).await.unwrap();
    world.queue.enqueue_all([by_name]).await.unwrap();

    stage.noted_times("tick", 2).await;
    process.stop().await;
    assert_eq!(world.count("attempts").await, 0);
}

#[tokio::test]
async fn hooks_run_for_finished_failed_and_discarded_jobs_even_if_one_panics() {
    let world = World::new().await;
    let stage = Stage::default();
    let (finished, failed, discarded) = (stage.clone(), stage.clone(), stage.clone());
    let app = stage
        .app()
        .register::<Act>()
        .on_finished(|_| panic!("a hook that fails"))
        .on_finished(move |job| finished.note(format!("finished {} {:?}", job.kind, job.error)))
        .on_failed(move |job| failed.note(format!("failed {}", job.error.unwrap())))
        .on_discarded(move |job| discarded.note(format!("discarded {}", job.error.unwrap())));
    let process = world.start(app, worker("*", 1));

    let _ = world.queue.enqueue(Note::new("a")).await.unwrap();
    act(&world, Act::Err(Wish::Fail), 5).await;
    act(&world, Act::Err(Wish::Discard), 5).await;

    let cause = std::fmt::Error;
    stage.noted("finished note None").await;
    stage.noted(&format!("failed it wants Fail: {cause}")).await;
    stage
        .noted(&format!("discarded it wants Discard: {cause}"))
        .await;
    let _ = world.queue.enqueue(Note::new("b")).await.unwrap();
    stage.noted_times("finished note None", 2).await;
    process.stop().await;
}

#[tokio::test]
async fn a_late_success_of_a_lost_job_changes_nothing() {
    let world = World::new().await;
    let stage = Stage::default();
    let heard = stage.clone();
    let app = stage.app().on_finished(move |_| heard.note("heard"));
    let process = world.start(app, worker("*", 1));
    let id = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;

    world.take_away_claims().await;
    stage.open("g");
    stage.noted("g ends").await;
    let _ = world.queue.enqueue(Note::new("next")).await.unwrap();
    // Completions are written in order, so that of the gated job has been tried by then.
    stage.noted("heard").await;

    assert_eq!(stage.times("heard"), 1);
    assert_eq!(world.state(id).await, "claimed");
    assert_eq!(world.count("finished where attempt = 1").await, 1);
    process.stop().await;
    assert_eq!(world.state(id).await, "claimed");
}

#[tokio::test]
async fn a_late_error_of_a_lost_job_is_not_stored() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<LateError>(), worker("*", 1));
    let id = world.queue.enqueue(LateError).await.unwrap().id();
    stage.noted("begins").await;

    world.sql("delete from queue.claimed").await;
    world
        .sql(
            "insert into queue.failed (job_id, attempt, failures, crashes, queue, kind)
              select id, 1, 0, 1, queue, kind from queue.jobs",
        )
        .await;
    stage.open("late");
    process.stop().await;

    assert_eq!(world.state(id).await, "failed");
    assert_eq!(attempts(&world).await, []);
}

/// A job that fails once the gate `late` is open.
#[derive(Serialize, Deserialize)]
struct LateError;

impl Job for LateError {
    const KIND: &'static str = "late_error";
}

impl Perform<Stage> for LateError {
    type Error = std::fmt::Error;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), std::fmt::Error> {
        cx.state().note("begins");
        cx.state().pass("late").await;
        Err(std::fmt::Error)
    }
}

/// A job that holds its thread until a gate opens.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HoldThread;

impl Job for HoldThread {
    const KIND: &'static str = "hold_thread";
}

impl PerformBlocking<Stage> for HoldThread {
    type Error = Infallible;

    fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state().note("holds");
        tokio::runtime::Handle::current().block_on(cx.state().pass("gate"));
        Ok(())
    }
}

/// A job whose timeout is shorter than its wait for a thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct NeedThread;

impl Job for NeedThread {
    const KIND: &'static str = "need_thread";

    fn options() -> Options {
        Options::new().attempts(1)
    }
}

impl PerformBlocking<Stage> for NeedThread {
    type Error = Infallible;

    fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state().note("begun");
        Ok(())
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

async fn is_withdrawn() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage
        .app()
        .register_blocking::<HoldThread>()
        .register_blocking::<NeedThread>();
    let process = world.start(app, worker("default", 3));
    world.queue.enqueue(HoldThread).await.unwrap();
    stage.noted("holds").await;
    let late = world.queue.enqueue(NeedThread).await.unwrap().id();
    world.until_state(late, "failed").await;

    stage.open("gate");
    world.until("finished", 1).await;
    // It gets the thread after all jobs that still wait for it.
    let next = world.queue.enqueue(NeedThread).await.unwrap().id();
    world.until_state(next, "finished").await;

    assert_eq!(stage.times("begun"), 1);
    process.stop().await;
}

#[test]
fn a_blocking_job_whose_run_ended_before_it_got_a_thread_never_starts() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(is_withdrawn());
}
