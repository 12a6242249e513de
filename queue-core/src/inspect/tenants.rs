//! Tenants: their weights, pauses and limits, and the number of their jobs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use super::Count;
use super::queues::Pause;
use super::stats::StateCounts;
use crate::job::JobId;
use crate::sql::Schema;

const TENANTS: &str = include_str!("tenants.sql");
const JOBS: &str = include_str!("tenant_jobs.sql");
const PAUSE: &str = include_str!("tenant_pause.sql");

/// The most ready jobs of one tenant that are counted, the newest failed jobs among which those of tenants are
/// counted, and the newest jobs of one tenant that [`show`] counts.
pub const COUNTED: u32 = 10_000;

/// A tenant and the number of its jobs.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TenantSummary {
    /// Its name.
    pub name: String,
    /// How many of its jobs start in a turn.
    pub weight: i16,
    /// Jobs in fair queues that wait for a worker.
    pub ready: Count,
    /// Jobs that are claimed.
    pub running: i64,
    /// Jobs that are among the newest 10,000 failed ones of all tenants.
    pub failed: i64,
    /// How long the oldest of the counted ready jobs has been ready; none without ready jobs.
    pub latency_seconds: Option<f64>,
    /// How many of its jobs in fair queues may run at once, if that is limited.
    pub to: Option<u32>,
    /// The time between two evenly spaced starts, if starts are limited.
    pub space_seconds: Option<f64>,
    /// How many may start at once after a pause, if starts are limited.
    pub burst: Option<u32>,
    /// When it was paused; none if it is not.
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it, if that was recorded.
    pub paused_by: Option<String>,
    /// Why it was paused, if somebody said so.
    pub paused_why: Option<String>,
}

/// A tenant and its newest jobs.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TenantDetails {
    /// What lists say about it.
    #[serde(flatten)]
    pub summary: TenantSummary,
    /// How many of its newest 10,000 jobs, in all queues, are in each state.
    pub jobs: StateCounts,
}

/// Lists up to `limit` tenants in the order of names, after the name `after`: those that have ready jobs in fair
/// queues, or running ones, or for which a weight, a pause or a limit was set.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    after: &str,
    limit: u32,
) -> Result<Vec<TenantSummary>, sqlx::Error> {
    read(conn, schema, after, limit, None).await
}

/// Returns a tenant with its newest jobs; none if it has no jobs, and nothing is set for it.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<TenantDetails>, sqlx::Error> {
    let found = read(&mut *conn, schema, "", 1, Some(name)).await?;
    let Some(summary) = found.into_iter().next() else {
        return Ok(None);
    };
    let counting = schema.query_as(JOBS).bind(name).bind(i64::from(COUNTED));
    let counted: Vec<(String, i64)> = counting.fetch_all(conn).await?;
    let of = |state: &str| {
        let found = counted.iter().find(|(counted, _)| counted == state);
        Count::up_to(COUNTED, found.map_or(0, |(_, jobs)| *jobs))
    };
    Ok(Some(TenantDetails {
        summary,
        jobs: StateCounts {
            scheduled: of("scheduled"),
            ready: of("ready"),
            blocked: of("blocked"),
            running: of("running"),
            failed: of("failed"),
            finished: of("finished"),
        },
    }))
}

/// Returns the pause that keeps a job from running: that of its tenant, if it is ready in a fair queue.
pub async fn pause_of(
    conn: &mut PgConnection,
    schema: &Schema,
    job: JobId,
) -> Result<Option<Pause>, sqlx::Error> {
    schema.query_as(PAUSE).bind(job).fetch_optional(conn).await
}

async fn read(
    conn: &mut PgConnection,
    schema: &Schema,
    after: &str,
    limit: u32,
    only: Option<&str>,
) -> Result<Vec<TenantSummary>, sqlx::Error> {
    let rows = schema
        .query(TENANTS)
        .bind(after)
        .bind(i64::from(limit))
        .bind(i64::from(COUNTED) + 1)
        .bind(i64::from(COUNTED))
        .bind(only)
        .fetch_all(conn)
        .await?;
    rows.iter().map(TenantSummary::from_row).collect()
}

impl FromRow<'_, PgRow> for TenantSummary {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let to: Option<i32> = row.try_get("slots")?;
        let burst: Option<i32> = row.try_get("burst")?;
        Ok(Self {
            name: row.try_get("name")?,
            weight: row.try_get("weight")?,
            ready: Count::up_to(COUNTED, row.try_get("ready")?),
            running: row.try_get("running")?,
            failed: row.try_get("failed")?,
            latency_seconds: row.try_get("latency_seconds")?,
            to: to.map(i32::unsigned_abs),
            space_seconds: row.try_get("space_seconds")?,
            burst: burst.map(i32::unsigned_abs),
            paused_at: row.try_get("paused_at")?,
            paused_by: row.try_get("paused_by")?,
            paused_why: row.try_get("paused_why")?,
        })
    }
}

impl TenantSummary {
    /// Returns its pause; none if it is not paused.
    pub fn pause(&self) -> Option<Pause> {
        self.paused_at.map(|at| Pause {
            at,
            by: self.paused_by.clone(),
            why: self.paused_why.clone(),
        })
    }
}
