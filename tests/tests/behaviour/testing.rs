//! What applications test their jobs with.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queue_tests::stage::{Gated, Note, Stage};
use queue_worker::testing::{
    Became, TestDatabase, TestProcess, assert_enqueued, attempt, cx, cx_of, delay_of, enqueued,
};
use queue_worker::{
    App, Attempt, BoxError, CompleteError, Conflict, Cx, Job, Limits, Next, Options, Outcome,
    Perform,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

const DONE: Became = Became::Finished(Outcome::Done);

/// A job that ends in the way its arguments name.
#[derive(Clone, Serialize, Deserialize)]
enum Act {
    Fail,
    Panic,
    Hang,
    /// Waits until it is asked to stop.
    Wait,
    CompleteIn,
    /// Enqueues a note for now, and one for later.
    EnqueueMore,
}

impl Job for Act {
    const KIND: &'static str = "act";

    fn options() -> Options {
        Options::new().attempts(2)
    }
}

impl Perform<Stage> for Act {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        match self {
            Self::Fail => Err("it fails".into()),
            Self::Panic => panic!("it panics"),
            Self::Hang => std::future::pending().await,
            Self::Wait => {
                cx.state().note("waits");
                cx.cancelled().await;
                Err("asked to stop".into())
            }
            Self::CompleteIn => {
                let mut tx = cx.queue().pool().begin().await?;
                cx.complete_in(&mut tx).await?;
                Ok(tx.commit().await?)
            }
            Self::EnqueueMore => {
                let mut tx = cx.queue().pool().begin().await?;
                let _ = cx.queue().enqueue(Note::new("now")).tx(&mut tx).await?;
                let later = cx.queue().enqueue(Note::new("later"));
                let later = later.delay(Duration::from_secs(3_600)).queue("mail");
                let _ = later.tx(&mut tx).await?;
                Ok(tx.commit().await?)
            }
        }
    }

    fn on_error(_: &BoxError, attempt: &Attempt) -> Next {
        Next::RetryAfter(Duration::from_secs(
            60 * (attempt.number.unsigned_abs() as u64),
        ))
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_millis(200))
    }
}

fn app(stage: &Stage) -> App<Stage> {
    stage.app().register::<Act>()
}

/// Returns the database of a test, and a process in it.
async fn process(stage: &Stage) -> (TestDatabase, TestProcess<Stage>) {
    let database = TestDatabase::new().await;
    let process = TestProcess::new(&database.queue(), app(stage)).await;
    (database, process)
}

#[tokio::test]
async fn a_unit_test_makes_a_context_without_a_database() {
    let stage = Stage::default();
    let context = cx(stage.clone());
    Note::new("a").perform(context.clone()).await.unwrap();
    assert_eq!(stage.notes(), ["a"]);

    context.token().cancel();
    let stopped = timeout(Duration::from_secs(10), Act::Wait.perform(context)).await;
    assert_eq!(stopped.unwrap().unwrap_err().to_string(), "asked to stop");

    let mut last = attempt();
    last.failures = 9;
    assert!(last.is_last());
    let database = TestDatabase::new().await;
    let context = cx_of(stage, database.queue(), last);
    let lost = Act::CompleteIn.perform(context).await.unwrap_err();
    assert!(matches!(lost.downcast_ref(), Some(CompleteError::Lost(_))));
}

#[test]
fn a_context_needs_no_runtime() {
    let context = cx(7);

    assert_eq!((*context.state(), context.attempt().number), (7, 1));
}

