//! When to reconcile the jobs that are claimed for this process with those that are in flight in
//! it.
//!
//! A claim whose answer was lost may have been committed, or may be later: the server ends our
//! statements only after a while, and a broken network may deliver one late. So the worker
//! reconciles at once, again when the claim has certainly ended, and every minute in any case.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::ANSWER_TIMEOUT;

/// How often to reconcile in any case.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct ReconcileTimer {
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    next: Instant,
    /// When the last failed claim has certainly ended.
    settled: Instant,
}

impl ReconcileTimer {
    pub(crate) fn new(now: Instant) -> Self {
        let next = now + INTERVAL;
        let times = Times { next, settled: now };
        Self {
            times: times.into(),
        }
    }

    /// Notes a claim that failed.
    pub(crate) fn note_failed_claim(&self, now: Instant) {
        *self.lock() = Times {
            next: now,
            settled: now + ANSWER_TIMEOUT,
        };
    }

    /// Returns whether it is time to reconcile.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.lock().next <= now
    }

    /// Notes a success, and when it began.
    pub(crate) fn note_reconciled(&self, began: Instant) {
        let mut times = self.lock();
        times.next = if times.settled > began {
            times.settled
        } else {
            began + INTERVAL
        };
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_claim_is_reconciled_at_once_and_again_when_it_has_certainly_ended() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let timer = ReconcileTimer::new(now);
        assert!(!timer.is_due(now));

        timer.note_failed_claim(now);
        assert!(timer.is_due(now));
        timer.note_reconciled(now);
        assert!(!timer.is_due(now + ANSWER_TIMEOUT - second));
        assert!(timer.is_due(now + ANSWER_TIMEOUT));
        timer.note_reconciled(now + ANSWER_TIMEOUT);
        assert!(!timer.is_due(now + ANSWER_TIMEOUT + INTERVAL - second));
        assert!(timer.is_due(now + ANSWER_TIMEOUT + INTERVAL));
    }
}
