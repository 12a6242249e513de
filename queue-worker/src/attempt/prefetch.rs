//! Jobs that are claimed but not begun.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use queue_core::transitions::claim::ClaimedJob;
use tokio::sync::Notify;

use super::in_flight::InFlightJob;

/// A job waiting for a slot.
pub(crate) type Waiting = (ClaimedJob, Arc<InFlightJob>);

/// The prefetched jobs of one worker.
#[derive(Debug, Default)]
pub(crate) struct Prefetch {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Whether the process stops or is quiet, so that no waiting job will be started.
    closed: AtomicBool,
    filled: Notify,
    room: Notify,
    /// How many runs have ended in all.
    ended: AtomicUsize,
    /// How many jobs should wait.
    target: AtomicUsize,
    /// One more than the number of runs that had ended when jobs were last given back because no
    /// run ended; 0 if that never happened.
    stalled_at: AtomicUsize,
}

impl Prefetch {
    /// Adds claimed jobs: ordinary ones behind those that wait, late ones before them.
    pub(crate) fn fill(&self, jobs: Vec<Waiting>, are_late: bool) {
        let mut waiting = self.lock();
        if are_late {
            for job in jobs.into_iter().rev() {
                waiting.push_front(job);
            }
        } else {
            waiting.extend(jobs);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits until there is a job.
    pub(crate) async fn is_filled(&self) {
        while self.len() == 0 {
            self.filled.notified().await;
        }
    }

    /// Takes the next job, if there is one.
    pub(crate) fn next(&self) -> Option<Waiting> {
        let job = self.lock().pop_front()?;
        self.room.notify_one();
        Some(job)
    }

    /// Refuses slots that are handed over from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Accepts slots again.
    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    /// Returns whether no job will be started any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes all jobs behind the first `kept`, to give them back.
    pub(crate) fn take_behind(&self, kept: usize) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let kept = kept.min(waiting.len());
        waiting.split_off(kept).into()
    }

    /// Returns how many jobs wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Notes that a run has ended.
    pub(crate) fn note_end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Returns how many runs have ended in all.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn set_target(&self, jobs: usize) {
        self.target.store(jobs, Ordering::Relaxed);
    }

    /// Returns how many jobs should wait.
    pub(crate) fn target(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    /// Notes that jobs are given back because no run ends.
    pub(crate) fn note_stalled(&self) {
        self.stalled_at.store(self.ended() + 1, Ordering::Relaxed);
    }

    /// Returns whether no run has ended since jobs were given back.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled_at.load(Ordering::Relaxed) == self.ended() + 1
    }

    /// Waits until a job has been taken or a run has ended.
    pub(crate) async fn has_room(&self) {
        self.room.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
