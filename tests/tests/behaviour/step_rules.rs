//! Rules for steps: their own tries and runs, changes by a deploy, and how often a job may be interrupted.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use queue_core::{JobId, Options};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Attempt, Backoff, BoxError, Cx, Job, Next, Perform, Step};
use serde::{Deserialize, Serialize};
use tracing_subscriber::util::SubscriberInitExt as _;

/// A job with one attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ruled {
    /// Has a step that fails so many times and has three tries.
    Tried(i32),
    /// Has an isolated step between two others.
    Isolated,
    /// Sleeps until an hour after a time in the past or in the future.
    SleepsUntil(chrono::DateTime<Utc>),
    /// Passes the gate `between` after its step.
    Gated,
    /// Ignores requests to stop after its step.
    Deaf,
    /// Enqueues a note and 2,000 others, and is snoozed in its first run.
    Parent,
}

impl Job for Ruled {
    const KIND: &'static str = "ruled";

    fn options() -> Options {
        Options::new().attempts(1)
    }
}

impl Perform<Stage> for Ruled {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        note(&cx, "one").await?;
        match self {
            Self::Tried(failures) => {
                let tried = Step::new("tried").tries(3, Backoff::fixed(Duration::ZERO));
                let work = async || {
                    cx.state().note("tried");
                    match cx.attempt().number <= failures {
                        true => Err("not yet".into()),
                        false => Ok(()),
                    }
                };
                cx.step(tried, work).await
            }
            Self::Isolated => {
                let alone = Step::new("alone").isolated();
                let work = async || {
                    cx.state().note(in_run(&cx, "alone"));
                    Ok::<_, BoxError>(())
                };
                cx.step(alone, work).await?;
                note(&cx, "three").await
            }
            Self::SleepsUntil(time) => {
                cx.sleep_until("nap", time).await?;
                note(&cx, "two").await
            }
            Self::Gated => {
                cx.state().note("at the gate");
                cx.state().pass("between").await;
                note(&cx, "two").await
            }
            Self::Deaf => std::future::pending().await,
            Self::Parent => {
                let first = cx.child("first", Note::new("child")).await?;
                let others = (1..=2_000).map(|_| Note::new("child"));
                let others = cx.children("others", others).await?;
                cx.state().note(format!("{first} to {}", others[1_999]));
                cx.sleep("pause", Duration::from_millis(1)).await?;
                Ok(())
            }
        }
    }

    fn resumptions_max() -> Option<u32> {
        Some(1)
    }
}

/// Takes a step that notes its name and the number of the run.
async fn note(cx: &Cx<Stage>, name: &str) -> Result<(), BoxError> {
    let work = async || {
        cx.state().note(in_run(cx, name));
        Ok(())
    };
    cx.step(name, work).await
}

fn in_run(cx: &Cx<Stage>, name: &str) -> String {
    format!("{name} in {}", cx.attempt().number)
}

/// The steps of a job in its first attempt, and in the others. It fails at the end of each but the last.
/// `?name` asks whether the job is patched.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    first: Vec<String>,
    later: Vec<String>,
}

impl Plan {
    fn new(first: &[&str], later: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().copied().map(str::to_owned).collect();
        Self {
            first: owned(first),
            later: owned(later),
        }
    }

    async fn follow(&self, cx: &Cx<Stage>) -> Result<(), BoxError> {
        let is_first = cx.attempt().number == 1;
        for name in if is_first { &self.first } else { &self.later } {
            match name.strip_prefix('?') {
                Some(patch) => {
                    let is_patched = cx.patched(patch).await?;
                    cx.state().note(format!("{patch} {is_patched}"));
                }
                None => note(cx, name).await?,
            }
        }
        match cx.attempt().is_last() {
            true => Ok(()),
            false => Err("once more".into()),
        }
    }
}

/// A plan whose steps may change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Loose(Plan);

/// A plan whose steps must not change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Strict(Plan);

impl Job for Loose {
    const KIND: &'static str = "loose";

