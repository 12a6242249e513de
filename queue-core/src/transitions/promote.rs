//! scheduled → ready

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::sql::Schema;

const PROMOTE: &str = include_str!("promote.sql");
const NEXT_DUE: &str = include_str!("next_due.sql");

/// Makes up to `limit` due jobs ready, soonest first, and returns how many. They are due at `now`,
/// which is the database's clock unless given.
///
/// # Errors
/// Returns what the server answered.
pub async fn promote(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let (promoted, _notified): (i64, i64) = sqlx::query_as(schema.sql(PROMOTE))
        .bind(now)
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(promoted.unsigned_abs())
}

/// Returns how long it is until the next scheduled job is due; nothing, when none is scheduled.
///
/// # Errors
/// Returns what the server answered.
pub async fn next_due(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Option<Duration>, sqlx::Error> {
    let wait: Option<i64> = sqlx::query_scalar(schema.sql(NEXT_DUE))
        .fetch_optional(conn)
        .await?;
    Ok(wait.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())))
}
