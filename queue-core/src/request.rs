//! Requests to enqueue: built up, then awaited.

use std::borrow::Cow;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::batch::{Batch, EnqueuedBatch};
use crate::batches;
use crate::context::Context;
use crate::db;
use crate::job::{BatchId, Job, Options};
use crate::limit::Limits;
use crate::new_job::{EnqueueError, NewJob};
use crate::queue::Queue;
use crate::sql::Schema;
use crate::transitions::cancel::Cancelled;
use crate::transitions::copy::copy;
use crate::transitions::enqueue::{self, Enqueued};
use crate::unique::{OnConflict, Unique};

/// How often a request is tried that conflicts with other transactions.
pub(crate) const CONFLICTS_MAX: u32 = 20;

/// The most jobs, and the most bytes of arguments, that one round trip takes.
const CHUNK_JOBS_MAX: usize = 1_000;
const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, EnqueueError>> + Send + 'a>>;

impl Queue {
    /// Enqueues one job.
    pub fn enqueue<J: Job>(&self, job: J) -> Enqueue<'_> {
        Enqueue {
            many: EnqueueMany::new(self, NewJob::of(&job).map(|job| vec![job])),
        }
    }

    /// Enqueues many jobs of one kind, in order.
    pub fn enqueue_many<J: Job>(&self, jobs: impl IntoIterator<Item = J>) -> EnqueueMany<'_> {
        EnqueueMany::new(self, jobs.into_iter().map(|job| NewJob::of(&job)).collect())
    }

    /// Enqueues jobs of any kinds, in order.
    pub fn enqueue_all(&self, jobs: impl IntoIterator<Item = NewJob>) -> EnqueueMany<'_> {
        EnqueueMany::new(self, Ok(jobs.into_iter().collect()))
    }

    /// Enqueues very many jobs by COPY, the fastest way. Their ids are not returned, and they must be
    /// neither unique nor delayed.
    pub fn copy_jobs<'a, I>(&'a self, jobs: I) -> CopyJobs<'a, I::IntoIter>
    where
        I: IntoIterator<Item = Result<NewJob, EnqueueError>>,
        I::IntoIter: Send + 'a,
    {
        CopyJobs {
            queue: self,
            jobs: jobs.into_iter(),
            context: Context::ambient(),
            tx: None,
        }
    }

    /// Enqueues a batch, with its jobs and callbacks.
    pub fn enqueue_batch(&self, batch: Batch) -> EnqueueBatch<'_> {
        let mut batch = batch;
        batch.prepare(Context::ambient().as_ref());
        EnqueueBatch {
            queue: self,
            batch,
            tx: None,
        }
    }

    /// Closes a batch that was left open: it ends as soon as all its jobs have. Returns whether there is such
    /// a batch.
    ///
    /// # Errors
    /// Returns the error of the database.
    pub async fn close_batch(&self, batch: BatchId) -> Result<bool, sqlx::Error> {
        self.in_transaction(async |conn| batches::close(conn, &self.schema, batch).await)
            .await
    }

    /// Cancels a batch and those within it: they take no more jobs, jobs that wait are cancelled, and running
    /// ones are asked to cancel. Jobs that have ended stay as they are. Returns which jobs were cancelled or
    /// asked: none if the batch has ended, or there is no such batch.
    ///
    /// ```no_run
    /// # async fn example(queue: queue_core::Queue, batch: queue_core::BatchId) -> Result<(), sqlx::Error> {
    /// let cancelled = queue.cancel_batch(batch).await?;
    /// println!("{} cancelled, {} asked to stop", cancelled.ended.len(), cancelled.asked.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the error of the database. Some jobs may have been cancelled then; a sweep cancels the others.
    pub async fn cancel_batch(&self, batch: BatchId) -> Result<Cancelled, sqlx::Error> {
        let cancelling =
            async |conn: &mut _| batches::cancel_batch(conn, &self.schema, batch).await;
        match self.schema.is_pooled() {
            true => self.in_transaction(cancelling).await,
            false => cancelling(&mut *self.pool.acquire().await?).await,
        }
    }

    /// Checks a job as enqueueing it would, without a database, so that one of many can be refused before
    /// the others are sent.
    ///
    /// # Errors
    /// Refuses invalid names, too few attempts, and arguments that cannot be stored or encrypted.
    pub fn check(&self, job: &NewJob) -> Result<(), EnqueueError> {
        job.check(self.args_bytes_max)?;
        Ok(job.check_key(&self.schema)?)
    }
}

