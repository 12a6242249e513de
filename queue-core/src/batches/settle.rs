//! Settling: what happens to batches and to jobs that wait when the last job that they miss has ended.
//!
//! The statement that ends a job of a batch adds a row to `deltas`, for its batch and for each job that
//! waits for it, and locks nothing that other ends need. A process that sees after its own commit that no
//! job is missing settles the target: of two ends that are committed at the same moment, the last one sees
//! both. A job that waits becomes ready or is cancelled; a batch is marked as ended, and the jobs that wait
//! for its end become ready, in one transaction. So each starts once. Jobs that wait for it within a run are
//! woken there, too (`events`).
//!
//! A batch is settled under a lock of its row, and the rows of `deltas` are added up after the lock was
//! obtained: a transaction that adds jobs holds the same lock until it commits. A target that is locked is
//! settled a moment later. If a process dies between the commit and the look, the sweep finds the target.

use std::collections::BTreeSet;

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::events::{end_of_batch, wake_joining};
use crate::job::{BatchId, JobId, Outcome};
use crate::sql::Schema;
use crate::transitions::cancel::cancel_waiting;

const LOOK: &str = include_str!("look.sql");
const LOCK: &str = include_str!("lock.sql");
const SETTLE: &str = include_str!("settle.sql");
const CALLBACKS: &str = include_str!("callbacks.sql");
const WAITING: &str = include_str!("waiting.sql");
const RELEASE: &str = include_str!("release.sql");
const FORGET: &str = include_str!("forget.sql");

/// How many rows a target may have before they are replaced by their sum.
pub(super) const ROWS_MAX: i64 = 200;

/// Ends that were committed, and whose targets are to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// The batches of the jobs.
    pub batches: BTreeSet<BatchId>,
    /// The jobs.
    pub jobs: BTreeSet<JobId>,
}

/// What [`settle`] has left to do.
#[derive(Clone, Debug, Default)]
pub struct Unsettled {
    /// Further ends, of jobs that it cancelled and of batches within others.
    pub ended: Ended,
    /// Batches that another transaction had locked.
    pub locked: BTreeSet<BatchId>,
    /// Whether it settled anything.
    pub has_settled: bool,
}

impl Ended {
    /// Returns whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.jobs.is_empty()
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        self.batches.extend(others.batches);
        self.jobs.extend(others.jobs);
    }
}

/// Looks at the targets of ends that were committed, and settles those that miss no job. Call it after the
/// commit, and again with what it returns.
pub async fn settle(
    conn: &mut PgConnection,
    schema: &Schema,
    ended: &Ended,
) -> Result<Unsettled, sqlx::Error> {
    let targets: Vec<i64> = schema
        .query_scalar(LOOK)
        .bind(ended.batches.iter().bind_iter())
        .bind(ended.jobs.iter().bind_iter())
        .bind(ROWS_MAX)
        .fetch_all(&mut *conn)
        .await?;
    if targets.is_empty() {
        return Ok(Unsettled::default());
    }
    let unsettled = settle_found(conn, schema, &targets).await?;
    let mut locked = unsettled.locked.clone();
    locked.retain(|batch| ended.batches.contains(batch));
    Ok(Unsettled {
        locked,
        ..unsettled
    })
}

/// Settles targets in a transaction of their own.
pub(super) async fn settle_found(
    conn: &mut PgConnection,
    schema: &Schema,
    targets: &[i64],
) -> Result<Unsettled, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let unsettled = settle_targets(&mut tx, schema, targets).await?;
    tx.commit().await?;
    Ok(unsettled)
}

/// Settles until nothing is left but what others have locked.
pub async fn settle_all(
    conn: &mut PgConnection,
    schema: &Schema,
    mut ended: Ended,
) -> Result<(), sqlx::Error> {
    while !ended.is_empty() {
        ended = settle(conn, schema, &ended).await?.ended;
    }
    Ok(())
}

/// Settles batches in the transaction that created or closed them.
pub(super) async fn settle_in(
    conn: &mut PgConnection,
    schema: &Schema,
    batches: impl IntoIterator<Item = BatchId>,
) -> Result<(), sqlx::Error> {
    let mut targets: Vec<i64> = batches.into_iter().map(|batch| batch.0).collect();
    while !targets.is_empty() {
        let unsettled = settle_targets(conn, schema, &targets).await?;
        // Only batches: a job that was cancelled is found by the sweep.
        targets = unsettled
            .ended
            .batches
            .iter()
            .map(|batch| batch.0)
            .collect();
    }
    Ok(())
}

