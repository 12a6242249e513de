//! Batches: which jobs belong together, and what waits for them. `settle.rs` says what happens when they have
//! ended.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::batch::{Batch, EnqueuedBatch};
use crate::job::{BatchId, JobId};
use crate::new_job::{EnqueueError, NewJob};
use crate::sql::Schema;
use crate::transitions::cancel::{Cancelled, cancel};
use crate::transitions::enqueue::{Enqueued, enqueue};
use crate::transitions::millis;
use crate::transitions::retry_now::retry_now;

use self::settle::{ROWS_MAX, cancel_unneeded, release, settle_found, settle_in};

pub use self::settle::{Ended, Unsettled, of_jobs, settle, settle_all};

mod settle;

const CREATE: &str = include_str!("create.sql");
const JOIN: &str = include_str!("join.sql");
const ADD: &str = include_str!("add.sql");
const DEPEND: &str = include_str!("depend.sql");
const CLOSE: &str = include_str!("close.sql");
const CANCEL: &str = include_str!("cancel.sql");
const UNENDED: &str = include_str!("unended.sql");
const FAILED: &str = include_str!("failed.sql");
const SWEEP: &str = include_str!("sweep.sql");
const CLEAR: &str = include_str!("clear.sql");

/// The most jobs that one statement cancels or retries.
const PAGE: i64 = 1_000;

/// The most jobs that one statement enqueues.
const CHUNK: usize = 1_000;

