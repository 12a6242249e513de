//! scheduled, ready, blocked, failed → finished (discarded, cancelled); claimed jobs are asked to stop

use sqlx::PgConnection;

use super::run::job_ids;
use crate::job::{JobId, Outcome};
use crate::process::ProcessId;
use crate::sql::Schema;

const CANCEL: &str = include_str!("cancel.sql");
const AWAIT_MOVERS: &str = include_str!("await_movers.sql");
const REQUEST_CANCEL: &str = include_str!("request_cancel.sql");
const CANCEL_REQUESTS: &str = include_str!("cancel_requests.sql");

/// What became of jobs that were to be cancelled. A job in neither list was over already, or had
/// been asked to stop before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Those that had not begun, and are cancelled.
    pub ended: Vec<JobId>,
    /// Those that run, and were asked to stop.
    pub asked: Vec<JobId>,
}

/// How often jobs that could not be cancelled are looked at again. One that is moving reaches
/// the worker that claims it in two moves: from scheduled to ready, and on.
const LOOKS: usize = 3;

/// Cancels jobs wherever they are: ends those that have not begun, and asks those that run to
/// stop. A job that moves at this moment is met where it arrives; this waits for its mover. Not
/// for a transaction that has locked jobs in another order.
///
/// # Errors
/// Returns what the server answered.
pub async fn cancel(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Cancelled, sqlx::Error> {
    let mut cancelled = Cancelled::default();
    let mut rest = jobs.to_vec();
    for _ in 0..LOOKS {
        // In this order, a job that is claimed in between is still asked to stop.
        let ended = cancel_waiting(conn, schema, &rest, Outcome::Cancelled).await?;
        rest.retain(|job| !ended.contains(job));
        let asked = request_cancel(conn, schema, &rest).await?;
        rest.retain(|job| !asked.contains(job));
        cancelled.ended.extend(ended);
        cancelled.asked.extend(asked);
        if rest.is_empty() {
            break;
        }
        sqlx::query(schema.sql(AWAIT_MOVERS))
            .bind(ids(&rest))
            .execute(&mut *conn)
            .await?;
    }
    Ok(cancelled)
}

/// Ends jobs that are not running: scheduled, ready, blocked and failed ones. Returns those it ended.
///
/// # Errors
/// Returns what the server answered.
pub async fn cancel_waiting(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
    outcome: Outcome,
) -> Result<Vec<JobId>, sqlx::Error> {
    end(conn, schema, jobs, outcome, false).await
}

/// Ends waiting jobs like [`cancel_waiting`], and frees their unique keys whatever they say.
pub(crate) async fn supersede(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    end(conn, schema, jobs, Outcome::Cancelled, true).await
}

async fn end(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
    outcome: Outcome,
    frees_key: bool,
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_as(schema.sql(CANCEL))
        .bind(ids(jobs))
        .bind(outcome.as_str())
        .bind(frees_key)
        .fetch_all(conn)
        .await
        .map(job_ids)
}

/// Asks running jobs to stop, and returns those it asked. Each becomes cancelled when it stops;
/// one that ends well all the same is done.
///
/// # Errors
/// Returns what the server answered.
pub async fn request_cancel(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar(schema.sql(REQUEST_CANCEL))
        .bind(ids(jobs))
        .fetch_all(conn)
        .await
}

/// Finds the running jobs of a process that have been asked to stop, with their attempts.
///
/// # Errors
/// Returns what the server answered.
pub async fn cancel_requests(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
) -> Result<Vec<(JobId, i32)>, sqlx::Error> {
    let rows: Vec<(i64, i32)> = sqlx::query_as(schema.sql(CANCEL_REQUESTS))
        .bind(process.0)
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, attempt)| (JobId(id), attempt))
        .collect())
}

fn ids(jobs: &[JobId]) -> Vec<i64> {
    jobs.iter().map(|job| job.0).collect()
}