/// Settles targets: jobs that wait, and batches.
async fn settle_targets(
    tx: &mut PgConnection,
    schema: &Schema,
    targets: &[i64],
) -> Result<Unsettled, sqlx::Error> {
    let waiting: Vec<(JobId, bool)> = schema
        .query_as(WAITING)
        .bind(targets)
        .fetch_all(&mut *tx)
        .await?;
    release(tx, schema, &marked(&waiting, false)).await?;
    let mut unsettled = Unsettled {
        has_settled: !waiting.is_empty(),
        ..Unsettled::default()
    };
    unsettled
        .cancel(tx, schema, &marked(&waiting, true))
        .await?;
    let locked: Vec<BatchId> = schema
        .query_scalar(LOCK)
        .bind(targets)
        .fetch_all(&mut *tx)
        .await?;
    let rest = targets.iter().map(|target| BatchId(*target));
    unsettled.locked = rest.filter(|batch| !locked.contains(batch)).collect();
    schema.query(FORGET).bind(targets).execute(&mut *tx).await?;
    if locked.is_empty() {
        return Ok(unsettled);
    }
    let ended: Vec<(BatchId, Option<BatchId>, bool)> = schema
        .query_as(SETTLE)
        .bind(&locked)
        .fetch_all(&mut *tx)
        .await?;
    if !ended.is_empty() {
        unsettled.has_settled = true;
        unsettled.call(tx, schema, &ended).await?;
    }
    Ok(unsettled)
}

impl Unsettled {
    /// Starts the callbacks of batches that have ended, cancels those that are no longer needed, and wakes the
    /// jobs that wait.
    async fn call(
        &mut self,
        tx: &mut PgConnection,
        schema: &Schema,
        ended: &[(BatchId, Option<BatchId>, bool)],
    ) -> Result<(), sqlx::Error> {
        let callbacks: Vec<(JobId, bool)> = schema
            .query_as(CALLBACKS)
            .bind(ended.iter().map(|(batch, ..)| *batch).bind_iter())
            .bind(ended.iter().map(|(.., is_clean)| *is_clean).bind_iter())
            .fetch_all(&mut *tx)
            .await?;
        release(tx, schema, &marked(&callbacks, true)).await?;
        let joined: Vec<String> = ended.iter().map(|(id, ..)| end_of_batch(*id)).collect();
        wake_joining(tx, schema, &joined).await?;
        self.ended
            .batches
            .extend(ended.iter().filter_map(|(_, parent, _)| *parent));
        self.cancel(tx, schema, &marked(&callbacks, false)).await
    }

    /// Cancels jobs that wait, which are ends like any other.
    async fn cancel(
        &mut self,
        tx: &mut PgConnection,
        schema: &Schema,
        jobs: &[JobId],
    ) -> Result<(), sqlx::Error> {
        let cancelled = cancel_unneeded(tx, schema, jobs).await?;
        self.ended.extend(of_jobs(tx, schema, &cancelled).await?);
        Ok(())
    }
}

/// Returns the jobs with this mark.
fn marked(jobs: &[(JobId, bool)], mark: bool) -> Vec<JobId> {
    let marked = jobs.iter().filter(|(_, is)| *is == mark);
    marked.map(|(job, _)| *job).collect()
}

/// Makes jobs ready that need not wait any longer.
pub(super) async fn release(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<(), sqlx::Error> {
    if !jobs.is_empty() {
        schema.query(RELEASE).bind(jobs).execute(conn).await?;
    }
    Ok(())
}

/// Returns the ends of jobs, to look at their targets: those of jobs with a batch.
pub async fn of_jobs(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Ended, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(Ended::default());
    }
    let found: Vec<(JobId, BatchId)> = schema
        .query_as(
            "select id, batch_id from queue.jobs where id = any ($1) and batch_id is not null",
        )
        .bind(jobs)
        .fetch_all(conn)
        .await?;
    Ok(Ended {
        jobs: found.iter().map(|(job, _)| *job).collect(),
        batches: found.iter().map(|(_, batch)| *batch).collect(),
    })
}

/// Cancels those of the jobs that still wait, and returns them.
pub(super) async fn cancel_unneeded(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let waiting: Vec<JobId> = schema
        .query_scalar("select job_id from queue.blocked where job_id = any ($1) and key = '@after'")
        .bind(jobs)
        .fetch_all(&mut *conn)
        .await?;
    cancel_waiting(conn, schema, &waiting, Outcome::Cancelled).await
}
