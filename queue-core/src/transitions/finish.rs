//! claimed → finished (done)

use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt as _;

use super::run::{Run, micros};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const FINISH: &str = concat!(include_str!("finish.sql"), include_str!("free.sql"));
const FINISH_IN_BATCHES: &str = concat!(
    include_str!("finish.sql"),
    include_str!("count_ended.sql"),
    include_str!("count.sql"),
    include_str!("free.sql")
);

/// Finishes the jobs of runs that succeeded, and returns those it finished.
pub async fn finish(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    runs: &[Run],
) -> Result<Vec<JobId>, sqlx::Error> {
    // Jobs without a batch are not counted, which would cost a little.
    let statement = match runs.iter().any(|run| run.claim.batch.is_some()) {
        true => FINISH_IN_BATCHES,
        false => FINISH,
    };
    let keyed = runs.iter().filter(|run| run.claim.has_key);
    schema
        .query_scalar(statement)
        .bind(process.0)
        .bind(runs.iter().map(|run| run.claim.job_id).bind_iter())
        .bind(runs.iter().map(|run| run.claim.attempt).bind_iter())
        .bind(runs.iter().map(|run| micros(run.ran)).bind_iter())
        .bind(keyed.map(|run| run.claim.job_id).bind_iter())
        .fetch_all(conn)
        .await
}
