//! The lanes with limits of a worker: when they rest, and how many jobs a claim looks at.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::transitions::claim_limited::LimitedClaim;

/// The most jobs with limits that one claim looks at. It looks at more than it has room for while
/// some have to be parked.
const WINDOW_MAX: usize = 1_000;

/// How long empty lanes with limits rest while there are jobs without limits.
const GATED_REST: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
pub(super) struct Gated {
    window: AtomicUsize,
    /// Until when the lanes rest, and how many checks of freed keys there had been before.
    rest: Mutex<Option<(Instant, usize)>>,
}

impl Gated {
    /// Returns whether the lanes were just empty, and no freed keys have been checked since.
    pub(super) fn rests(&self, checks: usize) -> bool {
        self.rest()
            .is_some_and(|(until, before)| Instant::now() < until && before == checks)
    }

    /// Notes how many jobs a claim found, and how many checks there had been before it.
    pub(super) fn note_found(&self, found: usize, checks: usize) {
        *self.rest() = (found == 0).then(|| (Instant::now() + GATED_REST, checks));
    }

    /// Ends the rest: a job has come.
    pub(super) fn wake(&self) {
        *self.rest() = None;
    }

    /// Returns how many jobs the next claim looks at, if it has room for fewer.
    pub(super) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    /// Widens the window while jobs have to be parked, and closes it when none had to be.
    pub(super) fn note_claim(&self, room: usize, claim: &LimitedClaim) {
        let window = self.window();
        let next = match (claim.parked.is_empty(), claim.jobs.is_empty()) {
            (false, _) => (4 * window.max(room)).min(WINDOW_MAX),
            (true, false) => 0,
            (true, true) => window,
        };
        self.window.store(next, Ordering::Relaxed);
    }

    fn rest(&self) -> MutexGuard<'_, Option<(Instant, usize)>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lanes_rest_until_keys_are_checked_or_a_job_comes() {
        let gated = Gated::default();
        assert!(!gated.rests(0));
        gated.note_found(0, 0);
        assert!(gated.rests(0));
        assert!(!gated.rests(1));
        gated.wake();
        assert!(!gated.rests(0));
        gated.note_found(3, 0);
        assert!(!gated.rests(0));
    }
}
