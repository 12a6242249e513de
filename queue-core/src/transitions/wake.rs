//! scheduled → ready, for jobs that wait for an event

use sqlx::PgConnection;

use crate::job::JobId;
use crate::sql::Schema;

const WAKE: &str = include_str!("wake.sql");

/// Wakes up to `limit` jobs that wait for one of some events, after a job. Returns the last one, if there was
/// any.
pub async fn wake(
    conn: &mut PgConnection,
    schema: &Schema,
    events: &[String],
    after: JobId,
    limit: u32,
) -> Result<Option<JobId>, sqlx::Error> {
    let (last, _notified): (Option<JobId>, i64) = schema
        .query_as(WAKE)
        .bind(events)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(last)
}
