//! Jobs that misbehave on purpose, and a record of every run, so that tests can check which jobs ran,
//! in which process, and whether any ran twice.

use std::time::Duration;

use queue_worker::{App, Attempt, BoxError, Cx, Job, Next, Options, Perform, PerformBlocking};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgExecutor, PgPool};

/// What a job does once its run is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Deed {
    /// Ends at once.
    Quick,
    /// Ends at once, and records its end.
    Recorded,
    /// Sleeps for this many milliseconds.
    Sleep(u64),
    /// Ends when the gate of this name opens, or when asked to stop.
    Gate(String),
    /// Ends when the gate of this name opens, and ignores requests to stop.
    DeafGate(String),
    /// Runs until it is asked to stop.
    Long,
    /// Runs for ever, and ignores requests to stop.
    Stubborn,
    /// Takes this many pairs of steps, of which the second writes in its transaction.
    Steps(i32),
    /// Takes the steps `one` and `two`, which write the rows 1 and 2 in their transactions.
    Two,
    /// Joins this many children that end at once, and writes how many are done in the transaction of a step.
    Parent(usize),
    /// Goes up to this number with a cursor, 10 ms or more for each.
    Walk(i32),
    /// Ends its process with an exit code.
    Exit,
    /// Aborts its process.
    Abort,
}

/// A deed that blocks its thread until its process ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block;

/// Where the runs of deeds are recorded, and where they wait.
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// Creates the tables that deeds write to.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn build(pool: &PgPool) {
        sqlx::raw_sql(
            "create schema ledger;
             create table ledger.runs (
                 job_id bigint, attempt integer, pid integer,
                 began_at timestamptz default clock_timestamp(), ended_at timestamptz
             );
             create table ledger.steps (job_id bigint, number integer, in_tx boolean);
             create table ledger.gates (name text);",
        )
        .execute(pool)
        .await
        .expect("the tables of the deeds");
    }

    /// Opens a gate: every deed that waits at it ends.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn open_gate(pool: &PgPool, name: &str) {
        sqlx::query("insert into ledger.gates (name) values ($1)")
            .bind(name)
            .execute(pool)
            .await
            .expect("a gate");
    }

    /// Counts the runs that meet a condition: `runs_where(pool, "attempt = 2")`.
    pub async fn runs_where(pool: &PgPool, condition: &str) -> Result<i64, sqlx::Error> {
        let statement = format!("select count(*) from ledger.runs where {condition}");
        sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(pool)
            .await
    }

    async fn note(&self, attempt: &Attempt) -> Result<(), sqlx::Error> {
        sqlx::query("insert into ledger.runs (job_id, attempt, pid) values ($1, $2, $3)")
            .bind(attempt.job_id.0)
            .bind(attempt.number)
            .bind(std::process::id().cast_signed())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn note_end(&self, attempt: &Attempt) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update ledger.runs set ended_at = clock_timestamp() where job_id = $1 and attempt = $2",
        )
        .bind(attempt.job_id.0)
        .bind(attempt.number)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Waits for a gate, also while the database is unavailable.
    async fn wait_at(&self, gate: &str) {
        loop {
            let open =
                sqlx::query_scalar("select exists (select from ledger.gates where name = $1)")
                    .bind(gate)
                    .fetch_one(&self.pool)
                    .await;
            if matches!(open, Ok(true)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Returns an application that can run all deeds.
#[must_use]
pub fn app(pool: PgPool) -> App<Ledger> {
    App::new(Ledger { pool })
        .register::<Deed>()
        .register_blocking::<Block>()
}

impl Job for Deed {
    const KIND: &'static str = "deed";

    fn options() -> Options {
        Options::new().attempts(1_000)
    }
}

impl Perform<Ledger> for Deed {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Ledger>) -> Result<(), BoxError> {
        cx.state().note(cx.attempt()).await?;
        match self {
            Self::Quick => {}
            Self::Recorded => cx.state().note_end(cx.attempt()).await?,
            Self::Sleep(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Self::Gate(name) => tokio::select! {
                () = cx.state().wait_at(&name) => {}
                () = cx.cancelled() => return Err("asked to stop".into()),
            },
            Self::DeafGate(name) => cx.state().wait_at(&name).await,
            Self::Long => {
                cx.cancelled().await;
                return Err("asked to stop".into());
            }
            Self::Stubborn => std::future::pending().await,
            Self::Steps(count) => {
                for number in 1..=count {
                    let pool = &cx.state().pool;
                    cx.step("plain", async || note_step(pool, &cx, number, false).await)
                        .await?;
                    cx.step_tx("tx", async |tx| note_step(tx, &cx, number, true).await)
                        .await?;
                }
            }
            Self::Two => {
                for (name, number) in [("one", 1), ("two", 2)] {
                    cx.step_tx(name, async |tx| note_step(tx, &cx, number, true).await)
                        .await?;
                }
            }
            Self::Parent(count) => {
                let children = vec![Self::Quick; count];
                let batch = cx.child_batch("children", children).await?;
                let done = i32::try_from(cx.join(batch).await?.done)?;
                cx.step_tx("done", async |tx| note_step(tx, &cx, done, true).await)
                    .await?;
            }
            Self::Walk(end) => {
                let mut cursor = cx.cursor::<i32>("walk").await?;
                for number in cursor.get().map_or(1, |last| last + 1)..=end {
                    note_step(&cx.state().pool, &cx, number, false).await?;
                    cursor.set(number).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Self::Exit => std::process::exit(1),
            Self::Abort => std::process::abort(),
        }
        Ok(())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::from_millis(50))
    }
}

/// Writes that a step ran. By a pooler, statements may have no names.
async fn note_step(
    executor: impl PgExecutor<'_>,
    cx: &Cx<Ledger>,
    number: i32,
    in_tx: bool,
) -> Result<(), BoxError> {
    sqlx::query("insert into ledger.steps (job_id, number, in_tx) values ($1, $2, $3)")
        .bind(cx.job_id().0)
        .bind(number)
        .bind(in_tx)
        .persistent(false)
        .execute(executor)
        .await?;
    Ok(())
}

impl Job for Block {
    const KIND: &'static str = "block";
}

impl PerformBlocking<Ledger> for Block {
    type Error = BoxError;

    fn perform(self, cx: Cx<Ledger>) -> Result<(), BoxError> {
        tokio::runtime::Handle::current().block_on(cx.state().note(cx.attempt()))?;
        loop {
            std::thread::park();
        }
    }
}
