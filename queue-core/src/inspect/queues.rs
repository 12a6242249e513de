//! Queues: the number of jobs in each state, and the latency.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const QUEUES: &str = include_str!("queues.sql");
const NAMED: &str = include_str!("queues_named.sql");
const SAMPLED: &str = include_str!("queues_sampled.sql");
const PAUSE: &str = "select paused_at, paused_by, paused_why from queue.queues where name = $1 and paused_at is not null";

/// The most jobs in one state that [`list_bounded`] counts.
const COUNTED: i64 = 20_000;

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
    /// When the jobs were counted, if that was not just now.
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<DateTime<Utc>>,
    /// Whether that count stopped at a million jobs in a state, so that there may be more.
    #[sqlx(default)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
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

/// Lists the names of those queues, of all in which a run has ended within a year, and of all that a process names
/// in its list.
pub async fn names(conn: &mut PgConnection, schema: &Schema) -> Result<Vec<String>, sqlx::Error> {
    let mut names: Vec<String> = schema.query_scalar(NAMED).fetch_all(&mut *conn).await?;
    names.extend(
        list(conn, schema)
            .await?
            .into_iter()
            .map(|queue| queue.name),
    );
    Ok(names)
}

/// Lists the same queues at a bounded cost: if more than 20,000 jobs are in one state, the numbers are those of
/// the last sample, which is a minute old. Counts all jobs if there is no sample of the last three minutes.
pub async fn list_bounded(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<QueueSummary>, sqlx::Error> {
    let sampled: Vec<QueueSummary> = schema
        .query_as(SAMPLED)
        .bind(COUNTED)
        .fetch_all(&mut *conn)
        .await?;
    match sampled.is_empty() {
        true => list(conn, schema).await,
        false => Ok(sampled),
    }
}

/// Returns a queue as [`list_bounded`] lists it; none if no process has seen it and it has no jobs.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<QueueSummary>, sqlx::Error> {
    let of_name = |queues: Vec<QueueSummary>| queues.into_iter().find(|queue| queue.name == name);
    match of_name(list_bounded(conn, schema).await?) {
        // A sample lacks what came since.
        None => Ok(of_name(list(conn, schema).await?)),
        found => Ok(found),
    }
}