    fn options() -> Options {
        Options::new().attempts(3)
    }
}

impl Job for Strict {
    const KIND: &'static str = "strict";

    fn options() -> Options {
        Options::new().attempts(2)
    }
}

impl Perform<Stage> for Loose {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        self.0.follow(&cx).await
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }
}

impl Perform<Stage> for Strict {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        self.0.follow(&cx).await
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }

    fn strict_steps() -> bool {
        true
    }
}

fn app(stage: &Stage) -> queue_worker::App<Stage> {
    let app = stage.app().register::<Ruled>();
    app.register::<Loose>().register::<Strict>()
}

/// Runs a job until it has ended, and returns its state and its notes.
async fn ended<J: Job>(world: &World, job: J) -> (JobId, String, Vec<String>) {
    let stage = Stage::default();
    let id = world.queue.enqueue(job).await.unwrap().id();
    let process = world.start(app(&stage), worker("*", 2));
    world.until_all_ended().await;
    process.stop().await;
    (id, world.state(id).await, stage.notes())
}

/// Returns how the attempts of all jobs ended, with their errors.
async fn attempts(world: &World) -> Vec<(String, String)> {
    let query = "select ending, error from queue.attempts order by job_id, attempt";
    world.rows(query).await
}

#[tokio::test]
async fn a_step_has_tries_of_its_own_which_cost_no_attempt_of_the_job() {
    let world = World::new().await;

    let (_, state, notes) = ended(&world, Ruled::Tried(2)).await;

    assert_eq!(state, "finished");
    assert_eq!(notes, ["one in 1", "tried", "tried", "tried"]);
    let failed = ("step".to_owned(), "not yet".to_owned());
    assert_eq!(attempts(&world).await, [failed.clone(), failed]);
}

#[tokio::test]
async fn the_error_of_the_last_try_is_an_error_of_the_job() {
    let world = World::new().await;

    let (job, state, _) = ended(&world, Ruled::Tried(3)).await;

    assert_eq!(state, "failed");
    let endings: Vec<String> = attempts(&world).await.into_iter().map(|a| a.0).collect();
    assert_eq!(endings, ["step", "step", "error"]);
    let failures = format!("failed where failures = 1 and job_id = {job}");
    assert_eq!(world.count(&failures).await, 1);
    // The next attempt of the job has all tries again.
    assert_eq!(world.count("progress where value::text = '0'").await, 1);
}

#[tokio::test]
async fn an_isolated_step_has_a_run_of_its_own() {
    let world = World::new().await;

    let (_, state, notes) = ended(&world, Ruled::Isolated).await;

    assert_eq!(state, "finished");
    assert_eq!(notes, ["one in 1", "alone in 2", "three in 3"]);
    assert_eq!(attempts(&world).await, []);
}

#[tokio::test]
async fn a_job_sleeps_until_a_time_and_not_at_all_if_it_has_passed() {
    let world = World::new().await;
    let stage = Stage::default();
    let hour = chrono::TimeDelta::hours(1);
    let process = world.start(app(&stage), worker("*", 2));

    let past = Ruled::SleepsUntil(Utc::now() - hour);
    let past = world.queue.enqueue(past).await.unwrap().id();
    world.until_state(past, "finished").await;
    let future = Ruled::SleepsUntil(Utc::now() + hour);
    let future = world.queue.enqueue(future).await.unwrap().id();
    world.until_state(future, "scheduled").await;

    let due = "scheduled where due_at between now() + interval '59 min' and now() + interval '1 h'";
    assert_eq!(world.count(due).await, 1);
    world.make_scheduled_due().await;
    world.until(&format!("{due} and attempt = 2"), 1).await;
    assert_eq!(stage.notes(), ["one in 1", "two in 1", "one in 1"]);
    process.stop().await;
}

