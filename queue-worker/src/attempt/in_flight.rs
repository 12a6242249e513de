//! The jobs that are in flight in this process, and how they are asked to stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use queue_core::transitions::Claim;
use queue_core::transitions::claim::ClaimedJob;
use queue_core::{Context, JobId};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::handover::Handover;
use super::reconcile::ReconcileTimer;

/// Why a run is stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// An operator cancelled the job.
    Cancelled,
    /// It ran longer than its timeout.
    TimedOut,
    /// Its process stops and waits no longer, or may be presumed dead.
    Interrupted,
}

/// A job that this process has claimed, with what the completer and the hooks need once its run is
/// over.
#[derive(Debug)]
pub(crate) struct InFlightJob {
    pub(crate) claim: Claim,
    pub(crate) kind: String,
    pub(crate) queue: String,
    /// Where it comes from; empty if that cannot be read.
    pub(crate) context: Arc<Context>,
    /// When it became ready.
    pub(crate) ready_since: Instant,
    /// The keys whose slots it holds.
    pub(crate) keys: Vec<String>,
    /// Set if its slot may be handed over.
    pub(crate) handover: Option<Handover>,
    /// Cancelled when the job is asked to stop.
    pub(super) token: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl InFlightJob {
    fn of(job: &ClaimedJob, handover: Option<Handover>, now: Instant) -> Self {
        let waited = (job.claimed_at - job.ready_at).to_std().unwrap_or_default();
        Self {
            claim: job.claim,
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            context: job.context.clone().unwrap_or_default(),
            ready_since: now.checked_sub(waited).unwrap_or(now),
            keys: job.keys.clone(),
            handover,
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
}

/// All jobs that this process has claimed: prefetched, running, or ended and not yet recorded.
#[derive(Debug)]
pub(crate) struct InFlight {
    jobs: Mutex<HashMap<JobId, Arc<InFlightJob>>>,
    /// Held for reading by every claim, and for writing when none may be under way.
    pub(crate) claiming: RwLock<()>,
    /// When to look for claims of this process that are not in flight.
    pub(crate) reconcile_timer: ReconcileTimer,
}

impl InFlight {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            jobs: Mutex::default(),
            claiming: RwLock::new(()),
            reconcile_timer: ReconcileTimer::new(now),
        }
    }

    /// Adds claimed jobs, and returns them in their order.
    pub(crate) fn add(&self, jobs: &[ClaimedJob]) -> Vec<Arc<InFlightJob>> {
        let now = Instant::now();
        let mut in_flight = self.lock();
        jobs.iter()
            .map(|job| {
                let handover = Handover::of(job, now);
                let entry = Arc::new(InFlightJob::of(job, handover, now));
                in_flight.insert(job.claim.job_id(), Arc::clone(&entry));
                entry
            })
            .collect()
    }

    /// Adds a job that was claimed in the slot of another, and returns it.
    pub(crate) fn add_handed(&self, job: &ClaimedJob, handover: Handover) -> Arc<InFlightJob> {
        let entry = Arc::new(InFlightJob::of(job, Some(handover), Instant::now()));
        self.lock().insert(job.claim.job_id(), Arc::clone(&entry));
        entry
    }

    /// Removes jobs whose outcome is recorded. One that has been claimed again since is kept.
    pub(crate) fn remove<'a>(&self, ended: impl IntoIterator<Item = &'a Arc<InFlightJob>>) {
        let mut in_flight = self.lock();
        for entry in ended {
            let id = entry.claim.job_id();
            if in_flight
                .get(&id)
                .is_some_and(|now| Arc::ptr_eq(now, entry))
            {
                in_flight.remove(&id);
            }
        }
    }

    /// Asks one run of a job to stop, if it is in flight.
    pub(crate) fn stop(&self, job: JobId, attempt: Option<i32>, reason: StopReason) {
        let found = self.lock().get(&job).cloned();
        if let Some(found) = found
            && attempt.is_none_or(|attempt| attempt == found.claim.attempt())
        {
            found.stop(reason);
        }
    }

    /// Asks every job to stop.
    pub(crate) fn stop_all(&self, reason: StopReason) {
        let all: Vec<Arc<InFlightJob>> = self.lock().values().cloned().collect();
        for job in all {
            job.stop(reason);
        }
    }

    /// Returns the claims of all jobs in flight.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        self.lock().values().map(|job| job.claim).collect()
    }

    /// Returns how many jobs are in flight.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<InFlightJob>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
