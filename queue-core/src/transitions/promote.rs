//! scheduled → ready

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::sql::Schema;

const PROMOTE: &str = include_str!("promote.sql");
const NEXT_DUE: &str = include_str!("next_due.sql");

/// Makes up to `limit` jobs ready that are due at `now` (by default the database's clock), earliest
/// first, and returns how many.
pub async fn promote(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let (promoted, _notified): (i64, i64) = schema
        .query_as(PROMOTE)
        .bind(now)
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(promoted.unsigned_abs())
}

/// Returns the time until the next scheduled job is due, if any is scheduled.
pub async fn next_due(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Option<Duration>, sqlx::Error> {
    let wait: Option<i64> = schema.query_scalar(NEXT_DUE).fetch_optional(conn).await?;
    Ok(wait.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())))
}
