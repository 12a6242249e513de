//! The jobs this process holds, and the way to ask them to stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use queue_core::JobId;
use queue_core::transitions::Claim;
use queue_core::transitions::claim::ClaimedJob;
use tokio_util::sync::CancellationToken;

/// Why a run is stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// An operator cancelled the job.
    Cancelled,
    /// It ran longer than it may.
    TimedOut,
    /// Its process stops and waits no longer, or may be taken for dead.
    Interrupted,
}

/// A job that this process holds: what the writer and the hooks need to know of it when its run
/// is long over.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) claim: Claim,
    pub(crate) kind: String,
    pub(crate) queue: String,
    /// The keys whose slots it holds.
    pub(crate) keys: Vec<String>,
    token: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl Held {
    fn of(job: &ClaimedJob) -> Self {
        Self {
            claim: job.claim,
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            keys: job.keys.clone(),
            token: CancellationToken::new(),
            reason: OnceLock::new(),
        }
    }

    /// Asks the job to stop. The first reason stays the reason.
    pub(crate) fn stop(&self, reason: StopReason) {
        let _first_wins = self.reason.set(reason);
        self.token.cancel();
    }

    /// Returns why the job was asked to stop, if it was.
    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    /// Returns the token that is cancelled when the job is asked to stop.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// All jobs that this process holds: in reserve, running, or ended and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    jobs: Mutex<HashMap<JobId, Arc<Held>>>,
}

impl Holdings {
    /// Notes claimed jobs, in their order.
    pub(crate) fn add(&self, jobs: &[ClaimedJob]) -> Vec<Arc<Held>> {
        let mut held = self.lock();
        jobs.iter()
            .map(|job| {
                let entry = Arc::new(Held::of(job));
                held.insert(job.claim.job_id(), Arc::clone(&entry));
                entry
            })
            .collect()
    }

    /// Forgets jobs whose end has been written. One that has been claimed again since is kept.
    pub(crate) fn remove<'a>(&self, ended: impl IntoIterator<Item = &'a Arc<Held>>) {
        let mut held = self.lock();
        for entry in ended {
            let id = entry.claim.job_id();
            if held.get(&id).is_some_and(|now| Arc::ptr_eq(now, entry)) {
                held.remove(&id);
            }
        }
    }

    /// Asks one run of a job to stop, if this process holds it.
    pub(crate) fn stop(&self, job: JobId, attempt: Option<i32>, reason: StopReason) {
        let held = self.lock().get(&job).cloned();
        if let Some(held) = held
            && attempt.is_none_or(|attempt| attempt == held.claim.attempt())
        {
            held.stop(reason);
        }
    }

    /// Asks every job to stop.
    pub(crate) fn stop_all(&self, reason: StopReason) {
        let all: Vec<Arc<Held>> = self.lock().values().cloned().collect();
        for held in all {
            held.stop(reason);
        }
    }

    /// Returns the claims of all jobs that are held.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        self.lock().values().map(|held| held.claim).collect()
    }

    /// Returns how many jobs are held.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Held>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
