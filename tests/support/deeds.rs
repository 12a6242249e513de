//! Jobs that behave badly on purpose, and a record of every run, so that tests can tell what was
//! run, by whom, and whether anything was run twice.

use std::time::Duration;

use queue_worker::{App, Attempt, BoxError, Cx, Job, Next, Options, Perform, PerformBlocking};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgPool};

/// What a job does once its run is on record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Deed {
    /// Ends at once.
    Quick,
    /// Ends at once, and has its end on record.
    Recorded,
    /// Ends when the gate of that name is open; stops when asked to.
    Gate(String),
    /// Ends when the gate of that name is open, whoever asks it to stop.
    DeafGate(String),
    /// Goes on until it is asked to stop.
    Long,
    /// Goes on whoever asks it to stop.
    Stubborn,
    /// Ends its process with an exit code.
    Exit,
    /// Ends its process as a crash does.
    Abort,
}

/// A deed that blocks its thread: it goes on until its process ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block;

/// Where the deeds of a process are written down, and where they wait.
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// Makes the tables that deeds write to.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn build(pool: &PgPool) {
        sqlx::raw_sql(
            "create schema ledger;
             create table ledger.runs (
                 job_id bigint, attempt integer, pid integer,
                 began_at timestamptz default clock_timestamp(), ended_at timestamptz
             );
             create table ledger.gates (name text);",
        )
        .execute(pool)
        .await
        .expect("the tables of the deeds");
    }

    /// Opens a gate: every deed that waits for it ends.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn open_gate(pool: &PgPool, name: &str) {
        sqlx::query("insert into ledger.gates (name) values ($1)")
            .bind(name)
            .execute(pool)
            .await
            .expect("a gate");
    }

    /// Counts the runs that meet a condition: `runs_where(pool, "attempt = 2")`.
    ///
    /// # Errors
    /// Returns what the server answered.
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

    /// Waits for a gate, through whatever happens to the database.
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

/// An application that can run all deeds.
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
            Self::Exit => std::process::exit(1),
            Self::Abort => std::process::abort(),
        }
        Ok(())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::from_millis(50))
    }
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
