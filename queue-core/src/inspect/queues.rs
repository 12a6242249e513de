//! Queues: the number of jobs in each state, and the latency.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const QUEUES: &str = include_str!("queues.sql");

/// A queue and the number of its jobs.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct QueueSummary {
    /// Its name.
    pub name: String,
    /// Jobs that wait for a worker.
    pub ready: i64,
    /// Jobs that wait until they are due.
    pub scheduled: i64,
    /// Jobs whose limit has no room.
    pub blocked: i64,
    /// Jobs that are claimed.
    pub running: i64,
    /// Jobs that failed.
    pub failed: i64,
    /// How long the oldest ready job has been ready; none without ready jobs.
    pub latency_seconds: Option<f64>,
    /// When it was paused; none if it is not.
    pub paused_at: Option<DateTime<Utc>>,
}

/// Returns when a queue was paused; none if it is not.
pub async fn paused_at(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let paused_at: Option<Option<DateTime<Utc>>> = schema
        .query_scalar("select paused_at from queue.queues where name = $1")
        .bind(queue)
        .fetch_optional(conn)
        .await?;
    Ok(paused_at.flatten())
}

/// Lists the queues that were paused or seen by a process, or have unfinished or failed jobs, by name.
///
/// Reads all ready, scheduled, blocked and failed rows: about a tenth of a second per million.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<QueueSummary>, sqlx::Error> {
    schema.query_as(QUEUES).fetch_all(conn).await
}
