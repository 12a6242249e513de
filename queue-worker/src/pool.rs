//! Options for the pool of an application whose jobs use the database.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection};

use crate::connection::timely;

/// How long a connection may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that has answered so shortly before is not tested again.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Returns options for a pool that replaces connections that do not answer within a second: those that
/// an interrupted run gives back, and those that have been idle.
///
/// A firewall or a router may lose connections without telling either side. `PgPoolOptions::new()` waits
/// for their answer without a limit: even a job that has ended by its timeout then takes a connection from
/// the pool for ever.
///
/// ```no_run
/// # async fn example() -> Result<(), sqlx::Error> {
/// let pool = queue_worker::pool_options()
///     .max_connections(20)
///     .connect("postgres://localhost/app")
///     .await?;
/// # Ok(())
/// # }
/// ```
pub fn pool_options() -> PgPoolOptions {
    PgPoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move { Ok(meta.idle_for < TRUSTED_FOR || test(conn).await?) })
        })
        .after_release(|conn, _| Box::pin(test(conn)))
}

/// Returns true, or an error, upon which the pool closes the connection.
async fn test(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    timely(ANSWER_TIMEOUT, conn.ping()).await?;
    Ok(true)
}
