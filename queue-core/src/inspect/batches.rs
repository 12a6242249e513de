//! Batches: their progress, their jobs, and what waits for what.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{FromRow, PgConnection};

use crate::encryption::Place;
use crate::job::{BatchId, JobId};
use crate::redact::Redaction;
use crate::sql::Schema;
use crate::steps::progress::OUTPUT;

const LIST: &str = include_str!("batches_list.sql");
const JOBS: &str = include_str!("batch_jobs.sql");
const ENDS: &str = include_str!("batch_ends.sql");

/// A batch, with its progress at the moment it was read.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchSummary {
    /// Its id.
    pub id: BatchId,
    /// The batch it is a part of.
    pub parent_id: Option<BatchId>,
    /// Its name.
    pub name: Option<String>,
    /// The data of the application.
    #[sqlx(json(nullable))]
    pub metadata: Option<Box<RawValue>>,
    /// How many jobs and batches within it were added.
    pub jobs: i64,
    /// How many of them succeeded.
    pub done: i64,
    /// How many were discarded, which counts as success.
    pub discarded: i64,
    /// How many have failed.
    pub failed: i64,
    /// How many were cancelled.
    pub cancelled: i64,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// Since when it may end; none if it is open.
    pub closed_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// When all its jobs had ended for the first time.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it failed.
    pub failed_at: Option<DateTime<Utc>>,
    /// When it succeeded.
    pub succeeded_at: Option<DateTime<Utc>>,
    /// How many of its jobs have not ended.
    #[sqlx(skip)]
    pub pending: i64,
    /// Its state in a word: `open`, `running`, `cancelled`, `failed` or `succeeded`.
    #[sqlx(skip)]
    pub state: &'static str,
}

impl BatchSummary {
    fn completed(mut self) -> Self {
        self.pending = self.jobs - self.done - self.discarded - self.failed - self.cancelled;
        self.state = self.word();
        self
    }

    /// Redacts its metadata.
    pub fn redact(&mut self, redaction: &Redaction) {
        let metadata = self.metadata.as_deref();
        self.metadata = metadata.map(|metadata| redaction.args("", metadata));
    }

    /// A failed batch runs again while its failed jobs are retried.
    fn word(&self) -> &'static str {
        if self.succeeded_at.is_some() {
            "succeeded"
        } else if self.cancelled_at.is_some() {
            "cancelled"
        } else if self.closed_at.is_none() {
            "open"
        } else if self.completed_at.is_some() && self.pending <= 0 {
            "failed"
        } else {
            "running"
        }
    }
}

/// A job of a batch, or one that waits for its end.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchJob {
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its state or outcome; `waiting` while it waits for others.
    pub state: String,
    /// The jobs that it waits for or has waited for.
    pub after: Vec<i64>,
    /// What happens to it if one of those fails (`cancel`, `continue`, `hold`); or the end of the batch at which
    /// it starts (`success`, `failure`, `completion`).
    pub rule: Option<String>,
}

/// How a job of a batch has ended.
#[derive(Clone, Debug, FromRow)]
pub struct BatchEnd {
    /// The job.
    pub id: JobId,
    kind: String,
    /// `done`, `discarded`, `cancelled` or `failed`; none if it has not ended.
    pub state: Option<String>,
    /// What it has put out, if it is done.
    #[sqlx(json(nullable))]
    pub output: Option<Box<RawValue>>,
    /// Whether that is encrypted in the database.
    #[sqlx(skip)]
    pub is_encrypted: bool,
    /// Its last error, if it has failed.
    pub error: Option<String>,
}

/// Lists up to `limit` batches, newest first, with smaller ids than `below`. Only those that have ended, or
/// that have not, if `has_ended` is given.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    has_ended: Option<bool>,
    below: Option<BatchId>,
    limit: u32,
) -> Result<Vec<BatchSummary>, sqlx::Error> {
    let batches: Vec<BatchSummary> = schema
        .query_as(LIST)
        .persistent(false)
        .bind(None::<BatchId>)
        .bind(below)
        .bind(i64::from(limit))
        .bind(has_ended)
        .fetch_all(conn)
        .await?;
    Ok(batches.into_iter().map(BatchSummary::completed).collect())
}

/// Returns a batch; none if there is no such batch, or it has been cleared.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
) -> Result<Option<BatchSummary>, sqlx::Error> {
    let found: Option<BatchSummary> = schema
        .query_as(LIST)
        .persistent(false)
        .bind(batch)
        .bind(None::<BatchId>)
        .bind(1_i64)
        .bind(None::<bool>)
        .fetch_optional(conn)
        .await?;
    Ok(found.map(BatchSummary::completed))
}

/// Lists up to `limit` jobs of a batch, in order, after a job.
pub async fn jobs(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
    after: JobId,
    limit: u32,
) -> Result<Vec<BatchJob>, sqlx::Error> {
    related(conn, schema, batch, after, limit, false).await
}

/// Lists up to `limit` jobs of a batch, in order, after a job, with how they have ended.
pub async fn ends(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
    after: JobId,
    limit: u32,
) -> Result<Vec<BatchEnd>, sqlx::Error> {
    let mut ends: Vec<BatchEnd> = schema
        .query_as(ENDS)
        .bind(batch)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    for end in &mut ends {
        if let Some(output) = &mut end.output {
            let place = Place::Progress(end.id.0, OUTPUT);
            if let Some(opened) = schema.open(&end.kind, place, output.get())? {
                (*output, end.is_encrypted) = (opened, true);
            }
        }
    }
    Ok(ends)
}

/// Lists the callbacks of a batch: the jobs that start when it has ended.
pub async fn callbacks(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
) -> Result<Vec<BatchJob>, sqlx::Error> {
    related(conn, schema, batch, JobId(0), 1_000, true).await
}

async fn related(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
    after: JobId,
    limit: u32,
    waits: bool,
) -> Result<Vec<BatchJob>, sqlx::Error> {
    schema
        .query_as(JOBS)
        .persistent(false)
        .bind(batch)
        .bind(after)
        .bind(i64::from(limit))
        .bind(waits)
        .fetch_all(conn)
        .await
}

/// Returns the batch whose end a job waits for or has waited for: the one it is a callback of.
pub async fn called_by(
    conn: &mut PgConnection,
    schema: &Schema,
    callback: JobId,
) -> Result<Option<BatchSummary>, sqlx::Error> {
    let batch: Option<BatchId> = schema
        .query_scalar(
            "select on_id from queue.dependencies where job_id = $1 and rule in \
             ('success', 'failure', 'completion')",
        )
        .bind(callback)
        .fetch_optional(&mut *conn)
        .await?;
    match batch {
        Some(batch) => show(conn, schema, batch).await,
        None => Ok(None),
    }
}
