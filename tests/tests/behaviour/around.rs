//! What an application does around the runs of its jobs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Attempt, Cx, EnqueueError, Job, Next, Perform, PerformBlocking, RunError};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Transaction};
use tokio::sync::Mutex;
use tracing::Instrument as _;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

tokio::task_local! {
    static TX: Arc<Mutex<Transaction<'static, Postgres>>>;
}

/// A job that writes in the transaction around it, enqueues a note in it, and may fail then.
#[derive(Serialize, Deserialize)]
struct Write {
    fails: bool,
}

impl Job for Write {
    const KIND: &'static str = "write";
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    #[error("nothing to write")]
    Nothing,
}

impl Perform<Stage> for Write {
    type Error = WriteError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), WriteError> {
        let tx = TX.get();
        let mut tx = tx.lock().await;
        sqlx::query("insert into written (attempt) values ($1)")
            .bind(cx.attempt().number)
            // Behind a pooler in transaction mode, another client may have this server next.
            .persistent(false)
            .execute(&mut **tx)
            .await?;
        let note = Note::new("follows");
        let _ = cx.queue().enqueue(note).tx(&mut tx).await?;
        match self.fails {
            true => Err(WriteError::Nothing),
            false => Ok(()),
        }
    }

    fn on_error(_: &WriteError, _: &Attempt) -> Next {
        Next::Discard
    }
}

#[tokio::test]
async fn a_transaction_around_a_run_is_committed_with_the_job_or_rolled_back() {
    let world = World::new().await;
    world.sql("create table written (attempt integer)").await;
    let stage = Stage::default();
    let app = stage
        .app()
        .register::<Write>()
        .around(|cx, work| async move {
            let tx = Arc::new(Mutex::new(cx.queue().pool().begin().await?));
            TX.scope(Arc::clone(&tx), work).await?;
            let mut tx = Arc::into_inner(tx).expect("the only owner").into_inner();
            cx.complete_in(&mut tx).await?;
            tx.commit().await?;
            Ok(())
        });
    let process = world.start(app, worker("*", 1));

    let fails = world.queue.enqueue(Write { fails: true }).await.unwrap();
    world.until_state(fails.id(), "finished").await;
    assert_eq!(world.count("jobs").await, 1);
    let writes = world.queue.enqueue(Write { fails: false }).await.unwrap();
    stage.noted("follows").await;

    world.until_all_ended().await;
    process.stop().await;
    assert_eq!(world.state(writes.id()).await, "finished");
    assert_eq!(world.value::<i64>("select count(*) from written").await, 1);
    assert_eq!(world.count("finished where outcome = 'discarded'").await, 1);
    assert_eq!(world.count("finished where outcome = 'done'").await, 2);
}

#[tokio::test]
async fn the_wrapper_added_first_is_the_outermost_and_decides_how_the_run_ended() {
    let world = World::new().await;
    let stage = Stage::default();
    let (outer, inner) = (stage.clone(), stage.clone());
    let app = stage
        .app()
        .around(move |cx, work| {
            let outer = outer.clone();
            async move {
                outer.note(format!("outer before {}", cx.attempt().kind));
                let ended = work.await;
                outer.note(format!("outer after {}", ended.unwrap_err()));
                Err(RunError::of(Next::Fail, "refused outside"))
            }
        })
        .around(move |_, work| {
            let inner = inner.clone();
            async move {
                inner.note("inner before");
                work.await?;
                inner.note("inner after");
                Err(RunError::of(Next::Discard, "refused inside"))
            }
        });
    let process = world.start(app, worker("*", 1));

    let id = world.queue.enqueue(Note::new("work")).await.unwrap().id();

    world.until_state(id, "failed").await;
    process.stop().await;
    let expected = [
        "outer before note",
        "inner before",
        "work",
        "inner after",
        "outer after refused inside",
    ];
    assert_eq!(stage.notes(), expected);
    let error: String = world.value("select error from queue.attempts").await;
    assert_eq!(error, "refused outside");
}

/// A job that times out.
#[derive(Serialize, Deserialize)]
struct Brief;

