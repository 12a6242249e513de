//! scheduled, ready and blocked jobs get another priority, by an operator

use sqlx::PgConnection;

use crate::job::JobId;
use crate::sql::Schema;

const PRIORITIZE: &str = include_str!("prioritize.sql");

/// Gives waiting jobs another priority, now and for further attempts. Returns the jobs it changed, without
/// those that have this priority already.
pub async fn prioritize(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
    priority: i16,
) -> Result<Vec<JobId>, sqlx::Error> {
    schema
        .query_scalar(PRIORITIZE)
        .bind(jobs)
        .bind(priority)
        .fetch_all(conn)
        .await
}
