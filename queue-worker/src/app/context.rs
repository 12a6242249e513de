//! The context of a run: the facts of its attempt, and completion in a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use queue_core::inspect::BatchSummary;
use queue_core::inspect::batches::called_by;
use queue_core::process::ProcessId;
use queue_core::transitions::claim::ClaimedJob;
use queue_core::transitions::finish::finish;
use queue_core::transitions::{Claim, Run};
use queue_core::{BatchId, Context, JobId, Keys, Queue, begin_read_committed};
use sqlx::{PgConnection, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::checkpoints::{RunSteps, StepService};
use crate::connection::timely;

/// The facts of one run of a job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The job. Jobs of other shards have the same ids.
    pub job_id: JobId,
    /// The shard it is on, if the queue has shards.
    pub shard: Option<Arc<str>>,
    /// Its kind.
    pub kind: String,
    /// The queue it waited in.
    pub queue: String,
    /// Its priority; smaller is sooner.
    pub priority: i16,
    /// Its labels.
    pub tags: Vec<String>,
    /// The number of this run, from 1. Runs that cost no attempt are counted too.
    pub number: i32,
    /// The earlier runs that count against `attempts_max`.
    pub failures: i16,
    /// The runs that may end in an error before the job fails.
    pub attempts_max: i16,
    /// The earlier runs that ended because their process died.
    pub crashes: i16,
    /// When the job was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it last became ready.
    pub ready_at: DateTime<Utc>,
}

impl Attempt {
    pub(crate) fn of(job: &ClaimedJob, shard: Option<&Arc<str>>) -> Self {
        Self {
            job_id: job.claim.job_id(),
            shard: shard.cloned(),
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            priority: job.priority,
            tags: job.tags.clone(),
            number: job.claim.attempt(),
            failures: job.failures,
            attempts_max: job.attempts_max,
            crashes: job.crashes,
            created_at: job.created_at,
            ready_at: job.ready_at,
        }
    }

    /// Returns whether an error in this run fails the job, unless `on_error` decides otherwise.
    pub fn is_last(&self) -> bool {
        self.failures + 1 >= self.attempts_max
    }
}

/// The context of one run: the application's state, the facts of the attempt, and the token that
/// asks the job to stop. Cheap to clone.
pub struct Cx<S> {
    pub(crate) inner: Arc<RunContext<S>>,
}

/// What a [`Cx`] gives access to.
pub(crate) struct RunContext<S> {
    pub(crate) state: Arc<S>,
    pub(crate) context: Arc<Context>,
    pub(crate) queue: Queue,
    pub(crate) process: ProcessId,
    /// The right to end the run. A context that a test has made has none.
    pub(crate) claim: Option<Claim>,
    pub(crate) attempt: Attempt,
    /// The keys, if its kind is encrypted.
    pub(crate) keys: Option<Keys>,
    pub(crate) token: CancellationToken,
    pub(crate) started: Instant,
    /// Whether the job has called [`Cx::complete_in`].
    pub(crate) has_completed: AtomicBool,
    pub(crate) steps: RunSteps,
    pub(crate) steps_shared: Arc<StepService>,
}

/// Why a job could not be completed in its own transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// The job no longer belongs to this run: its process was declared dead, and the job was given
    /// to another. Roll the transaction back.
    #[error("job {0} was taken from this run: roll the transaction back")]
    Lost(JobId),
    /// The run has ended at a step, so that the job is not done. Roll the transaction back.
    #[error("job {0} is interrupted or sleeps, and goes on later: roll the transaction back")]
    Paused(JobId),
    /// The database failed.
    #[error("could not complete the job in the transaction")]
    Database(#[from] sqlx::Error),
}

/// How long [`Cx::complete_in`] waits for an answer.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(10);

impl<S> Cx<S> {
    /// Returns the application's state.
    pub fn state(&self) -> &S {
        &self.inner.state
    }

    /// Returns the job's id.
    pub fn job_id(&self) -> JobId {
        self.inner.attempt.job_id
    }

    /// Returns the facts of this attempt.
    pub fn attempt(&self) -> &Attempt {
        &self.inner.attempt
    }

    /// Returns where the job comes from. Jobs that it enqueues inherit that.
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// Returns the batch of the job. Until the job has ended, it can add jobs to it.
    pub fn batch(&self) -> Option<BatchId> {
        self.inner.claim?.batch()
    }

    /// Returns the batch whose end has started the job, if it is a callback, with its counts.
    ///
    /// # Errors
    /// Returns the error of the pool or the server.
    pub async fn called_by(&self) -> Result<Option<BatchSummary>, sqlx::Error> {
        let mut tx = begin_read_committed(self.inner.queue.pool()).await?;
        let batch = called_by(&mut tx, self.inner.queue.schema(), self.job_id()).await?;
        tx.commit().await?;
        Ok(batch)
    }

    /// Returns the queue, to enqueue further jobs.
    pub fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    /// Begins a transaction on the pool of the queue, for the tenant of the job if
    /// [`Queue::tenant_setting`] was called.
    ///
    /// # Errors
    /// Returns the error of the pool or the server.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.inner.queue.begin_for(&self.inner.context).await
    }

    /// Returns the token that is cancelled when the job should stop: because it was cancelled, ran
    /// out of time, or because its process stops and waits no longer.
    pub fn token(&self) -> &CancellationToken {
        &self.inner.token
    }

    /// Waits until the job should stop.
    pub async fn cancelled(&self) {
        self.inner.token.cancelled().await;
    }

    /// Returns whether the job should stop.
    pub fn is_cancelled(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// Finishes the job in the caller's transaction: the end of the job is committed together with
    /// what the transaction writes, or not at all. Call it last, commit, and return `Ok`.
    ///
    /// A run that returns `Ok` although its transaction was not committed counts as failed, and is
    /// retried.
    ///
    /// # Errors
    /// Returns [`CompleteError::Lost`] when the job no longer belongs to this run: the transaction
    /// must then be rolled back. Returns [`CompleteError::Paused`] when a step has ended the run. Returns [`CompleteError::Database`] also if the database does not answer
    /// within 10 seconds.
    pub async fn complete_in(&self, tx: &mut PgConnection) -> Result<(), CompleteError> {
        let inner = &*self.inner;
        let Some(claim) = inner.claim else {
            return Err(CompleteError::Lost(self.job_id()));
        };
        if inner.steps.pause.get().is_some() {
            return Err(CompleteError::Paused(self.job_id()));
        }
        // Once the job is finished, nothing can be written for this run.
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "could not write the progress of the job");
        }
        let runs = [Run {
            claim,
            ran: inner.started.elapsed(),
        }];
        let finishing = finish(tx, inner.queue.schema(), inner.process, &runs);
        let finished = timely(COMPLETE_TIMEOUT, finishing).await?;
        if finished.is_empty() {
            return Err(CompleteError::Lost(self.job_id()));
        }
        inner.has_completed.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns whether the job called [`complete_in`](Self::complete_in).
    pub(crate) fn has_completed(&self) -> bool {
        self.inner.has_completed.load(Ordering::Acquire)
    }
}

impl<S> Clone for Cx<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> std::fmt::Debug for Cx<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("attempt", &self.inner.attempt)
            .finish_non_exhaustive()
    }
}
