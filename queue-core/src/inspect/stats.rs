//! Statistics: jobs in each state, jobs that ended lately, failures by kind.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Row};

use super::{COUNT_MAX, Count};
use crate::sql::Schema;
use crate::state::JobState;

const STATS: &str = include_str!("stats.sql");
const ENDINGS: &str = include_str!("stats_endings.sql");
const FAILED_KINDS: &str = include_str!("stats_failed_kinds.sql");
const ERROR_KINDS: &str = include_str!("stats_error_kinds.sql");

/// The statistics of all queues.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stats {
    /// Jobs in each state.
    pub jobs: StateCounts,
    /// How long the oldest ready job has been ready; none without ready jobs.
    pub oldest_ready_seconds: Option<f64>,
    /// Jobs and attempts that ended in the last minute.
    pub last_minute: Endings,
    /// Jobs and attempts that ended in the last hour.
    pub last_hour: Endings,
    /// Failed jobs by kind, the most frequent first.
    pub failed_by_kind: Vec<KindCount>,
    /// Attempts that ended in an error in the last hour, by kind, the most frequent first.
    pub errors_by_kind: Vec<KindCount>,
}

/// Jobs in each state, each counted up to a limit.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StateCounts {
    /// Waiting until they are due.
    pub scheduled: Count,
    /// Waiting for a worker.
    pub ready: Count,
    /// Waiting because a limit has no room.
    pub blocked: Count,
    /// Claimed by a process.
    pub running: Count,
    /// Failed.
    pub failed: Count,
    /// Finished, and not cleared yet.
    pub finished: Count,
}

impl StateCounts {
    /// Returns the count of a state.
    pub fn of(&self, state: JobState) -> Count {
        match state {
            JobState::Scheduled => self.scheduled,
            JobState::Ready => self.ready,
            JobState::Blocked => self.blocked,
            JobState::Claimed => self.running,
            JobState::Failed => self.failed,
            JobState::Finished => self.finished,
        }
    }

    /// Returns how many were counted in all states.
    pub fn total(&self) -> u64 {
        let counts = JobState::ALL.map(|state| self.of(state).count);
        counts.into_iter().sum()
    }
}

/// Jobs and attempts that ended in a period and are not cleared, each counted up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Endings {
    /// Jobs that succeeded.
    pub done: i64,
    /// Jobs that were discarded.
    pub discarded: i64,
    /// Jobs that were cancelled.
    pub cancelled: i64,
    /// Jobs that failed and are still failed.
    pub failed: i64,
    /// Attempts that ended in an error.
    pub errors: i64,
}

/// A number of jobs or attempts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: i64,
}

/// Reads the statistics. Reads up to `max` rows of each table.
pub async fn gather(
    conn: &mut PgConnection,
    schema: &Schema,
    max: u32,
) -> Result<Stats, sqlx::Error> {
    let mut stats = counts(conn, schema, max).await?;
    let endings: Vec<(String, i64, i64)> = schema
        .query_as(ENDINGS)
        .bind(i64::from(max))
        .fetch_all(&mut *conn)
        .await?;
    for (ending, minute, hour) in endings {
        stats.last_minute.set(&ending, minute);
        stats.last_hour.set(&ending, hour);
    }
    stats.failed_by_kind = kinds(conn, schema, FAILED_KINDS, max).await?;
    stats.errors_by_kind = kinds(conn, schema, ERROR_KINDS, max).await?;
    Ok(stats)
}

/// Counts the jobs of each state, up to `max`, and returns since when the oldest of the ready ones that were
/// counted waits, in seconds.
pub async fn states(
    conn: &mut PgConnection,
    schema: &Schema,
    max: u32,
) -> Result<(StateCounts, Option<f64>), sqlx::Error> {
    let stats = counts(conn, schema, max).await?;
    Ok((stats.jobs, stats.oldest_ready_seconds))
}

/// Counts failed jobs by kind, the most frequent first, among [`COUNT_MAX`] of them.
pub async fn failed_by_kind(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<KindCount>, sqlx::Error> {
    kinds(conn, schema, FAILED_KINDS, COUNT_MAX).await
}

async fn counts(conn: &mut PgConnection, schema: &Schema, max: u32) -> Result<Stats, sqlx::Error> {
    let row = schema
        .query(STATS)
        .bind(i64::from(max) + 1)
        .fetch_one(conn)
        .await?;
    let count = |state| Ok::<_, sqlx::Error>(Count::up_to(max, row.try_get(state)?));
    Ok(Stats {
        jobs: StateCounts {
            scheduled: count("scheduled")?,
            ready: count("ready")?,
            blocked: count("blocked")?,
            running: count("running")?,
            failed: count("failed")?,
            finished: count("finished")?,
        },
        oldest_ready_seconds: row.try_get("oldest_ready_seconds")?,
        ..Stats::default()
    })
}

impl Endings {
    fn set(&mut self, ending: &str, count: i64) {
        match ending {
            "done" => self.done = count,
            "discarded" => self.discarded = count,
            "cancelled" => self.cancelled = count,
            "failed" => self.failed = count,
            "errors" => self.errors = count,
            _ => {}
        }
    }
}

async fn kinds(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    max: u32,
) -> Result<Vec<KindCount>, sqlx::Error> {
    schema
        .query_as(statement)
        .bind(i64::from(max))
        .fetch_all(conn)
        .await
}
