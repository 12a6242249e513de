//! claimed → ready, scheduled, failed or finished (cancelled), for dead processes

use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use super::run::millis;
use crate::job::JobId;
use crate::sql::Schema;

const RECOVER: &str = concat!(
    include_str!("recover.sql"),
    include_str!("count_ended.sql"),
    include_str!("count.sql"),
    include_str!("free.sql")
);

/// The most jobs that one call recovers. The rest has a process without a row: another call, with
/// `strays`, recovers it.
pub const RECOVERED_MAX: usize = 10_000;

/// A job that was recovered from a dead process.
#[derive(Clone, Debug, FromRow)]
pub struct Recovered {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its tenant.
    pub tenant: Option<String>,
    /// The number of the run that its process held.
    pub attempt: i32,
    /// Runs so far that ended in an error.
    pub failures: i16,
    /// The name of the process that died.
    pub process: String,
    /// The error that is kept.
    pub error: String,
    /// What the job became: `ready`, `scheduled`, `failed` or `cancelled`.
    pub became: String,
    /// The keys whose slots it held.
    pub keys: Vec<String>,
}

/// Recovers up to [`RECOVERED_MAX`] jobs of processes without a heartbeat for `dead_after`, and removes
/// the rows of those processes. With `strays`, also recovers jobs whose process has no row, which reads
/// all claims.
pub async fn recover(
    conn: &mut PgConnection,
    schema: &Schema,
    dead_after: Duration,
    strays: bool,
) -> Result<Vec<Recovered>, sqlx::Error> {
    schema
        .query_as(RECOVER)
        .bind(millis(dead_after))
        .bind(strays)
        .bind(i64::try_from(RECOVERED_MAX).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await
}
