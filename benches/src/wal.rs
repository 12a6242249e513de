//! How much was written ahead.

use anyhow::Result;
use sqlx::PgPool;

/// Returns the place in the server's log, in bytes.
pub(crate) async fn position(pool: &PgPool) -> Result<i64> {
    let place = sqlx::query_scalar("select (pg_current_wal_lsn() - '0/0')::bigint")
        .fetch_one(pool)
        .await?;
    Ok(place)
}
