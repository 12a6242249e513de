//! firings → gone

use std::time::Duration;

use sqlx::PgConnection;

use crate::sql::Schema;
use crate::transitions::millis;

const CLEAR_FIRINGS: &str = include_str!("clear_firings.sql");

/// Clears up to `limit` firings that are older than `keep`, oldest first, and returns how many. Keeps
/// the firing of the last due time of each recurring job.
pub async fn clear_firings(
    conn: &mut PgConnection,
    schema: &Schema,
    keep: Duration,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let count: i64 = schema
        .query_scalar(CLEAR_FIRINGS)
        .bind(millis(keep))
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(count.unsigned_abs())
}
