//! finished, failed → gone; unused rates are removed too

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::run::millis;
use crate::sql::Schema;

const CLEAR_FINISHED: &str = concat!(
    include_str!("clear_finished.sql"),
    include_str!("clear_jobs.sql")
);
const CLEAR_FAILED: &str = concat!(
    include_str!("clear_failed.sql"),
    include_str!("clear_jobs.sql")
);
const CLEAR_RATES: &str = include_str!("clear_rates.sql");

/// Which finished jobs are cleared.
#[derive(Clone, Debug, Default)]
pub struct ClearFilter {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// None of these kinds.
    pub except_kinds: Vec<String>,
    /// None of these queues.
    pub except_queues: Vec<String>,
}

/// Clears up to `limit` jobs that finished at or after `from` and longer ago than `keep`, oldest first.
/// Returns how many, and when the last of them finished: the `from` of the next call.
pub async fn clear_finished(
    conn: &mut PgConnection,
    schema: &Schema,
    which: &ClearFilter,
    keep: Duration,
    from: Option<DateTime<Utc>>,
    limit: u32,
) -> Result<(u64, Option<DateTime<Utc>>), sqlx::Error> {
    let (count, last): (i64, Option<DateTime<Utc>>) = schema
        .query_as(CLEAR_FINISHED)
        .bind(millis(keep))
        .bind(from)
        .bind(&which.kind)
        .bind(&which.queue)
        .bind(&which.except_kinds)
        .bind(&which.except_queues)
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok((count.unsigned_abs(), last))
}

/// Clears up to `limit` jobs that failed longer ago than `keep`, and returns how many.
pub async fn clear_failed(
    conn: &mut PgConnection,
    schema: &Schema,
    keep: Duration,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let count: i64 = schema
        .query_scalar(CLEAR_FAILED)
        .bind(millis(keep))
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(count.unsigned_abs())
}

/// Removes up to `limit` rates whose starts are all free again, and returns how many.
pub async fn clear_rates(
    conn: &mut PgConnection,
    schema: &Schema,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let count: i64 = schema
        .query_scalar(CLEAR_RATES)
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(count.unsigned_abs())
}
