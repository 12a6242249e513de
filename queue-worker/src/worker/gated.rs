//! What a worker remembers of its lanes with limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::transitions::claim_limited::LimitedClaim;

/// The most jobs with limits that one claim looks at: more than it has room for while some of them
/// have to be parked.
const WINDOW_MAX: usize = 1_000;

/// How long lanes with limits that had nothing are left alone while there are jobs without.
const GATED_REST: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
pub(super) struct Gated {
    window: AtomicUsize,
    /// Until when the lanes are left alone, and how many looks for room had been taken then.
    rest: Mutex<Option<(Instant, usize)>>,
}

impl Gated {
    /// Tells whether there was nothing a moment ago, and nobody has looked for room since.
    pub(super) fn rests(&self, looks_taken: usize) -> bool {
        self.rest()
            .is_some_and(|(until, looks)| Instant::now() < until && looks == looks_taken)
    }

    /// Takes note of how many jobs a claim found, before which so many looks had been taken.
    pub(super) fn note_found(&self, found: usize, looks_taken: usize) {
        *self.rest() = (found == 0).then(|| (Instant::now() + GATED_REST, looks_taken));
    }

    /// Takes note that something new has come.
    pub(super) fn wake(&self) {
        *self.rest() = None;
    }

    /// Returns how many jobs the next claim looks at, if it has room for fewer.
    pub(super) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    /// Widens the window while jobs have to be parked, and closes it when none had to.
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
    fn lanes_that_had_nothing_rest_until_somebody_looks_or_something_comes() {
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
