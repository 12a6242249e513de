//! Limits: the keys that are in use, the jobs that hold them, and the jobs that wait.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::Count;
use crate::job::JobId;
use crate::sql::Schema;

const LIMITS: &str = include_str!("limits.sql");

/// The most waiting jobs that are counted for one key.
const WAITING_MAX: u32 = 10_000;

/// A key that jobs hold or wait for, or a name with a limit set at run time.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitSummary {
    /// The key, or the name of a group, queue or kind.
    pub key: String,
    /// How many may run at once; none if only starts are limited, or for a group whose jobs are counted by
    /// their own keys.
    pub to: Option<u32>,
    /// The time between two evenly spaced starts, if starts are limited.
    pub space_seconds: Option<f64>,
    /// How many may start at once after a pause, if starts are limited.
    pub burst: Option<u32>,
    /// Where the limit comes from: `job`, `operator` or `configuration`, or one of these for the group, as
    /// in `operator, for import`.
    pub set_by: String,
    /// The slots in use.
    pub in_use: i64,
    /// The jobs that hold them, up to ten.
    pub holders: Vec<JobId>,
    /// The jobs that wait.
    pub waiting: Count,
    /// Since when the first of the counted jobs waits.
    pub waiting_since: Option<DateTime<Utc>>,
    /// The time of the next start, if the starts of its rate are used up.
    pub next_start_at: Option<DateTime<Utc>>,
}

/// Lists up to `limit` keys in order, after the key `after`.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    after: &str,
    limit: u32,
) -> Result<Vec<LimitSummary>, sqlx::Error> {
    let rows = schema
        .query(LIMITS)
        .bind(after)
        .bind(i64::from(limit))
        .bind(i64::from(WAITING_MAX) + 1)
        .fetch_all(conn)
        .await?;
    rows.iter().map(summary).collect()
}

fn summary(row: &PgRow) -> Result<LimitSummary, sqlx::Error> {
    let to: Option<i32> = row.try_get("slots")?;
    let burst: Option<i32> = row.try_get("burst")?;
    let holders: Option<Vec<i64>> = row.try_get("holders")?;
    Ok(LimitSummary {
        key: row.try_get("key")?,
        to: to.map(i32::unsigned_abs),
        space_seconds: row.try_get("space_seconds")?,
        burst: burst.map(i32::unsigned_abs),
        set_by: row.try_get("set_by")?,
        in_use: row.try_get("in_use")?,
        holders: holders.unwrap_or_default().into_iter().map(JobId).collect(),
        waiting: Count::up_to(WAITING_MAX, row.try_get("waiting")?),
        waiting_since: row.try_get("waiting_since")?,
        next_start_at: row.try_get("next_start_at")?,
    })
}
