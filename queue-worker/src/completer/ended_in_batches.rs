//! The jobs of batches that this process has ended, until the service of batches has looked at what they
//! were the last of.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use queue_core::JobId;
use queue_core::batches::Ended;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct EndedInBatches {
    news: Mutex<News>,
    added: Notify,
}

/// Ends that were committed.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) ended: Ended,
    /// Jobs that have ended, and may have a batch.
    pub(crate) others: Vec<JobId>,
}

impl EndedInBatches {
    /// Adds jobs with their batches, once their ends are committed.
    pub(crate) fn add(&self, ended: Ended) {
        if !ended.is_empty() {
            self.lock().ended.extend(ended);
            self.added.notify_one();
        }
    }

    /// Adds jobs that may have a batch, once their ends are committed.
    pub(crate) fn add_others(&self, jobs: impl IntoIterator<Item = JobId>) {
        let jobs: BTreeSet<JobId> = jobs.into_iter().collect();
        if !jobs.is_empty() {
            self.lock().others.extend(jobs);
            self.added.notify_one();
        }
    }

    /// Takes all that were added.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    /// Waits for jobs to be added.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