#[tokio::test]
async fn a_job_is_performed_with_its_timeout_its_panics_and_its_rules() {
    let (_database, mut process) = process(&Stage::default()).await;

    let failed = process.perform(Act::Fail).await;
    assert_eq!(failed.became, Became::Scheduled);
    assert_eq!(failed.error.as_deref(), Some("it fails"));
    assert_eq!(failed.retry_after, Some(Duration::from_secs(60)));
    let panicked = process.perform(Act::Panic).await;
    assert_eq!(panicked.became, Became::Scheduled);
    assert_eq!(panicked.error.as_deref(), Some("panicked: it panics"));
    let timed_out = process.perform(Act::Hang).await;
    assert_eq!(
        timed_out.error.as_deref(),
        Some("ran longer than its 200ms")
    );

    process.perform(Act::CompleteIn).await.assert_done();
    process.perform(Note::new("a")).await.assert_done();
}

#[tokio::test]
async fn a_performed_job_is_wrapped_and_calls_hooks() {
    let stage = Stage::default();
    let database = TestDatabase::new().await;
    let (around, told) = (stage.clone(), stage.clone());
    let app = app(&stage)
        .around(move |_, work| {
            around.note("around");
            work
        })
        .on_retried(move |job| told.note(format!("retried: {}", job.error.unwrap())));
    let mut process = TestProcess::new(&database.queue(), app).await;

    process.perform(Act::Fail).await;

    assert_eq!(stage.notes(), ["around", "retried: it fails"]);
}

#[tokio::test]
async fn an_interrupted_job_is_ready_again_without_a_failure() {
    let stage = Stage::default();
    let (database, mut process) = process(&stage).await;

    let begun = stage.noted("waits");
    let interrupted = process.perform_interrupted(Act::Wait, begun).await;

    assert_eq!(interrupted.became, Became::Ready);
    let mut conn = database.pool().acquire().await.unwrap();
    let waiting = enqueued(&database.queue(), &mut conn).await;
    assert_eq!(waiting[0].id, interrupted.job_id);
    assert_eq!(waiting[0].failures, Some(0));
}

#[tokio::test]
#[should_panic(expected = "did not run: it is scheduled")]
async fn a_job_that_cannot_run_now_is_not_performed() {
    #[derive(Serialize, Deserialize)]
    struct Delayed;

    impl Job for Delayed {
        const KIND: &'static str = "delayed";

        fn options() -> Options {
            Options::new().delay(Duration::from_secs(60))
        }
    }

    let (_database, mut process) = process(&Stage::default()).await;

    process.perform(Delayed).await;
}

#[tokio::test]
async fn a_queue_is_drained_in_order_within_limits_and_with_the_jobs_that_its_jobs_enqueue() {
    let stage = Stage::default();
    let (database, mut process) = process(&stage).await;
    let queue = database.queue();
    let key = || Limits::key("k").on_conflict(Conflict::Discard);
    let _ = queue.enqueue(Act::EnqueueMore).await.unwrap();
    let _ = queue.enqueue(Note::new("limited")).limits(key()).await;
    let _ = queue.enqueue(Note::new("urgent")).priority(-1).await;
    let _ = queue.enqueue(Note::new("elsewhere")).queue("mail").await;

    let performed = process.drain("default").await;

    assert!(performed.iter().all(|run| run.became == DONE));
    assert_eq!(performed.len(), 4);
    let mut notes = stage.notes();
    assert_eq!(notes.remove(0), "urgent");
    notes.sort();
    assert_eq!(notes, ["limited", "now"]);
}

