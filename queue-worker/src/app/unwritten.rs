//! What running jobs have set as their progress and the completer has not written yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use queue_core::JobId;
use queue_core::steps::progress::Progress;
use tokio::sync::Notify;

/// The newest unwritten value of each name, for all runs of a process.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    values: Mutex<BTreeMap<(JobId, String), Progress>>,
    added: Notify,
}

impl Unwritten {
    /// Sets a value, in place of an unwritten one of the same name.
    pub(crate) fn set(&self, progress: Progress) {
        let key = (progress.claim.job_id(), progress.name.clone());
        self.lock().insert(key, progress);
        self.added.notify_one();
    }

    /// Takes all values, in the order of their jobs.
    pub(crate) fn take(&self) -> Vec<Progress> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    /// Takes the values of one job.
    pub(crate) fn take_of(&self, job: JobId) -> Vec<Progress> {
        let mut values = self.lock();
        let of_job = (job, String::new())..(JobId(job.0 + 1), String::new());
        let taken = values.extract_if(of_job, |_, _| true);
        taken.map(|(_, progress)| progress).collect()
    }

    /// Waits until there is a value.
    pub(crate) async fn any(&self) {
        while self.lock().is_empty() {
            self.added.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(JobId, String), Progress>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
