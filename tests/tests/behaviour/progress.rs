//! What people see of a job while it runs and afterwards: its progress, output, steps and log lines.

use std::time::Duration;

use queue_core::inspect::{self, JobDetails};
use queue_core::{JobId, Redaction};
use queue_tests::stage::Stage;
use queue_tests::world::{Running, World, eventually, worker};
use queue_worker::{Attempt, BoxError, Cx, Job, LogLines, Next, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::shell::Shell;

/// A job that notes its progress, and fails in its first attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noting<const KEEPS_LOG: bool>;

type Report = Noting<true>;
type Quiet = Noting<false>;

impl<const KEEPS_LOG: bool> Job for Noting<KEEPS_LOG> {
    const KIND: &'static str = if KEEPS_LOG { "report" } else { "quiet" };
}

impl<const KEEPS_LOG: bool> Perform<Stage> for Noting<KEEPS_LOG> {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        work(&cx).await
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }

    fn keeps_log() -> bool {
        KEEPS_LOG
    }
}

async fn work(cx: &Cx<Stage>) -> Result<(), BoxError> {
    let attempt = cx.attempt().number;
    tracing::info!(attempt, token = "t0p", "begins");
    tracing::debug!("not kept");
    cx.step("load", async || Ok::<_, BoxError>("rows".to_owned()))
        .await?;
    cx.cursor::<i32>("pages").await?.set(attempt).await?;
    cx.progress(3, 10);
    cx.output(&json!({"pages": 3, "password": "s3cret"}))?;
    cx.state().pass("go on").await;
    match attempt {
        1 => Err("not yet".into()),
        _ => Ok(()),
    }
}

async fn start(world: &World, stage: &Stage, job: impl Job) -> (JobId, Running) {
    let id = world.queue.enqueue(job).await.unwrap().id();
    let app = stage.app().register::<Report>().register::<Quiet>();
    (id, world.start(app, worker("*", 1)))
}

async fn show(world: &World, job: JobId) -> JobDetails {
    let mut conn = world.connect().await;
    let shown = inspect::jobs::show(&mut conn, world.queue.schema(), job);
    let mut job = shown.await.unwrap().unwrap();
    job.redact(&Redaction::default());
    job
}

#[tokio::test]
async fn the_progress_of_a_job_is_seen_while_it_runs() {
    let world = World::new().await;
    let stage = Stage::default();

    let (job, process) = start(&world, &stage, Noting::<false>).await;

    eventually("the progress is shown", async || {
        show(&world, job).await.progress.done.is_some()
    })
    .await;
    assert_eq!(world.state(job).await, "claimed");
    stage.open("go on");
    world.until_state(job, "finished").await;
    process.stop().await;
    let progress = show(&world, job).await.progress;
    let done = progress.done.unwrap();
    assert_eq!((done.done, done.of), (3, 10));
    assert_eq!(
        (&*progress.steps[0].name, progress.steps.len()),
        ("load", 1)
    );
    assert_eq!(progress.cursors[0].place.get(), "2");
    let output = progress.output.unwrap();
    assert!(!output.get().contains("s3cret"), "{output}");
    assert!(progress.logs.is_empty());
}

#[tokio::test]
async fn the_log_lines_of_each_attempt_are_kept_if_its_kind_asks_for_it() {
    let world = World::new().await;
    let stage = Stage::default();
    stage.open("go on");
    let _logging = tracing_subscriber::registry().with(LogLines).set_default();

    let (job, process) = start(&world, &stage, Noting::<true>).await;
    world.until_state(job, "finished").await;
    process.stop().await;

    let logs = show(&world, job).await.progress.logs;
    let attempts: Vec<i32> = logs.iter().map(|log| log.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    let lines = &logs[1].lines;
    assert!(lines[0].contains(": begins attempt=2"), "{lines:?}");
    assert!(!lines[0].contains("t0p"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("not kept")));
}

#[tokio::test]
async fn the_command_line_shows_how_far_a_job_is() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let stage = Stage::default();
    stage.open("go on");
    let _logging = tracing_subscriber::registry().with(LogLines).set_default();
    let (job, process) = start(&world, &stage, Noting::<true>).await;
    world.until_state(job, "finished").await;
    process.stop().await;
    let id = job.to_string();

    let plain = shell.print(&["jobs", "show", &id]).await;
    let whole = shell.print(&["jobs", "show", &id, "--args"]).await;
    let json = shell.print(&["jobs", "show", &id, "--json"]).await;

    for shown in [
        "3 of 10",
        "finished steps\n  load",
        "log of attempt 2\n",
        "begins",
    ] {
        assert!(plain.contains(shown), "{shown:?} is missing:\n{plain}");
    }
    assert!(!plain.contains("cursor"), "{plain}");
    for shown in ["cursor pages\n  2", "output\n", "\"pages\": 3"] {
        assert!(whole.contains(shown), "{shown:?} is missing:\n{whole}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["done"], json!({"done": 3, "of": 10}));
    assert_eq!(json["output"], json!(null));
}

#[tokio::test]
async fn of_many_finished_steps_the_last_hundred_are_shown() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let job = world.queue.enqueue(Quiet {}).await.unwrap().id();
    let steps = "insert into queue.steps (job_id, finished_at, occurrence, name, result)
         select $1, now() + n * interval '1 s', n, 'load', '1' from generate_series(1, 230) as n";
    world.sql(&steps.replace("$1", &job.to_string())).await;

    let progress = show(&world, job).await.progress;
    let text = shell.print(&["jobs", "show", &job.to_string()]).await;

    assert_eq!(progress.earlier_steps, 130);
    let numbers: Vec<i16> = progress.steps.iter().map(|step| step.occurrence).collect();
    assert_eq!(numbers, Vec::from_iter(131..=230));
    let shown = "finished steps, without the first 130\n  load (131)  1 B";
    assert!(text.contains(shown), "{text}");
}