/// Where requests can be part of a transaction or of a batch: one queue, not many shards.
#[diagnostic::on_unimplemented(
    message = "transactions and batches are on one shard",
    note = "take a shard by its name, `shards.get(\"eu\")`, or that of a job, `shards.shard_of(&job)`, and enqueue there"
)]
pub trait OneQueue {}

impl OneQueue for Queue {}

/// A request to enqueue one job; await it.
#[must_use = "nothing is enqueued until the request is awaited"]
pub struct Enqueue<'a, To = Queue> {
    pub(crate) many: EnqueueMany<'a, To>,
}

impl<'a, To> Enqueue<'a, To> {
    /// Sets the queue, instead of the kind's.
    pub fn queue(self, queue: impl Into<Cow<'static, str>>) -> Self {
        self.with(|options| options.queue(queue))
    }

    /// Sets the priority, instead of the kind's: smaller is sooner.
    pub fn priority(self, priority: i16) -> Self {
        self.with(|options| options.priority(priority))
    }

    /// Sets how many attempts may end in an error, instead of the kind's number.
    pub fn attempts(self, attempts: i16) -> Self {
        self.with(|options| options.attempts(attempts))
    }

    /// Adds a label to find the job by.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(|options| options.tag(tag))
    }

    /// Delays the job by this much, by the database's clock.
    #[doc(alias = "wait")]
    #[doc(alias = "perform_in")]
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|options| options.delay(delay))
    }

    /// Delays the job until this time; a time in the past means no delay.
    #[doc(alias = "wait_until")]
    #[doc(alias = "perform_at")]
    pub fn at(self, time: DateTime<Utc>) -> Self {
        self.with(|options| options.at(time))
    }

    /// Sets when the job is a duplicate, instead of the rule of its kind.
    pub fn unique(self, unique: Unique) -> Self {
        self.with(|options| options.unique(unique))
    }

    /// Sets the limits, instead of those of the job.
    pub fn limits(self, limits: Limits) -> Self {
        self.with(|options| options.limits(limits))
    }

    /// Sets where the job comes from, instead of the current [`Context`].
    pub fn context(self, context: Context) -> Self {
        self.with(|options| options.context(context))
    }

    /// Adds the job to a batch that has not ended.
    pub fn batch(self, batch: BatchId) -> Self
    where
        To: OneQueue,
    {
        self.with(|options| options.batch(batch))
    }

    /// Enqueues in the caller's transaction: visible once it is committed, gone if it is rolled
    /// back. After an error the transaction can only be rolled back.
    pub fn tx(mut self, tx: &'a mut PgConnection) -> Self
    where
        To: OneQueue,
    {
        self.many.tx = Some(tx);
        self
    }

    fn with(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        if let Some(job) = self.many.jobs.iter_mut().flatten().next() {
            job.change(change);
        }
        self
    }
}

impl<'a> IntoFuture for Enqueue<'a> {
    type Output = Result<Enqueued, EnqueueError>;
    type IntoFuture = Answer<'a, Enqueued>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { only(self.many.send().await?) })
    }
}

/// Returns the answer for the only job.
pub(crate) fn only<T>(answers: Vec<T>) -> Result<T, EnqueueError> {
    let missing = || sqlx::Error::Protocol("no answer for the job".into());
    Ok(answers.into_iter().next().ok_or_else(missing)?)
}

/// A request to enqueue many jobs; await it. All are enqueued or none, and the answers are in the order
/// of the jobs. On several [`Shards`](crate::Shards), all jobs of one shard are enqueued or none of them.
///
/// Within each 1,000 jobs unique keys are taken in one order. Two transactions that take more of the same
/// keys, or that replace jobs, can deadlock: the server then ends one of them with the code 40P01. On a
/// pool the request is repeated; the transaction of a caller must be repeated by the caller.
#[must_use = "nothing is enqueued until the request is awaited"]
pub struct EnqueueMany<'a, To = Queue> {
    pub(crate) to: &'a To,
    pub(crate) jobs: Result<Vec<NewJob>, EnqueueError>,
    tx: Option<&'a mut PgConnection>,
}

impl<'a, To> EnqueueMany<'a, To> {
    /// The jobs inherit the current context.
    pub(crate) fn new(to: &'a To, mut jobs: Result<Vec<NewJob>, EnqueueError>) -> Self {
        let context = Context::ambient();
        for job in jobs.iter_mut().flatten() {
            job.inherit(context.as_ref());
        }
        Self { to, jobs, tx: None }
    }

