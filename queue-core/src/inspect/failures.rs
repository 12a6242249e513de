//! Failed jobs in groups: those of one kind with the same error.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::job::JobId;
use crate::sql::Schema;

const FAILURES: &str = include_str!("failures.sql");

/// Failed jobs of one kind whose last errors have the same first line.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct FailureGroup {
    /// Their kind.
    pub kind: String,
    /// The first line of their last error.
    pub error: Option<String>,
    /// How many they are.
    pub count: i64,
    /// When the first of them failed.
    pub first_at: DateTime<Utc>,
    /// When the last of them failed.
    pub last_at: DateTime<Utc>,
    /// The newest of them.
    pub sample: JobId,
}

/// Groups the `jobs_max` newest failed jobs, and returns up to `limit` groups, the largest first.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs_max: u32,
    limit: u32,
) -> Result<Vec<FailureGroup>, sqlx::Error> {
    schema
        .query_as(FAILURES)
        .bind(i64::from(jobs_max))
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
}
