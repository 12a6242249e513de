//! Figures: how many jobs there are, how fast they go, and what goes wrong.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Row};

use super::{COUNT_MAX, Count};
use crate::sql::Schema;
use crate::state::JobState;

const STATS: &str = include_str!("stats.sql");
const ENDINGS: &str = include_str!("stats_endings.sql");
const FAILED_KINDS: &str = include_str!("stats_failed_kinds.sql");
const ERROR_KINDS: &str = include_str!("stats_error_kinds.sql");

/// The figures of a queue.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Jobs in each state.
    pub jobs: StateCounts,
    /// For how long the oldest ready job has been ready; nothing when there is none.
    pub oldest_ready_seconds: Option<f64>,
    /// What ended in the last minute.
    pub last_minute: Endings,
    /// What ended in the last hour.
    pub last_hour: Endings,
    /// Failed jobs by kind, the most frequent first.
    pub failed_by_kind: Vec<KindCount>,
    /// Attempts of the last hour that did not end well, by kind, the most frequent first.
    pub errors_by_kind: Vec<KindCount>,
}

/// Jobs in each state, each counted up to [`COUNT_MAX`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StateCounts {
    /// Waiting for their time.
    pub scheduled: Count,
    /// Waiting for a worker.
    pub ready: Count,
    /// Waiting because a limit leaves no room.
    pub blocked: Count,
    /// Claimed by a process.
    pub running: Count,
    /// Given up.
    pub failed: Count,
    /// Over, and not cleared yet.
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
}

/// What came to an end in a period and is still there, each counted up to [`COUNT_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endings {
    /// Jobs that did their work.
    pub done: i64,
    /// Jobs that were given up.
    pub discarded: i64,
    /// Jobs that were stopped.
    pub cancelled: i64,
    /// Jobs that failed and still are.
    pub failed: i64,
    /// Attempts that did not end well.
    pub errors: i64,
}

/// A number of jobs or attempts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: i64,
}

/// Gathers the figures. Reads up to [`COUNT_MAX`] rows of each table.
///
/// # Errors
/// Returns what the server answered.
pub async fn gather(conn: &mut PgConnection, schema: &Schema) -> Result<Stats, sqlx::Error> {
    let mut stats = counts(conn, schema).await?;
    endings(conn, schema, &mut stats).await?;
    stats.failed_by_kind = kinds(conn, schema, FAILED_KINDS).await?;
    stats.errors_by_kind = kinds(conn, schema, ERROR_KINDS).await?;
    Ok(stats)
}

/// Counts failed jobs by kind, the most frequent first, among [`COUNT_MAX`] of them.
///
/// # Errors
/// Returns what the server answered.
pub async fn failed_by_kind(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<KindCount>, sqlx::Error> {
    kinds(conn, schema, FAILED_KINDS).await
}

async fn counts(conn: &mut PgConnection, schema: &Schema) -> Result<Stats, sqlx::Error> {
    let row = sqlx::query(schema.sql(STATS))
        .bind(i64::from(COUNT_MAX) + 1)
        .fetch_one(conn)
        .await?;
    let count = |state| {
        row.try_get(state)
            .map(|counted| Count::up_to(COUNT_MAX, counted))
    };
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

async fn endings(
    conn: &mut PgConnection,
    schema: &Schema,
    stats: &mut Stats,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(schema.sql(ENDINGS))
        .bind(i64::from(COUNT_MAX))
        .fetch_all(conn)
        .await?;
    for (ending, minute, hour) in rows {
        stats.last_minute.set(&ending, minute);
        stats.last_hour.set(&ending, hour);
    }
    Ok(())
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
) -> Result<Vec<KindCount>, sqlx::Error> {
    sqlx::query_as(schema.sql(statement))
        .bind(i64::from(COUNT_MAX))
        .fetch_all(conn)
        .await
}
