//! claimed → finished (done)

use sqlx::PgConnection;

use super::run::{Columns, Run, job_ids};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const FINISH: &str = include_str!("finish.sql");
const STILL_CLAIMED: &str = include_str!("still_claimed.sql");
const WAS_WRITTEN: &str = include_str!("was_written.sql");

/// Finishes runs that ended well, and returns the jobs that it finished.
///
/// # Errors
/// Returns what the server answered.
pub async fn finish(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    runs: &[Run],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(runs);
    let keyed: Vec<i64> = runs
        .iter()
        .filter(|run| run.claim.has_key)
        .map(|run| run.claim.job_id.0)
        .collect();
    sqlx::query_as(schema.sql(FINISH))
        .bind(process.0)
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .bind(columns.ran_us)
        .bind(keyed)
        .fetch_all(conn)
        .await
        .map(job_ids)
}

/// Finds the runs that are still claimed by a process.
///
/// # Errors
/// Returns what the server answered.
pub async fn still_claimed(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    runs: &[Run],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(runs);
    sqlx::query_as(schema.sql(STILL_CLAIMED))
        .bind(process.0)
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .fetch_all(conn)
        .await
        .map(job_ids)
}

/// Finds the runs whose end stands written, by whatever transition: asked when the answer to the
/// write was lost.
///
/// # Errors
/// Returns what the server answered.
pub async fn was_written(
    conn: &mut PgConnection,
    schema: &Schema,
    runs: &[Run],
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(runs);
    sqlx::query_as(schema.sql(WAS_WRITTEN))
        .bind(columns.job_ids)
        .bind(columns.attempts)
        .fetch_all(conn)
        .await
        .map(job_ids)
}
