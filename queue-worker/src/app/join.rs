//! Joins: a job waits until the jobs of a batch have ended, and reads how.

use std::time::Duration;

use queue_core::encryption::without_values;
use queue_core::events::end_of_batch;
use queue_core::inspect::BatchSummary;
use queue_core::inspect::batches::{BatchEnd, ends, show};
use queue_core::{BatchId, JobId, begin_read_committed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checkpoints::Pause;
use super::context::Cx;
use super::step_error::StepError;
use super::steps::encode;

/// How many ends one statement reads.
const PAGE: u32 = 1_000;

/// A job that waits for a batch runs again after this time at the latest, and looks at the batch.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

/// How the jobs of a batch had ended when a job went on that had waited for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Joined {
    /// How many succeeded.
    pub done: i64,
    /// How many were discarded.
    pub discarded: i64,
    /// How many have failed.
    pub failed: i64,
    /// How many were cancelled.
    pub cancelled: i64,
}

/// A child job, and how it has ended. `T` is the type of its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Child<T> {
    /// The job.
    pub id: JobId,
    /// Its end.
    pub end: ChildEnd<T>,
}

/// How a child job has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChildEnd<T> {
    /// It succeeded, with the output that it has noted by [`Cx::output`], if any.
    Done(Option<T>),
    /// It was discarded, by its own rules or by an operator.
    Discarded,
    /// It was cancelled.
    Cancelled,
    /// It has failed for good, with this last error.
    Failed(String),
    /// It has not ended: an operator has retried it since, or its batch has not ended.
    Unended,
}

impl Joined {
    /// Returns whether no job failed or was cancelled.
    pub fn is_clean(&self) -> bool {
        self.failed + self.cancelled == 0
    }

    fn of(batch: &BatchSummary) -> Self {
        Self {
            done: batch.done,
            discarded: batch.discarded,
            failed: batch.failed,
            cancelled: batch.cancelled,
        }
    }
}

impl<S> Cx<S> {
    /// Waits until a batch has ended, as a step: the run ends, its slot becomes free, and the job runs again
    /// once each job of the batch is finished or has failed for good. This costs no attempt. Returns how they
    /// have ended, which stays the same in later runs; [`children_of`](Self::children_of) reads the end of each.
    ///
    /// A child that fails or is cancelled does nothing to this job by itself: it is a number in the answer, and
    /// the job decides.
    ///
    /// ```no_run
    /// # use queue_worker::{BoxError, ChildEnd, Cx, Job};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Count { path: String }
    /// # impl Job for Count { const KIND: &'static str = "count"; }
    /// async fn count(cx: &Cx<()>, paths: Vec<String>) -> Result<(), BoxError> {
    ///     let counts = paths.into_iter().map(|path| Count { path });
    ///     let batch = cx.child_batch("count", counts).await?;
    ///     let joined = cx.join(batch).await?;
    ///     let mut lines = 0;
    ///     for child in cx.children_of::<u64>(batch).await? {
    ///         if let ChildEnd::Done(Some(output)) = child.end {
    ///             lines += output;
    ///         }
    ///     }
    ///     println!("{lines} lines, {} files failed", joined.failed);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// The job may wait for any batch but its own, also for one that others add to. An open batch ends after
    /// [`Queue::close_batch`](queue_core::Queue::close_batch). In a context that a test has made, the batch has
    /// ended, without jobs.
    ///
    /// # Errors
    /// Returns a [`StepError`]: [`Joining`](StepError::Joining) while the job waits. The job should return it at
    /// once.
    pub async fn join(&self, batch: BatchId) -> Result<Joined, StepError> {
        let name = format!("join/{batch}");
        let turn = self.begin_step(&name).await?;
        if let Some(stored) = self.stored(&name, turn.occurrence) {
            let joined = self.decode(&name, stored)?;
            turn.finish();
            return Ok(joined);
        }
        if self.inner.claim.is_none() {
            turn.finish();
            return Ok(Joined::default());
        }
        if self.batch() == Some(batch) {
            return Err(StepError::OwnBatch(batch));
        }
        let summary = self.summary_of(batch).await?;
        if summary.completed_at.is_none() {
            self.pause_run(Pause::Waiting {
                event: end_of_batch(batch),
                left: LOOK_EVERY,
            });
            return Err(StepError::Joining(batch));
        }
        let joined = Joined::of(&summary);
        let result = encode(&name, &joined)?;
        self.record(&name, turn.occurrence, result).await?;
        turn.finish();
        Ok(joined)
    }

    /// Reads how the jobs of a batch have ended, in their order, with their outputs
    /// ([`output`](Self::output)). Jobs that were cleared meanwhile are left out.
    ///
    /// It is no step: each run reads what is so at that time, and an operator may have retried a failed child
    /// since. If the answer decides which steps follow, read it within a step.
    ///
    /// # Errors
    /// Returns a [`StepError`]: an output does not fit the type, or the database failed.
    pub async fn children_of<T: DeserializeOwned>(
        &self,
        batch: BatchId,
    ) -> Result<Vec<Child<T>>, StepError> {
        let queue = &self.inner.queue;
        let (mut children, mut after) = (Vec::new(), JobId(0));
        if self.inner.claim.is_none() {
            return Ok(children);
        }
        loop {
            let mut tx = begin_read_committed(queue.pool()).await?;
            let page = ends(&mut tx, queue.schema(), batch, after, PAGE).await?;
            tx.commit().await?;
            let Some(last) = page.last() else {
                return Ok(children);
            };
            after = last.id;
            for end in page {
                children.push(child(end)?);
            }
        }
    }

    async fn summary_of(&self, batch: BatchId) -> Result<BatchSummary, StepError> {
        let queue = &self.inner.queue;
        let mut tx = begin_read_committed(queue.pool()).await?;
        let summary = show(&mut tx, queue.schema(), batch).await?;
        tx.commit().await?;
        summary.ok_or(StepError::NoBatch(batch))
    }
}

fn child<T: DeserializeOwned>(found: BatchEnd) -> Result<Child<T>, StepError> {
    let output = found
        .output
        .map(|output| serde_json::from_str(output.get()))
        .transpose();
    let output = output.map_err(|source| StepError::Decode {
        name: format!("output of job {}", found.id),
        source: without_values(found.is_encrypted, source),
    })?;
    let end = match found.state.as_deref() {
        Some("done") => ChildEnd::Done(output),
        Some("discarded") => ChildEnd::Discarded,
        Some("cancelled") => ChildEnd::Cancelled,
        Some("failed") => ChildEnd::Failed(found.error.unwrap_or_default()),
        _ => ChildEnd::Unended,
    };
    Ok(Child { id: found.id, end })
}
