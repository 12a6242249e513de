//! The jobs of a run, the journal in which they note what they do, and the process that runs them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use queue_tests::victim::Orders;
use queue_worker::{
    App, Attempt, BoxError, Cx, Job, JobId, Next, Options, Perform, Process, Queue,
};
use queue_worker::{pool_options, redact};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

/// What a worker process needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerOrders {
    pub(crate) orders: Orders,
    pub(crate) journal: PathBuf,
}

/// How a job writes its effect.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// On its own, so that it is doubled if the job runs twice.
    Alone,
    /// In the transaction that completes the job.
    Whole,
    /// Not at all. The job has a limit, which is its key too.
    Limited(u32),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Chore {
    pub(crate) shape: Shape,
    pub(crate) millis: u64,
}

impl Job for Chore {
    const KIND: &'static str = "chore";

    fn options() -> Options {
        Options::new().attempts(10_000).crashes(1_000)
    }
}

pub(crate) struct Tools {
    pool: PgPool,
    journal: Journal,
}

impl Perform<Tools> for Chore {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Tools>) -> Result<(), BoxError> {
        let Tools { pool, journal } = cx.state();
        let (job, attempt) = (cx.job_id(), cx.attempt().number);
        let _run = Run::begin(journal, job, attempt);
        tokio::time::sleep(Duration::from_millis(self.millis)).await;
        match self.shape {
            Shape::Alone => write_effect(&mut *pool.acquire().await?, job).await?,
            Shape::Whole => {
                let mut tx = pool.begin().await?;
                write_effect(&mut tx, job).await?;
                cx.complete_in(&mut tx).await?;
                tx.commit().await?;
                journal.note(Event::Acknowledged, job, attempt);
            }
            Shape::Limited(_) => {}
        }
        Ok(())
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_secs(5))
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::from_millis(100))
    }
}

async fn write_effect(conn: &mut sqlx::PgConnection, job: JobId) -> Result<(), sqlx::Error> {
    let effect = sqlx::query("insert into chaos.effects (job_id) values ($1)").bind(job.0);
    effect.execute(conn).await?;
    Ok(())
}

/// Runs a worker process until it is asked to stop.
pub(crate) async fn work(orders: &str) -> Result<()> {
    let WorkerOrders { orders, journal } =
        serde_json::from_str(orders).context("could not read the orders")?;
    let options: PgConnectOptions = orders.url.parse()?;
    // The server notices as late as the worker that a connection was cut.
    let options = options.options([("idle_in_transaction_session_timeout", "5s")]);
    let pool = pool_options()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(3))
        .connect_lazy_with(options);
    let notes = Journal::open(&journal)?;
    let app = App::new(Tools {
        pool: pool.clone(),
        journal: Journal::open(&journal)?,
    })
    .register::<Chore>()
    .on_finished(move |job| notes.note(Event::Acknowledged, job.job_id, job.attempt));
    let process = Process::new(Queue::new(pool), app, orders.settings())?;
    process.run_until_signal().await;
    Ok(())
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Event {
    /// It began.
    Began,
    /// It ended, however that was.
    Ended,
    /// The server has acknowledged that its job is finished.
    Acknowledged,
}

/// A file beside the database, to which all worker processes append. What was written there survives the
/// end of the process.
pub(crate) struct Journal(File);

/// A line of the journal: what, the job, the attempt, and when.
pub(crate) type Line = (Event, i64, i32, i64);

impl Journal {
    fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self(file.context("could not open the journal")?))
    }

    fn note(&self, event: Event, job: JobId, attempt: i32) {
        let line: Line = (event, job.0, attempt, now());
        let line = serde_json::to_string(&line).expect("a line") + "\n";
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            eprintln!(
                "could not write to the journal: {}",
                redact(&error.to_string())
            );
            std::process::exit(1);
        }
    }

    /// Reads all lines.
    pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
        let text = std::fs::read_to_string(path).context("could not read the journal")?;
        text.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }
}

/// A run, which notes its end when it is dropped: also when it was interrupted.
struct Run<'a> {
    journal: &'a Journal,
    job: JobId,
    attempt: i32,
}

impl<'a> Run<'a> {
    fn begin(journal: &'a Journal, job: JobId, attempt: i32) -> Self {
        journal.note(Event::Began, job, attempt);
        Self {
            journal,
            job,
            attempt,
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.journal.note(Event::Ended, self.job, self.attempt);
    }
}

/// Returns the time in microseconds since 1970, as the server on the same machine reads it.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}
