//! What running jobs have set as their progress and the completer has not written yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use queue_core::JobId;
use queue_core::steps::progress::Progress;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

/// The newest unwritten value of each name, for all runs of a process.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    values: Mutex<BTreeMap<(JobId, String), Progress>>,
    added: Notify,
    /// Held from before all values are taken until they are written.
    writing: Arc<AsyncMutex<()>>,
}

impl Unwritten {
    /// Sets a value, in place of an unwritten one of the same name.
    pub(crate) fn set(&self, progress: Progress) {
        let key = (progress.claim.job_id(), progress.name.clone());
        self.lock().insert(key, progress);
        self.added.notify_one();
    }

    /// Takes all values, in the order of their jobs. Hold the guard until they are written: runs wait for
    /// that before they end.
    pub(crate) async fn take(&self) -> (Vec<Progress>, OwnedMutexGuard<()>) {
        let writing = Arc::clone(&self.writing).lock_owned().await;
        let taken = std::mem::take(&mut *self.lock());
        (taken.into_values().collect(), writing)
    }

    /// Takes the values of one job, and waits until those that were taken before are written.
    pub(crate) async fn take_of(&self, job: JobId) -> Vec<Progress> {
        let taken = {
            let mut values = self.lock();
            let of_job = (job, String::new())..(JobId(job.0 + 1), String::new());
            let taken = values.extract_if(of_job, |_, _| true);
            taken.map(|(_, progress)| progress).collect()
        };
        let _written = self.writing.lock().await;
        taken
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
