//! Processes, and the age of their heartbeats.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::job::JobId;
use crate::process::ProcessRequest;
use crate::sql::Schema;

const JOBS: &str = include_str!("process_jobs.sql");
const PROCESSES: &str = include_str!("processes.sql");

/// A process that has a row.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessSummary {
    /// Its id, a new one for each start.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process id in the operating system.
    pub pid: i32,
    /// The version of its program.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// The time of its last heartbeat.
    pub heartbeat_at: DateTime<Utc>,
    /// The age of its last heartbeat.
    pub silent_seconds: f64,
    /// When it began to stop; none if it has not.
    pub stopping_at: Option<DateTime<Utc>>,
    /// What it was asked to do, such as to be quiet.
    pub asked: Option<ProcessRequest>,
    /// Who asked, or let it claim jobs again.
    pub asked_by: Option<String>,
    /// When they did.
    pub asked_at: Option<DateTime<Utc>>,
    /// Jobs that it has claimed.
    pub running: i64,
    /// Whether it has an idle worker that waits for a notification.
    pub idle: bool,
    /// Its queues, kinds and concurrency.
    pub details: serde_json::Value,
}

impl ProcessSummary {
    /// Returns whether it claims no jobs because somebody asked for that: its last heartbeat has read it.
    pub fn is_quiet(&self) -> bool {
        self.asked == Some(ProcessRequest::Quiet) && Some(self.heartbeat_at) > self.asked_at
    }
}

/// A job that a process has claimed.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessJob {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The number of this run.
    pub attempt: i32,
    /// When it was claimed.
    pub claimed_at: DateTime<Utc>,
}

/// Lists up to `limit` jobs that a process has claimed, the oldest claims first.
pub async fn jobs(
    conn: &mut PgConnection,
    schema: &Schema,
    process: Uuid,
    limit: u32,
) -> Result<Vec<ProcessJob>, sqlx::Error> {
    schema
        .query_as(JOBS)
        .bind(process)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
}

/// Lists the processes in the order in which they started.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<ProcessSummary>, sqlx::Error> {
    schema.query_as(PROCESSES).fetch_all(conn).await
}