#[tokio::test]
async fn a_job_that_is_interrupted_too_often_fails() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = world.queue.enqueue(Ruled::Gated).await.unwrap().id();

    for (times, state) in [(1, "ready"), (2, "failed")] {
        let process = world.start(app(&stage), worker("*", 2));
        stage.noted_times("at the gate", times).await;
        process.stop_at_once().await;
        assert_eq!(world.state(job).await, state);
    }

    let expected = "interrupted 2 times, which is more often than its kind allows";
    assert_eq!(attempts(&world).await[0].1, expected);
}

#[tokio::test]
async fn a_job_that_comes_to_no_step_when_it_should_stop_is_logged() {
    let world = World::new().await;
    let stage = Stage::default();
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let _logging = logging.set_default();
    world.queue.enqueue(Ruled::Deaf).await.unwrap();
    let process = world.start(app(&stage), worker("*", 2));
    world.until("steps", 1).await;

    process.stop_at_once().await;

    let log = std::fs::read_to_string(log.path()).unwrap();
    let expected =
        "the job came to no next step in time after it was asked to stop, and was dropped";
    assert!(log.contains(expected), "{log}");
}

#[tokio::test]
async fn a_job_tolerates_changed_steps_by_their_names() {
    let world = World::new().await;

    let plan = Plan::new(&["a", "b"], &["c", "b", "a"]);
    let (_, state, notes) = ended(&world, Loose(plan)).await;

    assert_eq!(state, "finished");
    assert_eq!(notes, ["a in 1", "b in 1", "c in 2"]);
}

#[tokio::test]
async fn a_strict_job_reports_in_words_how_its_steps_have_changed() {
    let world = World::new().await;
    let cases = [
        (
            Plan::new(&["a", "b"], &["a", "c"]),
            "`c` came where an earlier attempt had finished `b`; it is new, or one of them was renamed",
        ),
        (
            Plan::new(&["a", "b"], &["b", "a"]),
            "`b` came before `a`, and an earlier attempt finished them the other way round",
        ),
        (
            Plan::new(&["a", "b"], &["a"]),
            "`b`, which an earlier attempt had finished, did not come; it was removed or renamed",
        ),
        (
            Plan::new(&["a"], &["a", "a"]),
            "`a` came twice; give each step a name of its own",
        ),
    ];
    for (plan, words) in cases {
        let (job, state, _) = ended(&world, Strict(plan)).await;

        assert_eq!(state, "failed");
        let query = "select error from queue.attempts where attempt = 2 and job_id =";
        let error: String = world.value(&format!("{query} {job}")).await;
        assert_eq!(error, format!("the steps of the job have changed: {words}"));
    }
}

#[tokio::test]
async fn a_strict_job_may_have_more_steps_than_it_had_come_to() {
    let world = World::new().await;

    let plan = Plan::new(&["a", "b"], &["a", "b", "?p", "c"]);
    let (_, state, notes) = ended(&world, Strict(plan)).await;

    assert_eq!(state, "finished");
    assert_eq!(notes, ["a in 1", "b in 1", "p true", "c in 2"]);
}

#[tokio::test]
async fn a_job_is_patched_only_where_no_earlier_attempt_had_been() {
    let world = World::new().await;

    let plan = Plan::new(&["a", "b"], &["a", "?p", "b", "?q", "c", "?p"]);
    let (_, state, notes) = ended(&world, Loose(plan)).await;

    assert_eq!(state, "finished");
    let second = ["a in 1", "b in 1", "p false", "q true", "c in 2", "p false"];
    let third = ["p false", "q true", "p false"];
    assert_eq!(notes, [&second[..], &third].concat());
}

#[tokio::test]
async fn a_job_has_the_same_children_in_all_its_runs() {
    let world = World::new().await;

    let (parent, state, notes) = ended(&world, Ruled::Parent).await;

    assert_eq!(state, "finished");
    assert_eq!(world.count("jobs where kind = 'note'").await, 2_001);
    let ids = format!("{} to {}", parent.0 + 1, parent.0 + 2_001);
    let seen = notes.iter().filter(|note| **note == ids).count();
    assert_eq!(
        seen,
        2,
        "{:?}",
        notes.iter().find(|note| note.contains(" to "))
    );
}
