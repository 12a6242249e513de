//! claimed → scheduled, after an error

use std::time::Duration;

use sqlx::PgConnection;

use super::run::{AttemptError, Columns, ErrorColumns, Run, job_ids, millis};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const RETRY: &str = include_str!("retry.sql");

/// A run that failed, after which the job is tried again.
#[derive(Clone, Debug)]
pub struct Retried {
    /// The run.
    pub run: Run,
    /// What went wrong.
    pub error: AttemptError,
    /// How long to wait before the next attempt.
    pub delay: Duration,
}

/// Schedules the next attempts of failed runs, keeping their errors, and returns the jobs it
/// scheduled.
///
/// # Errors
/// Returns what the server answered.
pub async fn retry(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    retried: &[Retried],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(retried.iter().map(|each| &each.run));
    let errors = ErrorColumns::of(retried.iter().map(|each| &each.error));
    let delays: Vec<i64> = retried.iter().map(|each| millis(each.delay)).collect();
    sqlx::query_as(schema.sql(RETRY))
        .bind(process.0)
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .bind(columns.ran_us)
        .bind(errors.endings)
        .bind(errors.messages)
        .bind(errors.backtraces)
        .bind(delays)
        .bind(process_name)
        .fetch_all(conn)
        .await
        .map(job_ids)
}
