//! claimed → failed

use sqlx::PgConnection;

use super::run::{AttemptError, Columns, ErrorColumns, Run, job_ids};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const FAIL: &str = include_str!("fail.sql");

/// A run that failed, after which the job is not tried again until an operator says so.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The run.
    pub run: Run,
    /// What went wrong.
    pub error: AttemptError,
}

/// Fails jobs for good, keeping their errors, and returns the jobs it failed.
///
/// # Errors
/// Returns what the server answered.
pub async fn fail(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    failed: &[Failed],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(failed.iter().map(|each| &each.run));
    let errors = ErrorColumns::of(failed.iter().map(|each| &each.error));
    sqlx::query_as(schema.sql(FAIL))
        .bind(process.0)
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .bind(columns.ran_us)
        .bind(errors.endings)
        .bind(errors.messages)
        .bind(errors.backtraces)
        .bind(process_name)
        .fetch_all(conn)
        .await
        .map(job_ids)
}
