//! The facts about jobs and processes.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use crate::inspect::processes::{self, ProcessSummary};
use crate::inspect::stats::{self, KindCount};
use crate::inspect::{COUNT_MAX, Count};
use crate::sql::Schema;

const BACKLOG: &str = include_str!("backlog.sql");
const CLOSED_LIMITS: &str = include_str!("closed_limits.sql");
const OVERDUE: &str = include_str!("overdue.sql");
const OVERDUE_RECURRING_JOBS: &str = include_str!("overdue_recurring_jobs.sql");
const PAUSED_RECURRING_JOBS: &str = include_str!("paused_recurring_jobs.sql");
const SOURCES: &str = include_str!("sources.sql");
const UNDECODABLE_KINDS: &str = include_str!("undecodable_kinds.sql");
const ORPHANS: &str = include_str!("orphans.sql");

/// How late a dispatcher or a scheduler may be: several polls.
const OVERDUE_AFTER_MS: i64 = 10_000;
/// About how many ready jobs are looked at, the first of each lane.
const FRONT: i64 = 20_000;
/// How many overdue or paused recurring jobs are read.
const RECURRING_JOBS_MAX: i64 = 100;

pub(super) struct Work {
    pub(super) dead_after: Duration,
    pub(super) processes: Vec<ProcessSummary>,
    pub(super) backlog: Vec<Backlog>,
    pub(super) closed_limits: Vec<ClosedLimit>,
    pub(super) overdue: Count,
    pub(super) overdue_seconds: f64,
    pub(super) overdue_recurring_jobs: Vec<OverdueRecurringJob>,
    pub(super) paused_recurring_jobs: Vec<String>,
    pub(super) sources: Vec<Source>,
    pub(super) undecodable: Vec<KindCount>,
    pub(super) orphans: i64,
    pub(super) failed: Vec<KindCount>,
}

/// The ready jobs of one kind in one queue.
#[derive(FromRow)]
pub(super) struct Backlog {
    pub(super) queue: String,
    pub(super) kind: String,
    pub(super) ready: i64,
    /// Whether there may be more behind the first jobs of the lanes.
    pub(super) at_least: bool,
    pub(super) oldest_seconds: f64,
    /// By whom it is paused and why, such as `, by ada@host: the relay is down`; none if it is not.
    pub(super) paused: Option<String>,
}

/// A recurring job that is due, but not enqueued.
#[derive(FromRow)]
pub(super) struct OverdueRecurringJob {
    pub(super) name: String,
    pub(super) overdue_seconds: f64,
}

/// A source, and how many recurring jobs it has.
#[derive(FromRow)]
pub(super) struct Source {
    #[sqlx(rename = "source")]
    pub(super) name: String,
    pub(super) count: i64,
}

/// A limit of 0, and how many jobs wait for it.
pub(super) struct ClosedLimit {
    pub(super) name: String,
    pub(super) waiting: Count,
}

pub(super) async fn read(
    conn: &mut PgConnection,
    schema: &Schema,
    dead_after: Duration,
) -> Result<Work, sqlx::Error> {
    let (overdue, overdue_seconds): (i64, Option<f64>) = schema
        .query_as(OVERDUE)
        .bind(i64::from(COUNT_MAX) + 1)
        .bind(OVERDUE_AFTER_MS)
        .fetch_one(&mut *conn)
        .await?;
    Ok(Work {
        dead_after,
        processes: processes::list(conn, schema).await?,
        backlog: schema
            .query_as(BACKLOG)
            .bind(FRONT)
            .fetch_all(&mut *conn)
            .await?,
        closed_limits: closed_limits(conn, schema).await?,
        overdue: Count::up_to(COUNT_MAX, overdue),
        overdue_seconds: overdue_seconds.unwrap_or_default(),
        overdue_recurring_jobs: schema
            .query_as(OVERDUE_RECURRING_JOBS)
            .bind(OVERDUE_AFTER_MS)
            .bind(RECURRING_JOBS_MAX)
            .fetch_all(&mut *conn)
            .await?,
        paused_recurring_jobs: schema
            .query_scalar(PAUSED_RECURRING_JOBS)
            .bind(RECURRING_JOBS_MAX)
            .fetch_all(&mut *conn)
            .await?,
        sources: schema.query_as(SOURCES).fetch_all(&mut *conn).await?,
        undecodable: schema
            .query_as(UNDECODABLE_KINDS)
            .bind(i64::from(COUNT_MAX))
            .fetch_all(&mut *conn)
            .await?,
        orphans: schema.query_scalar(ORPHANS).fetch_one(&mut *conn).await?,
        failed: stats::failed_by_kind(conn, schema).await?,
    })
}

async fn closed_limits(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<ClosedLimit>, sqlx::Error> {
    let rows: Vec<(String, i64)> = schema
        .query_as(CLOSED_LIMITS)
        .bind(i64::from(COUNT_MAX) + 1)
        .fetch_all(conn)
        .await?;
    let limit = |(name, count)| ClosedLimit {
        name,
        waiting: Count::up_to(COUNT_MAX, count),
    };
    Ok(rows.into_iter().map(limit).collect())
}
