//! Processes, and the age of their heartbeats.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::sql::Schema;

const PROCESSES: &str = include_str!("processes.sql");

/// A process that has a row.
#[derive(Clone, Debug, FromRow, Serialize)]
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
    /// Jobs that it has claimed.
    pub running: i64,
    /// Whether it has an idle worker that waits for a notification.
    pub idle: bool,
    /// Its queues, kinds and concurrency.
    pub details: serde_json::Value,
}

/// Lists the processes in the order in which they started.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<ProcessSummary>, sqlx::Error> {
    schema.query_as(PROCESSES).fetch_all(conn).await
}
