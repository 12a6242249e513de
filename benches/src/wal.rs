//! The amount of write-ahead log.

use anyhow::Result;
use sqlx::PgPool;

/// Returns the position in the server's write-ahead log, in bytes.
pub(crate) async fn position(pool: &PgPool) -> Result<i64> {
    let place = sqlx::query_scalar("select (pg_current_wal_lsn() - '0/0')::bigint")
        .fetch_one(pool)
        .await?;
    Ok(place)
}
