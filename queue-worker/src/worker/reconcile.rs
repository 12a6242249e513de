//! When to ask whether jobs are claimed for this process that it does not know of.
//!
//! A claim whose answer was lost may be committed already, or yet: the server ends it by itself
//! only after a while, and a broken network may deliver it late. So it is asked at once, once
//! more when our statements have surely ended, and every now and then whatever happens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::PATIENCE;

/// How often to ask although nothing happened.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct ReconcileTimer {
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    next: Instant,
    /// When the last claim that failed has surely ended.
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

    /// Takes note of a claim that failed.
    pub(crate) fn raise(&self, now: Instant) {
        *self.lock() = Times {
            next: now,
            settled: now + PATIENCE,
        };
    }

    /// Tells whether it is time to ask.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.lock().next <= now
    }

    /// Takes note of an answer to what was asked at a moment.
    pub(crate) fn settle(&self, asked: Instant) {
        let mut times = self.lock();
        times.next = if times.settled > asked {
            times.settled
        } else {
            asked + INTERVAL
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
    fn after_a_lost_claim_it_is_asked_at_once_and_again_when_the_claim_must_have_ended() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let reconciling = ReconcileTimer::new(now);
        assert!(!reconciling.is_due(now));

        reconciling.raise(now);
        assert!(reconciling.is_due(now));
        reconciling.settle(now);
        assert!(!reconciling.is_due(now + PATIENCE - second));
        assert!(reconciling.is_due(now + PATIENCE));
        reconciling.settle(now + PATIENCE);
        assert!(!reconciling.is_due(now + PATIENCE + INTERVAL - second));
        assert!(reconciling.is_due(now + PATIENCE + INTERVAL));
    }
}
