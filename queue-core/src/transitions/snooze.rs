//! claimed → scheduled, as the job asked

use std::time::Duration;

use sqlx::PgConnection;

use super::run::{Claim, job_ids, millis};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const SNOOZE: &str = include_str!("snooze.sql");

/// Puts running jobs off, each for its own time, and returns the jobs it put off. This costs no
/// attempt.
///
/// # Errors
/// Returns what the server answered.
pub async fn snooze(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    snoozed: &[(Claim, Duration)],
) -> Result<Vec<JobId>, sqlx::Error> {
    let ids: Vec<i64> = snoozed.iter().map(|(claim, _)| claim.job_id.0).collect();
    let attempts: Vec<i32> = snoozed.iter().map(|(claim, _)| claim.attempt).collect();
    let delays: Vec<i64> = snoozed.iter().map(|(_, delay)| millis(*delay)).collect();
    sqlx::query_as(schema.sql(SNOOZE))
        .bind(process.0)
        .bind(ids)
        .bind(attempts)
        .bind(delays)
        .fetch_all(conn)
        .await
        .map(job_ids)
}