    /// Changes the options of every job.
    ///
    /// ```no_run
    /// # use queue_core::{Job, Queue};
    /// # async fn example<J: Job>(queue: Queue, jobs: Vec<J>) -> Result<(), queue_core::EnqueueError> {
    /// queue
    ///     .enqueue_many(jobs)
    ///     .with(|options| options.queue("night").priority(10))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with(mut self, change: impl Fn(Options) -> Options) -> Self {
        for job in self.jobs.iter_mut().flatten() {
            job.change(&change);
        }
        self
    }

    /// Enqueues in the caller's transaction: visible once it is committed, gone if it is rolled
    /// back. After an error the transaction can only be rolled back.
    pub fn tx(mut self, tx: &'a mut PgConnection) -> Self
    where
        To: OneQueue,
    {
        self.tx = Some(tx);
        self
    }
}

impl EnqueueMany<'_> {
    async fn send(self) -> Result<Vec<Enqueued>, EnqueueError> {
        let jobs = self.jobs?;
        for job in &jobs {
            self.to.check(job)?;
        }
        match self.tx {
            Some(conn) => enqueue_chunks(conn, self.to, &jobs).await,
            None => enqueue_on_pool(self.to, &jobs).await,
        }
    }
}

/// Enqueues on the pool, and repeats that when the server prefers another transaction to ours: in a
/// deadlock, or where transactions are serializable by default.
pub(crate) async fn enqueue_on_pool(
    queue: &Queue,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, EnqueueError> {
    for _ in 1..CONFLICTS_MAX {
        match enqueue_on_pool_once(queue, jobs).await {
            Err(EnqueueError::Database(error)) if db::is_conflict(&error) => {}
            answer => return answer,
        }
    }
    enqueue_on_pool_once(queue, jobs).await
}

async fn enqueue_on_pool_once(
    queue: &Queue,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, EnqueueError> {
    if queue.schema.is_pooled() || needs_transaction(jobs) {
        let mut tx = db::begin_read_committed(&queue.pool).await?;
        let enqueued = enqueue_chunks(&mut tx, queue, jobs).await?;
        tx.commit().await?;
        return Ok(enqueued);
    }
    let mut conn = queue.pool.acquire().await?;
    enqueue_chunks(&mut conn, queue, jobs).await
}

impl<'a> IntoFuture for EnqueueMany<'a> {
    type Output = Result<Vec<Enqueued>, EnqueueError>;
    type IntoFuture = Answer<'a, Vec<Enqueued>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Returns whether the jobs need a transaction. A single statement needs none. Several chunks do, and so do
/// jobs of batches, a job that may replace another and several jobs with unique keys, since taken keys are
/// looked up by a second statement.
fn needs_transaction(jobs: &[NewJob]) -> bool {
    let rules = || jobs.iter().filter_map(|job| job.options.unique.as_ref());
    let may_replace = |unique: &Unique| unique.on_conflict == OnConflict::Replace;
    chunk_len(jobs) < jobs.len()
        || jobs.iter().any(|job| job.options.batch.is_some())
        || rules().any(may_replace)
        || (jobs.len() > 1 && rules().next().is_some())
}

pub(crate) async fn enqueue_chunks(
    conn: &mut PgConnection,
    queue: &Queue,
    mut jobs: &[NewJob],
) -> Result<Vec<Enqueued>, EnqueueError> {
    batches::join(conn, &queue.schema, jobs).await?;
    let mut enqueued: Vec<Enqueued> = Vec::with_capacity(jobs.len());
    let all = jobs;
    while !jobs.is_empty() {
        let (chunk, rest) = jobs.split_at(chunk_len(jobs));
        enqueued.extend(enqueue::enqueue(conn, &queue.schema, chunk).await?);
        jobs = rest;
    }
    let is_new = |index: usize| enqueued[index].is_new();
    batches::count_added(conn, &queue.schema, all, is_new).await?;
    Ok(enqueued)
}

/// Returns how many of the first jobs make up a chunk: at least one, if there is one.
fn chunk_len(jobs: &[NewJob]) -> usize {
    let mut bytes = 0;
    let fitting = jobs
        .iter()
        .take(CHUNK_JOBS_MAX)
        .take_while(|job| {
            bytes += job.args.json().len();
            bytes <= CHUNK_BYTES_MAX
        })
        .count();
    fitting.max(1).min(jobs.len())
}

/// A request to enqueue a batch; await it. All of it is enqueued or nothing.
#[must_use = "nothing is enqueued until the request is awaited"]
pub struct EnqueueBatch<'a> {
    queue: &'a Queue,
    batch: Batch,
    tx: Option<&'a mut PgConnection>,
}

impl<'a> EnqueueBatch<'a> {
    /// Enqueues in the caller's transaction: visible once it is committed, gone if it is rolled back. After
    /// an error the transaction can only be rolled back.
    pub fn tx(mut self, tx: &'a mut PgConnection) -> Self {
        self.tx = Some(tx);
        self
    }

    async fn send(self) -> Result<EnqueuedBatch, EnqueueError> {
        let Self {
            queue, mut batch, ..
        } = self;
        batch.check(queue.args_bytes_max)?;
        batch
            .all()
            .try_for_each(|job| job.check_key(&queue.schema))?;
        if let Some(conn) = self.tx {
            return batches::create(conn, &queue.schema, &mut batch).await;
        }
        let mut tx = db::begin_read_committed(&queue.pool).await?;
        let enqueued = batches::create(&mut tx, &queue.schema, &mut batch).await?;
        tx.commit().await?;
        Ok(enqueued)
    }
}

impl<'a> IntoFuture for EnqueueBatch<'a> {
    type Output = Result<EnqueuedBatch, EnqueueError>;
    type IntoFuture = Answer<'a, EnqueuedBatch>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A request to enqueue very many jobs by COPY; await it. Returns how many there were.
///
/// Jobs are taken from the iterator as they are sent, so that they need not fit in memory. On a pool each
/// chunk is committed by itself: after an error the chunks before it stay enqueued, as
/// [`CopyError::enqueued`] says. In a transaction all jobs are enqueued or none.
#[must_use = "nothing is enqueued until the request is awaited"]
pub struct CopyJobs<'a, I> {
    queue: &'a Queue,
    jobs: I,
    context: Option<Arc<Context>>,
    tx: Option<&'a mut PgConnection>,
}

/// Why a COPY ended early, and how many jobs had been committed by then.
#[derive(Debug, thiserror::Error)]
#[error("stopped after {enqueued} jobs")]
pub struct CopyError {
    /// The number of jobs that stay enqueued; in a caller's transaction none, once it is rolled back.
    pub enqueued: u64,
    /// What went wrong.
    #[source]
    pub source: EnqueueError,
}

/// The jobs in one COPY.
const COPY_JOBS: usize = 5_000;

impl<'a, I> CopyJobs<'a, I>
where
    I: Iterator<Item = Result<NewJob, EnqueueError>> + Send + 'a,
{
    /// Enqueues in the caller's transaction. After an error it can only be rolled back.
    pub fn tx(mut self, tx: &'a mut PgConnection) -> Self {
        self.tx = Some(tx);
        self
    }

    async fn send(mut self) -> Result<u64, CopyError> {
        let mut enqueued = 0;
        loop {
            match self.send_chunk().await {
                Ok(0) => return Ok(enqueued),
                Ok(sent) => enqueued += sent,
                Err(source) => return Err(CopyError { enqueued, source }),
            }
        }
    }

    async fn send_chunk(&mut self) -> Result<u64, EnqueueError> {
        let chunk = self.next_chunk()?;
        if chunk.is_empty() {
            return Ok(0);
        }
        let schema = &self.queue.schema;
        match &mut self.tx {
            Some(conn) => copy_counted(conn, schema, &chunk).await?,
            None => {
                let mut tx = db::begin_read_committed(&self.queue.pool).await?;
                copy_counted(&mut tx, schema, &chunk).await?;
                tx.commit().await?;
            }
        }
        Ok(chunk.len() as u64)
    }

    fn next_chunk(&mut self) -> Result<Vec<NewJob>, EnqueueError> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while chunk.len() < COPY_JOBS && bytes < CHUNK_BYTES_MAX {
            let Some(mut job) = self.jobs.next().transpose()? else {
                break;
            };
            job.inherit(self.context.as_ref());
            self.queue.check(&job)?;
            job.check_copyable()?;
            bytes += job.args.json().len();
            chunk.push(job);
        }
        Ok(chunk)
    }
}

/// Copies jobs, and counts them for their batches.
async fn copy_counted(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<(), EnqueueError> {
    batches::join(conn, schema, jobs).await?;
    copy(conn, schema, jobs).await?;
    Ok(batches::count_added(conn, schema, jobs, |_| true).await?)
}

impl<'a, I> IntoFuture for CopyJobs<'a, I>
where
    I: Iterator<Item = Result<NewJob, EnqueueError>> + Send + 'a,
{
    type Output = Result<u64, CopyError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