impl Job for Brief {
    const KIND: &'static str = "brief";
}

impl Perform<Stage> for Brief {
    type Error = std::convert::Infallible;

    async fn perform(self, _: Cx<Stage>) -> Result<(), std::convert::Infallible> {
        Ok(())
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_millis(50))
    }
}

#[tokio::test]
async fn a_panic_and_a_timeout_around_a_run_are_those_of_the_run() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage.app().register::<Brief>();
    let app = app.around(|cx, work| async move {
        work.await?;
        match cx.attempt().kind.as_str() {
            "brief" => std::future::pending().await,
            _ => panic!("around"),
        }
    });
    let mut settings = worker("*", 1);
    settings.process.cancel_grace = Duration::from_millis(50);
    let process = world.start(app, settings);

    let panics = world.queue.enqueue(Note::new("a")).attempts(1);
    let panics = panics.await.unwrap().id();
    let times_out = world.queue.enqueue(Brief).attempts(1);
    let times_out = times_out.await.unwrap().id();

    world.until_state(panics, "failed").await;
    world.until_state(times_out, "failed").await;
    process.stop().await;
    let endings: Vec<(String, String)> = world
        .rows("select ending, error from queue.attempts order by job_id")
        .await;
    let expected = [
        ("panic".to_owned(), "panicked: around".to_owned()),
        ("timeout".to_owned(), "ran longer than its 50ms".to_owned()),
    ];
    assert_eq!(endings, expected);
}

/// A job that runs on a thread of its own.
#[derive(Serialize, Deserialize)]
struct Blocks;

impl Job for Blocks {
    const KIND: &'static str = "blocks";
}

impl PerformBlocking<Stage> for Blocks {
    type Error = std::convert::Infallible;

    fn perform(self, cx: Cx<Stage>) -> Result<(), std::convert::Infallible> {
        cx.state().note("blocked");
        Ok(())
    }
}

#[tokio::test]
async fn a_span_around_a_run_is_entered_on_the_thread_of_a_blocking_job() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let logging = logging.with_thread_names(true);
    let logging = logging.with_span_events(FmtSpan::ENTER);
    let _logging = logging.set_default();
    let (world, stage) = (World::new().await, Stage::default());
    let app = stage.app().register_blocking::<Blocks>();
    let app = app.around(|_, work| work.instrument(tracing::info_span!("tenant")));
    let process = world.start(app, worker("*", 1));

    let id = world.queue.enqueue(Blocks).await.unwrap().id();

    world.until_state(id, "finished").await;
    process.stop().await;
    let log = std::fs::read_to_string(log.path()).unwrap();
    // The test itself has another thread.
    let mut lines = log.lines();
    let is_entered = |line: &str| line.contains("tokio-rt-worker") && line.contains("tenant");
    assert!(lines.any(is_entered), "{log}");
}

#[tokio::test]
async fn a_slot_is_taken_until_the_wrapper_has_ended() {
    let world = World::new().await;
    let stage = Stage::default();
    let around = stage.clone();
    let app = stage.app().around(move |cx, work| {
        let stage = around.clone();
        async move {
            let ended = work.await;
            if cx.attempt().kind == Gated::KIND {
                stage.note("leaves");
                stage.pass("exit").await;
            }
            ended
        }
    });
    let mut settings = worker("default", 1);
    settings.workers.push(worker("other", 2).workers[0].clone());
    let process = world.start(app, settings);
    let first = world.queue.enqueue(Gated::new("first")).await.unwrap();
    stage.open("first");
    stage.noted("leaves").await;

    let _ = world.queue.enqueue(Note::new("second")).await.unwrap();
    // Meanwhile another worker runs jobs for longer than a worker waits for room.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let other = world.queue.enqueue(Note::new("other")).queue("other");
        let before = stage.times("other");
        let _ = other.await.unwrap();
        stage.noted_times("other", before + 1).await;
    }
    assert_eq!(stage.times("second"), 0);

    stage.open("exit");
    stage.noted("second").await;
    process.stop().await;
    assert_eq!(world.state(first.id()).await, "finished");
}
