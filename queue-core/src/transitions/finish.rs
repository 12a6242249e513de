//! claimed → finished (done)

use sqlx::PgConnection;

use super::run::{Run, RunColumns};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const FINISH: &str = concat!(include_str!("finish.sql"), include_str!("free.sql"));

/// Finishes the jobs of runs that succeeded, and returns those it finished.
pub async fn finish(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    runs: &[Run],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = RunColumns::of(runs);
    let keyed: Vec<JobId> = runs
        .iter()
        .filter(|run| run.claim.has_key)
        .map(|run| run.claim.job_id)
        .collect();
    schema
        .query_scalar(FINISH)
        .bind(process.0)
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .bind(columns.ran_us)
        .bind(keyed)
        .fetch_all(conn)
        .await
}
