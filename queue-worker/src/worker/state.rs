//! The state that the loops of a worker share, and the state that the workers of a process share.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use queue_core::Schema;
use queue_core::process::{Asked, ProcessId, ProcessRequest};
use queue_core::transitions::claim::ClaimedJob;
use queue_core::transitions::claim_limited::Parked;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gated::Gated;
use super::idle::IdleRows;
use super::lanes::Lanes;
use super::polling::Polling;
use super::signals::Signals;
use crate::attempt::{Completion, InFlight, Prefetch, Runner};
use crate::completer::{EndCounts, EndedInBatches, FreedKeys};
use crate::config::WorkerSettings;
use crate::lookout::Lookout;
use crate::metrics::Share;

/// The most bytes of arguments that one claim should bring, or a worker prefetch.
const CLAIM_BYTES: usize = 16 * 1024 * 1024;

/// The state that the workers of a process share.
pub(crate) struct Shared<S> {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) kinds: Vec<String>,
    pub(crate) runner: Runner<S>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) idle: IdleRows,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) completions: mpsc::Sender<Completion>,
    pub(crate) freed_keys: Arc<FreedKeys>,
    pub(crate) ended_in_batches: Arc<EndedInBatches>,
    /// Notified when an event is said to be emitted for which jobs wait.
    pub(crate) emitted: Arc<Notify>,
    pub(crate) counts: Arc<EndCounts>,
    /// What the process was asked to do.
    pub(crate) asked: Arc<watch::Sender<Asked>>,
    pub(crate) runs: TaskTracker,
    /// Cancelled when no more jobs may be claimed or started.
    pub(crate) stopping: CancellationToken,
}

pub(crate) struct Worker<S> {
    pub(super) settings: WorkerSettings,
    pub(super) shared: Arc<Shared<S>>,
    pub(super) signals: Signals,
    pub(super) floors: Floors,
    pub(super) prefetch: Arc<Prefetch>,
    /// The free slots, one permit each.
    pub(super) slots: Arc<Semaphore>,
    _slots: Share,
    pub(super) gated: Gated,
    /// How fast jobs come, and the queues that are polled. Outlives a claim loop that fails.
    pub(super) polling: Arc<tokio::sync::Mutex<Polling>>,
    /// The recent size of a job's arguments, in bytes.
    args_size: AtomicUsize,
    lanes: Mutex<Lanes>,
}

impl<S: Send + Sync + 'static> Worker<S> {
    pub(crate) fn new(settings: WorkerSettings, shared: Arc<Shared<S>>) -> Self {
        Self {
            lanes: Mutex::new(Lanes::new(settings.queues.clone())),
            slots: Arc::new(Semaphore::new(settings.concurrency)),
            _slots: Share::slots(settings.concurrency),
            settings,
            shared,
            signals: Signals::default(),
            floors: Floors::default(),
            prefetch: Arc::default(),
            gated: Gated::default(),
            polling: Arc::new(tokio::sync::Mutex::new(Polling::new(Instant::now()))),
            args_size: AtomicUsize::new(0),
        }
    }

    /// Wakes the worker because a queue, or any queue if none is named, may have new jobs. A `@`
    /// before the name stands for jobs with limits, a `!` for a queue that another process polled
    /// until now.
    pub(crate) fn wake(&self, news: Option<&str>) {
        if let Some(news) = news {
            let polled = news.strip_prefix('!');
            if polled.is_some() {
                self.shared.idle.renew_announcement();
                // A claim that finds other jobs would not look for those of open transactions.
                self.signals.late.notify_one();
            }
            let (queue, is_limited) = match news.strip_prefix('@') {
                Some(queue) => (queue, true),
                None => (polled.unwrap_or(news), false),
            };
            let mut lanes = self.lanes();
            if !lanes.serves(queue) {
                return;
            }
            lanes.learn(queue, is_limited);
            drop(lanes);
            self.signals.add_news(queue);
            if is_limited {
                self.gated.wake();
            }
        }
        self.signals.wake.notify_one();
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    /// Returns whether the process was asked to claim no more jobs.
    pub(super) fn is_quiet(&self) -> bool {
        self.shared.asked.borrow().request == Some(ProcessRequest::Quiet)
    }

    /// Returns how many more jobs to claim if so many are to be prefetched: not more than the
    /// completer's queue has room for.
    pub(super) fn room(&self, prefetched: usize) -> usize {
        let running = self.settings.concurrency - self.slots.available_permits();
        (self.settings.concurrency + prefetched)
            .saturating_sub(running + self.prefetch.len())
            .min(self.shared.completions.capacity())
    }

    /// Raises the floors above parked jobs.
    pub(super) fn raise_above(&self, parked: &[Parked]) {
        let mut lanes = self.lanes();
        for job in parked {
            lanes.advance(&job.queue, job.priority, job.track, job.seq);
        }
    }

    /// Prefetches claimed jobs, and raises the floors above them. Late jobs start before others.
    pub(super) fn take_in(&self, claimed: Vec<ClaimedJob>, are_late: bool) {
        self.note_sizes(&claimed);
        self.lanes().advance_above(&claimed);
        let in_flight = self.shared.in_flight.add(&claimed);
        let waiting = claimed.into_iter().zip(in_flight).collect();
        self.prefetch.fill(waiting, are_late);
    }

    /// Notes the size of arguments: at once when they are larger than before, slowly when they are
    /// smaller.
    fn note_sizes(&self, claimed: &[ClaimedJob]) {
        let bytes: usize = claimed.iter().map(|job| job.args.get().len()).sum();
        let mean = bytes / claimed.len().max(1);
        let before = self.args_size.load(Ordering::Relaxed);
        let now = mean.max((3 * before + mean) / 4);
        self.args_size.store(now, Ordering::Relaxed);
    }

    /// Returns how many jobs with arguments of the recent size may be in memory.
    pub(super) fn affordable(&self) -> usize {
        (CLAIM_BYTES / self.args_size.load(Ordering::Relaxed).max(1)).max(1)
    }

    /// Returns whether a floor is above places at which open transactions may still add jobs.
    pub(super) fn has_unsettled(&self) -> bool {
        self.lanes().highest_floor() > self.floors.settled()
    }
}

/// The places below the floors at which jobs may still appear.
#[derive(Debug)]
pub(super) struct Floors {
    /// Locked by every claim from above the floors, because it may raise them.
    pub(super) raising: tokio::sync::Mutex<()>,
    settled: AtomicI64,
    owed: AtomicI64,
}

/// The place owed when none is.
const NOTHING_OWED: i64 = i64::MAX;

impl Default for Floors {
    fn default() -> Self {
        Self {
            raising: tokio::sync::Mutex::new(()),
            settled: AtomicI64::new(0),
            owed: AtomicI64::new(NOTHING_OWED),
        }
    }
}

impl Floors {
    /// Returns the place up to which no open transaction can add a job.
    pub(super) fn settled(&self) -> i64 {
        self.settled.load(Ordering::Relaxed)
    }

    pub(super) fn settle(&self, place: i64) {
        self.settled.store(place, Ordering::Relaxed);
    }

    /// Makes the next claim with room look between a place and the floors first.
    pub(super) fn owe(&self, above: i64) {
        self.owed.fetch_min(above, Ordering::Relaxed);
    }

    /// Returns the place from which the next claim has to look first, if any, and clears it.
    pub(super) fn take_owed(&self) -> Option<i64> {
        let owed = self.owed.swap(NOTHING_OWED, Ordering::Relaxed);
        (owed < NOTHING_OWED).then_some(owed)
    }
}
