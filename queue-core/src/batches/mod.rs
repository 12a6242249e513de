//! Batches: which jobs belong together, what waits for them, and how their ends are settled.
//!
//! The statement that ends a job of a batch adds a row to `deltas`, for its batch and for each job that
//! waits for it, and locks nothing that other ends need. Who sees after its own commit that no job is
//! missing settles the target: of two ends that are committed at the same moment, the last one sees both.
//! A job that waits becomes ready or is cancelled; a batch is marked as ended, and the jobs that wait for
//! its end become ready, in one transaction. So each starts once.
//!
//! A batch is settled under a lock of its row, and the rows of `deltas` are added up after the lock was
//! obtained: a transaction that adds jobs holds the same lock until it commits. A target that is locked is
//! settled a moment later. If a process dies between the commit and the look, the sweep finds the target.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::batch::{Batch, EnqueuedBatch};
use crate::job::{BatchId, JobId, Outcome};
use crate::new_job::{EnqueueError, NewJob};
use crate::sql::Schema;
use crate::transitions::cancel::{Cancelled, cancel, cancel_waiting};
use crate::transitions::enqueue::{Enqueued, enqueue};
use crate::transitions::millis;
use crate::transitions::retry_now::retry_now;

const CREATE: &str = include_str!("create.sql");
const JOIN: &str = include_str!("join.sql");
const ADD: &str = include_str!("add.sql");
const DEPEND: &str = include_str!("depend.sql");
const CLOSE: &str = include_str!("close.sql");
const CANCEL: &str = include_str!("cancel.sql");
const UNENDED: &str = include_str!("unended.sql");
const FAILED: &str = include_str!("failed.sql");
const LOOK: &str = include_str!("look.sql");
const SWEEP: &str = include_str!("sweep.sql");
const LOCK: &str = include_str!("lock.sql");
const SETTLE: &str = include_str!("settle.sql");
const CALLBACKS: &str = include_str!("callbacks.sql");
const WAITING: &str = include_str!("waiting.sql");
const RELEASE: &str = include_str!("release.sql");
const FORGET: &str = include_str!("forget.sql");
const CLEAR: &str = include_str!("clear.sql");

/// How many rows a target may have before they are replaced by their sum.
const ROWS_MAX: i64 = 200;

/// The most jobs that one statement cancels or retries.
const PAGE: i64 = 1_000;

/// The most jobs that one statement enqueues.
const CHUNK: usize = 1_000;

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
    let mut tx = conn.begin().await?;
    let unsettled = settle_targets(&mut tx, schema, &targets).await?;
    tx.commit().await?;
    let mut locked = unsettled.locked.clone();
    locked.retain(|batch| ended.batches.contains(batch));
    Ok(Unsettled {
        locked,
        ..unsettled
    })
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
        let mut tx = conn.begin().await?;
        let unsettled = settle_targets(&mut tx, schema, &targets).await?;
        tx.commit().await?;
        settle_all(conn, schema, unsettled.ended).await?;
    }
    Ok(Swept {
        found: found.len(),
        abandoned: of("abandoned"),
    })
}

/// Settles batches in the transaction that created or closed them.
async fn settle_in(
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
    let which = |is_cancelled: bool| -> Vec<JobId> {
        let which = waiting.iter().filter(|(_, is)| *is == is_cancelled);
        which.map(|(job, _)| *job).collect()
    };
    release(tx, schema, &which(false)).await?;
    let mut unsettled = Unsettled {
        has_settled: !waiting.is_empty(),
        ..Unsettled::default()
    };
    unsettled.cancel(tx, schema, &which(true)).await?;
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
    /// Starts the callbacks of batches that have ended, and cancels those that are no longer needed.
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
        let which = |starts: bool| -> Vec<JobId> {
            let which = callbacks.iter().filter(|(_, is)| *is == starts);
            which.map(|(job, _)| *job).collect()
        };
        release(tx, schema, &which(true)).await?;
        self.ended
            .batches
            .extend(ended.iter().filter_map(|(_, parent, _)| *parent));
        self.cancel(tx, schema, &which(false)).await
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

/// Makes jobs ready that need not wait any longer.
async fn release(
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

/// Cancels those of the jobs that still wait, and returns them.
async fn cancel_unneeded(
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
