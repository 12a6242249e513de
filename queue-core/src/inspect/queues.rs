//! Queues: the number of jobs in each state, and the latency.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const QUEUES: &str = include_str!("queues.sql");
const PAUSE: &str = "select paused_at, paused_by, paused_why from queue.queues where name = $1 and paused_at is not null";

/// A queue and the number of its jobs.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Who paused it, if that was recorded.
    pub paused_by: Option<String>,
    /// Why it was paused, if somebody said so.
    pub paused_why: Option<String>,
}

/// Since when a queue is paused, by whom and why.
#[derive(Clone, Debug, FromRow)]
pub struct Pause {
    /// Since when.
    #[sqlx(rename = "paused_at")]
    pub at: DateTime<Utc>,
    /// Who paused it, if that was recorded.
    #[sqlx(rename = "paused_by")]
    pub by: Option<String>,
    /// Why, if somebody said so.
    #[sqlx(rename = "paused_why")]
    pub why: Option<String>,
}

impl QueueSummary {
    /// Returns its pause; none if it is not paused.
    pub fn pause(&self) -> Option<Pause> {
        self.paused_at.map(|at| Pause {
            at,
            by: self.paused_by.clone(),
            why: self.paused_why.clone(),
        })
    }
}

/// Returns the pause of a queue; none if it is not paused.
pub async fn pause(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
) -> Result<Option<Pause>, sqlx::Error> {
    schema
        .query_as(PAUSE)
        .bind(queue)
        .fetch_optional(conn)
        .await
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
