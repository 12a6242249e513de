//! Child jobs, which a job enqueues exactly once however often it runs.

use queue_core::{Batch, BatchId, Job, JobId};

use super::context::Cx;
use super::step_error::StepError;

impl<S> Cx<S> {
    /// Enqueues a child job, as a step: it is enqueued exactly once, and later runs of this job get the id of
    /// the same child.
    ///
    /// ```no_run
    /// # use queue_worker::{BoxError, Cx, Job, JobId};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Hash { path: String }
    /// # impl Job for Hash { const KIND: &'static str = "hash"; }
    /// # async fn scan(cx: &Cx<()>, paths: Vec<String>) -> Result<(), BoxError> {
    /// let first: JobId = cx.child("first", Hash { path: "a".to_owned() }).await?;
    /// let hashes = paths.into_iter().map(|path| Hash { path });
    /// let all: Vec<JobId> = cx.children("all", hashes).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns a [`StepError`]. The job should return it at once.
    pub async fn child<J: Job>(&self, name: &str, job: J) -> Result<JobId, StepError> {
        self.step_tx(name, async |tx| {
            let enqueued = self.queue().enqueue(job).tx(tx).await?;
            Ok(enqueued.id())
        })
        .await
    }

    /// Enqueues child jobs, like [`child`](Self::child), and returns their ids in the order of the jobs. There
    /// may be some ten thousand.
    ///
    /// # Errors
    /// Returns a [`StepError`]. The job should return it at once.
    pub async fn children<J: Job>(
        &self,
        name: &str,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<JobId>, StepError> {
        self.step_tx(name, async |tx| {
            let enqueued = self.queue().enqueue_many(jobs).tx(tx).await?;
            Ok(enqueued.iter().map(|job| job.id()).collect())
        })
        .await
    }

    /// Enqueues child jobs as a batch, like [`children`](Self::children), and returns the batch, to wait for with
    /// [`join`](Self::join).
    ///
    /// # Errors
    /// Returns a [`StepError`]. The job should return it at once.
    pub async fn child_batch<J: Job>(
        &self,
        name: &str,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<BatchId, StepError> {
        self.step_tx(name, async |tx| {
            let mut batch = Batch::new().name(name);
            for job in jobs {
                batch.add(&job)?;
            }
            let enqueued = self.queue().enqueue_batch(batch).tx(tx).await?;
            Ok(enqueued.id)
        })
        .await
    }
}
