//! The few numbers that every page shows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;
use crate::transitions::millis;

const SIGNS: &str = include_str!("signs.sql");

/// What needs attention, and the database's clock.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct Signs {
    /// Queues that are paused.
    pub paused_queues: i64,
    /// Tenants that are paused.
    pub paused_tenants: i64,
    /// Processes that have been silent.
    pub silent_processes: i64,
    /// The time of the database.
    pub now: DateTime<Utc>,
}

/// Reads the signs. A process is silent if its last heartbeat is older than `silent_after`.
pub async fn read(
    conn: &mut PgConnection,
    schema: &Schema,
    silent_after: Duration,
) -> Result<Signs, sqlx::Error> {
    schema
        .query_as(SIGNS)
        .bind(millis(silent_after))
        .fetch_one(conn)
        .await
}