/// Locks the batches of new jobs against their end, until the transaction ends.
///
/// # Errors
/// Refuses jobs of a batch that has ended, was cancelled, or does not exist.
pub(crate) async fn join(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<(), EnqueueError> {
    let asked: BTreeSet<BatchId> = jobs.iter().filter_map(|job| job.options.batch).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let query = schema.query_scalar(JOIN).bind(asked.iter().bind_iter());
    let open: Vec<BatchId> = query.fetch_all(conn).await?;
    match asked.into_iter().find(|batch| !open.contains(batch)) {
        Some(batch) => Err(EnqueueError::BatchEnded(batch)),
        None => Ok(()),
    }
}

/// Counts new jobs for their batches.
pub(crate) async fn count_added(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
    is_new: impl Fn(usize) -> bool,
) -> Result<(), sqlx::Error> {
    let new = jobs.iter().enumerate().filter(|(index, _)| is_new(*index));
    let targets: Vec<i64> = new
        .filter_map(|(_, job)| Some(job.options.batch?.0))
        .collect();
    add(conn, schema, &targets).await
}

/// Adds one job to each target; a target that is named several times gets as many.
async fn add(conn: &mut PgConnection, schema: &Schema, targets: &[i64]) -> Result<(), sqlx::Error> {
    let mut sorted = targets.to_vec();
    sorted.sort_unstable();
    let counts: Vec<(i64, usize)> = sorted
        .chunk_by(|a, b| a == b)
        .map(|same| (same[0], same.len()))
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    let of = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    schema
        .query(ADD)
        .bind(counts.iter().map(|(target, _)| *target).bind_iter())
        .bind(counts.iter().map(|(_, count)| of(*count)).bind_iter())
        .execute(conn)
        .await?;
    Ok(())
}

/// Enqueues a batch with its jobs and callbacks, in the transaction of the caller.
pub(crate) async fn create(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: &mut Batch,
) -> Result<EnqueuedBatch, EnqueueError> {
    let parent: BTreeSet<BatchId> = batch.parent.into_iter().collect();
    let joined: Vec<BatchId> = schema
        .query_scalar(JOIN)
        .bind(parent.iter().bind_iter())
        .fetch_all(&mut *conn)
        .await?;
    if let Some(parent) = batch.parent.filter(|parent| !joined.contains(parent)) {
        return Err(EnqueueError::BatchEnded(parent));
    }
    let id: BatchId = schema
        .query_scalar(CREATE)
        .bind(batch.parent)
        .bind(&batch.name)
        .bind(batch.metadata.as_ref().map(ToString::to_string))
        .bind(!batch.is_open)
        .fetch_one(&mut *conn)
        .await?;
    for job in &mut batch.jobs {
        job.options.batch = Some(id);
    }
    let jobs = enqueue_all(conn, schema, &batch.jobs).await?;
    count_added(conn, schema, &batch.jobs, |index| jobs[index].is_new()).await?;
    depend(conn, schema, batch, &jobs).await?;
    let callbacks: Vec<NewJob> = batch.callbacks.iter().map(|(_, job)| job.clone()).collect();
    let enqueued = enqueue_all(conn, schema, &callbacks).await?;
    let waits = batch.callbacks.iter().zip(&enqueued);
    let waits = waits.filter(|(_, callback)| callback.is_new());
    let waits = waits.map(|((event, _), callback)| (id.0, callback.id(), event.as_str()));
    record_waits(conn, schema, &waits.collect::<Vec<_>>()).await?;
    settle_in(conn, schema, [id]).await?;
    Ok(EnqueuedBatch { id, jobs })
}

async fn enqueue_all(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let mut enqueued = Vec::with_capacity(jobs.len());
    for chunk in jobs.chunks(CHUNK) {
        enqueued.extend(enqueue(conn, schema, chunk).await?);
    }
    Ok(enqueued)
}

/// Records which of the enqueued jobs wait for which. A job whose dependencies were all left out, because
/// their unique keys were taken, becomes ready at once.
async fn depend(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: &Batch,
    jobs: &[Enqueued],
) -> Result<(), sqlx::Error> {
    let mut seen = BTreeSet::new();
    let mut waits = Vec::new();
    for (on, job, on_failure) in &batch.waits {
        let (on, job) = (jobs[*on], jobs[*job]);
        if on.is_new() && job.is_new() && seen.insert((on.id(), job.id())) {
            waits.push((on.id().0, job.id(), on_failure.as_str()));
        }
    }
    record_waits(conn, schema, &waits).await?;
    let targets: Vec<i64> = waits.iter().map(|(_, job, _)| job.0).collect();
    add(conn, schema, &targets).await?;
    let marked = batch
        .jobs
        .iter()
        .zip(jobs)
        .filter(|(job, _)| job.options.waits);
    let waiting: BTreeSet<i64> = targets.into_iter().collect();
    let waits_for_none = |job: &JobId| !waiting.contains(&job.0);
    let free: Vec<JobId> = marked
        .filter(|(_, enqueued)| enqueued.is_new())
        .map(|(_, enqueued)| enqueued.id())
        .filter(waits_for_none)
        .collect();
    release(conn, schema, &free).await
}

async fn record_waits(
    conn: &mut PgConnection,
    schema: &Schema,
    waits: &[(i64, JobId, &'static str)],
) -> Result<(), sqlx::Error> {
    if waits.is_empty() {
        return Ok(());
    }
    schema
        .query(DEPEND)
        .bind(waits.iter().map(|(on, ..)| *on).bind_iter())
        .bind(waits.iter().map(|(_, job, _)| *job).bind_iter())
        .bind(waits.iter().map(|(.., rule)| *rule).bind_iter())
        .execute(conn)
        .await?;
    Ok(())
}

/// Closes a batch: it ends as soon as all its jobs have. Returns whether there is such a batch.
pub async fn close(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
) -> Result<bool, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let closed: Option<BatchId> = schema
        .query_scalar(CLOSE)
        .bind(batch)
        .fetch_optional(&mut *tx)
        .await?;
    settle_in(&mut tx, schema, [batch]).await?;
    tx.commit().await?;
    Ok(closed.is_some())
}

/// Cancels a batch: it takes no more jobs, those that wait are cancelled, and running ones are asked to
/// cancel. So are the batches within it. Returns what happened to the jobs.
pub async fn cancel_batch(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
) -> Result<Cancelled, sqlx::Error> {
    let mut cancelled = Cancelled::default();
    let mut batches = vec![batch];
    while let Some(batch) = batches.pop() {
        let within: Vec<BatchId> = schema
            .query_scalar(CANCEL)
            .bind(batch)
            .fetch_all(&mut *conn)
            .await?;
        batches.extend(within);
        let mut after = JobId(0);
        loop {
            let jobs = page(conn, schema, UNENDED, batch, after).await?;
            let Some(last) = jobs.last() else { break };
            after = *last;
            let some = cancel(conn, schema, &jobs).await?;
            cancelled.ended.extend(some.ended);
            cancelled.asked.extend(some.asked);
        }
        let ended = Ended {
            batches: BTreeSet::from([batch]),
            jobs: BTreeSet::new(),
        };
        settle_all(conn, schema, ended).await?;
    }
    Ok(cancelled)
}

/// Makes the failed jobs of a batch ready again, and returns how many.
pub async fn retry_failed(
    conn: &mut PgConnection,
    schema: &Schema,
    batch: BatchId,
) -> Result<u64, sqlx::Error> {
    let (mut after, mut retried) = (JobId(0), 0);
    loop {
        let jobs = page(conn, schema, FAILED, batch, after).await?;
        let Some(last) = jobs.last() else {
            return Ok(retried);
        };
        after = *last;
        retried += retry_now(conn, schema, &jobs).await?.len() as u64;
    }
}

async fn page(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    batch: BatchId,
    after: JobId,
) -> Result<Vec<JobId>, sqlx::Error> {
    schema
        .query_scalar(statement)
        .bind(batch)
        .bind(after)
        .bind(PAGE)
        .fetch_all(conn)
        .await
}

/// What [`sweep`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many targets were to be settled.
    pub found: usize,
    /// Batches that were left open, and are closed now.
    pub abandoned: Vec<BatchId>,
}

/// Repairs what a crash has left behind, as `sweep.sql` says. A batch is abandoned if it is open for longer
/// than `open_max` and misses no job.
pub async fn sweep(
    conn: &mut PgConnection,
    schema: &Schema,
    open_max: Duration,
) -> Result<Swept, sqlx::Error> {
    let found: Vec<(i64, String)> = schema
        .query_as(SWEEP)
        .bind(ROWS_MAX)
        .bind(millis(open_max))
        .fetch_all(&mut *conn)
        .await?;
    let of = |finding: &str| -> Vec<BatchId> {
        let found = found.iter().filter(|(_, of)| of == finding);
        found.map(|(id, _)| BatchId(*id)).collect()
    };
    for batch in of("cancelled") {
        cancel_batch(conn, schema, batch).await?;
    }
    let targets: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
    if !targets.is_empty() {
        let unsettled = settle_found(conn, schema, &targets).await?;
        settle_all(conn, schema, unsettled.ended).await?;
    }
    Ok(Swept {
        found: found.len(),
        abandoned: of("abandoned"),
    })
}

/// Clears up to `limit` batches that ended longer ago than `keep`, and whose jobs were cleared. Returns how
/// many.
pub async fn clear_batches(
    conn: &mut PgConnection,
    schema: &Schema,
    keep: Duration,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let rows: Vec<Option<JobId>> = schema
        .query_scalar(CLEAR)
        .bind(millis(keep))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
    let waiting: Vec<JobId> = rows.iter().flatten().copied().collect();
    let cleared = rows.len() - waiting.len();
    cancel_unneeded(&mut tx, schema, &waiting).await?;
    tx.commit().await?;
    Ok(cleared as u64)
}
