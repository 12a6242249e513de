//! claimed → finished (discarded, cancelled)

use sqlx::PgConnection;

use super::run::{AttemptError, Columns, ErrorColumns, Run, job_ids};
use crate::job::{JobId, Outcome};
use crate::process::ProcessId;
use crate::sql::Schema;

const DISCARD: &str = include_str!("discard.sql");

/// A run after which the job is given up without being failed.
#[derive(Clone, Debug)]
pub struct Discarded {
    /// The run.
    pub run: Run,
    /// What led there.
    pub error: AttemptError,
    /// The outcome: discarded or cancelled.
    pub outcome: Outcome,
}

/// Gives up jobs, keeping the error that led there, and returns the jobs it finished.
///
/// # Errors
/// Returns what the server answered.
pub async fn discard(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    discarded: &[Discarded],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(discarded.iter().map(|each| &each.run));
    let errors = ErrorColumns::of(discarded.iter().map(|each| &each.error));
    let outcomes: Vec<&str> = discarded.iter().map(|each| each.outcome.as_str()).collect();
    sqlx::query_as(schema.sql(DISCARD))
        .bind(process.0)
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .bind(columns.ran_us)
        .bind(errors.endings)
        .bind(errors.messages)
        .bind(errors.backtraces)
        .bind(outcomes)
        .bind(process_name)
        .fetch_all(conn)
        .await
        .map(job_ids)
}