#[tokio::test]
async fn a_blocked_job_is_drained_after_the_one_that_blocks_it() {
    let stage = Stage::default();
    let (database, mut process) = process(&stage).await;
    let queue = database.queue();
    for name in ["a", "b", "c"] {
        let limited = queue.enqueue(Note::new(name)).limits(Limits::key("k"));
        let _ = limited.await.unwrap();
    }

    assert_eq!(process.drain("default").await.len(), 3);

    assert_eq!(stage.notes(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_retry_runs_once_the_test_makes_it_due() {
    let (database, mut process) = process(&Stage::default()).await;
    let _ = database.queue().enqueue(Act::Fail).await.unwrap();
    assert_eq!(process.drain("default").await.len(), 1);
    assert_eq!(process.drain("default").await.len(), 0);

    assert_eq!(process.make_next_due(1).await, 1);
    let last = process.drain("default").await;

    assert_eq!(last[0].became, Became::Failed);
    assert_eq!(process.make_next_due(1).await, 0);
}

#[tokio::test]
async fn what_was_enqueued_is_found_with_its_queue_and_time_also_in_an_open_transaction() {
    let (database, mut process) = process(&Stage::default()).await;
    let queue = database.queue();
    process.perform(Act::EnqueueMore).await.assert_done();
    let mut conn = database.pool().acquire().await.unwrap();
    let found = assert_enqueued(&queue, &mut conn, &Note::new("later")).await;
    assert_eq!((&*found.queue, delay_of(&found).as_secs()), ("mail", 3_600));
    let found = assert_enqueued(&queue, &mut conn, &Note::new("now")).await;
    assert_eq!((&*found.queue, delay_of(&found).as_secs()), ("default", 0));

    let mut tx = database.pool().begin().await.unwrap();
    let _ = queue.enqueue(Gated::new("g")).tx(&mut tx).await.unwrap();
    assert_enqueued(&queue, &mut tx, &Gated::new("g")).await;

    let kinds = enqueued(&queue, &mut conn).await.into_iter();
    assert_eq!(kinds.map(|job| job.kind).collect::<Vec<_>>(), ["note"; 2]);
}

#[tokio::test]
#[should_panic(
    expected = "`note` with \"b\" does not wait. These jobs do:\n  `note` with \"a\" in `default`"
)]
async fn a_job_that_was_not_enqueued_is_reported_with_those_that_were() {
    let database = TestDatabase::new().await;
    let queue = database.queue();
    let _ = queue.enqueue(Note::new("a")).await.unwrap();
    let mut conn = database.pool().acquire().await.unwrap();

    assert_enqueued(&queue, &mut conn, &Note::new("b")).await;
}

#[tokio::test]
async fn tests_in_parallel_get_copies_of_a_template_that_is_prepared_once() {
    static PREPARED: AtomicUsize = AtomicUsize::new(0);
    let database = || {
        TestDatabase::prepared(async |pool| {
            PREPARED.fetch_add(1, Ordering::Relaxed);
            sqlx::query("create table users (id int)")
                .execute(&pool)
                .await?;
            Ok(())
        })
    };

    let (one, other) = tokio::join!(database(), database());

    sqlx::query("insert into users values (7)")
        .execute(&one.pool())
        .await
        .unwrap();
    let users: i64 = sqlx::query_scalar("select count(*) from users")
        .fetch_one(&other.pool())
        .await
        .unwrap();
    assert_eq!(users, 0);
    assert!(PREPARED.load(Ordering::Relaxed) <= 1);
}

/// Starts a test program in a project without a server.
fn start_program(project: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_test-kit"))
        .current_dir(project)
        .env_remove("TEST_DATABASE_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn first_line(program: &mut Child) -> String {
    let mut line = String::new();
    let output = program.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn test_programs_share_a_server_until_the_last_of_them_has_ended() {
    let project = queue_tests::postgres::directory();
    std::fs::write(project.path().join("Cargo.lock"), "").unwrap();
    let mut programs = [0; 3].map(|_| start_program(project.path()));
    let data = programs.each_mut().map(first_line);
    assert!(!data[0].is_empty() && data.iter().all(|each| *each == data[0]));

    for mut program in programs {
        // The end of its input lets it go on.
        drop(program.stdin.take());
        assert!(program.wait().unwrap().success());
    }

    let data = Path::new(&data[0]);
    let pid_file = data.join("postmaster.pid");
    let gone = || !pid_file.exists();
    let began = std::time::Instant::now();
    while !gone() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(gone());
    let base = data.ancestors().nth(2).unwrap();
    std::fs::remove_dir_all(base).unwrap();
}
