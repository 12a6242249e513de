//! failed, scheduled → ready, by an operator

use sqlx::PgConnection;

use super::run::notified_job_ids;
use crate::job::JobId;
use crate::sql::Schema;

const RETRY_NOW: &str = include_str!("retry_now.sql");

/// Makes failed jobs ready again, with no failures counted, and jobs scheduled for another attempt ready
/// at once. Returns those it made ready. A job whose unique key has been taken meanwhile is not among
/// them.
pub async fn retry_now(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    let ids: Vec<i64> = jobs.iter().map(|job| job.0).collect();
    sqlx::query_as(schema.sql(RETRY_NOW))
        .bind(ids)
        .fetch_all(conn)
        .await
        .map(notified_job_ids)
}
