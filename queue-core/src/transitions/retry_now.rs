//! failed, scheduled → ready, by an operator

use sqlx::PgConnection;

use crate::job::JobId;
use crate::sql::Schema;

const RETRY_NOW: &str = concat!(
    include_str!("retry_now.sql"),
    include_str!("count.sql"),
    ")\nselect *\nfrom answer"
);

/// Makes failed jobs ready again, with no failures counted, and jobs scheduled for another attempt ready
/// at once. Returns those it made ready. A job whose unique key has been taken meanwhile is not among
/// them.
pub async fn retry_now(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    schema
        .query_scalar(RETRY_NOW)
        .bind(jobs)
        .fetch_all(conn)
        .await
}
