//! Processes: who is there, and how long ago each was heard of.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::sql::Schema;

const PROCESSES: &str = include_str!("processes.sql");

/// A process that has a row.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct ProcessSummary {
    /// Names this life of it.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its number in the operating system.
    pub pid: i32,
    /// The version of its program.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub heartbeat_at: DateTime<Utc>,
    /// For how long it has not been heard of.
    pub silent_seconds: f64,
    /// When it began to stop, if it did.
    pub stopping_at: Option<DateTime<Utc>>,
    /// Jobs that it has claimed.
    pub running: i64,
    /// Whether it has an idle worker that waits to be woken.
    pub idle: bool,
    /// Its queues, kinds and concurrency.
    pub details: serde_json::Value,
}

/// Lists the processes, the one that started first before the others.
///
/// # Errors
/// Returns what the server answered.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<ProcessSummary>, sqlx::Error> {
    sqlx::query_as(schema.sql(PROCESSES)).fetch_all(conn).await
}
