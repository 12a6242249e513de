//! scheduled, ready, blocked → scheduled; scheduled → ready, by an operator

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::job::JobId;
use crate::sql::Schema;

const RESCHEDULE: &str = include_str!("reschedule.sql");

/// Lets waiting jobs wait until a time. If it has come, scheduled jobs become ready, and others stay as they
/// are. Returns the jobs it changed. A job keeps its counters and its unique key; its limits are checked
/// when it is claimed, also if they were bypassed.
pub async fn reschedule(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
    at: DateTime<Utc>,
) -> Result<Vec<JobId>, sqlx::Error> {
    schema
        .query_scalar(RESCHEDULE)
        .bind(jobs)
        .bind(at)
        .fetch_all(conn)
        .await
}
