//! scheduled, ready, blocked, failed → finished (discarded, cancelled); claimed jobs are asked to cancel

use sqlx::PgConnection;

use crate::job::{JobId, Outcome};
use crate::process::ProcessId;
use crate::sql::Schema;

const CANCEL: &str = concat!(
    include_str!("cancel.sql"),
    include_str!("count.sql"),
    ")\nselect job_id\nfrom closed"
);
const AWAIT_MOVERS: &str = include_str!("await_movers.sql");
const REQUEST_CANCEL: &str = include_str!("request_cancel.sql");
const CANCEL_REQUESTS: &str = include_str!("cancel_requests.sql");

/// What [`cancel`] did. A job in neither list was finished, or had been asked to cancel before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Jobs that were not running, and are cancelled.
    pub ended: Vec<JobId>,
    /// Running jobs that were asked to cancel.
    pub asked: Vec<JobId>,
}

/// How often jobs are tried that could not be cancelled. A job that moves meanwhile is claimed after two
/// moves: from scheduled to ready, and on.
const TRIES: usize = 3;

/// Cancels jobs in any state: ends those that are not running, and asks running ones to cancel. When a
/// job is being moved, waits for the transaction that moves it and tries again. Must not be called in a
/// transaction that has locked jobs in another order than that of their ids.
pub async fn cancel(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Cancelled, sqlx::Error> {
    let mut cancelled = Cancelled::default();
    let mut rest = jobs.to_vec();
    for _ in 0..TRIES {
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
        schema
            .query(AWAIT_MOVERS)
            .bind(&rest)
            .execute(&mut *conn)
            .await?;
    }
    Ok(cancelled)
}

/// Ends jobs that are not running: scheduled, ready, blocked and failed ones. Returns those it ended.
pub async fn cancel_waiting(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
    outcome: Outcome,
) -> Result<Vec<JobId>, sqlx::Error> {
    end(conn, schema, jobs, outcome, false).await
}

/// Ends waiting jobs like [`cancel_waiting`], and frees their unique keys in any case.
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
    schema
        .query_scalar(CANCEL)
        .bind(jobs)
        .bind(outcome.as_str())
        .bind(frees_key)
        .fetch_all(conn)
        .await
}

/// Asks running jobs to cancel, and returns those it asked. Each is cancelled when it stops; a job that
/// succeeds all the same is done.
pub async fn request_cancel(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    schema
        .query_scalar(REQUEST_CANCEL)
        .bind(jobs)
        .fetch_all(conn)
        .await
}

/// Returns the running jobs of a process that have been asked to cancel, with their attempts.
pub async fn cancel_requests(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
) -> Result<Vec<(JobId, i32)>, sqlx::Error> {
    schema
        .query_as(CANCEL_REQUESTS)
        .bind(process.0)
        .fetch_all(conn)
        .await
}
