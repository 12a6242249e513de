//! The slots of limits that runs hand over: when a run ends, the next job that is blocked by its key
//! takes its place in the same worker.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use queue_core::transitions::claim::{ClaimedJob, Track};
use queue_core::transitions::hand_over::{Handed, Offer};

use super::prefetch::Prefetch;

/// How long a slot is handed over from run to run. Then it is freed, and claims decide again: jobs of
/// other groups, priorities and queues wait no longer than this.
const SERIES_MAX: Duration = Duration::from_millis(100);

/// The right of a run to hand its slot over when it ends.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) offer: Offer,
    /// When the first run of the series was claimed.
    since: Instant,
    /// Where the next job waits for its run.
    prefetch: Weak<Prefetch>,
}

impl Handover {
    /// Returns the right of a claimed job, if it was blocked before: then others may wait behind it.
    pub(super) fn of(job: &ClaimedJob, now: Instant, prefetch: &Weak<Prefetch>) -> Option<Self> {
        (job.track == Track::Unblocked && job.keys.len() == 1).then(|| Self {
            offer: Offer::default(),
            since: now,
            prefetch: Weak::clone(prefetch),
        })
    }

    /// Returns the right of the job that got the slot.
    pub(crate) fn continued(&self, handed: Handed) -> Self {
        Self {
            offer: Offer { last: Some(handed) },
            since: self.since,
            prefetch: Weak::clone(&self.prefetch),
        }
    }

    /// Returns where the next job would wait, if the slot may be handed over now.
    pub(crate) fn target(&self, now: Instant) -> Option<Arc<Prefetch>> {
        let prefetch = self.prefetch.upgrade()?;
        (now.duration_since(self.since) < SERIES_MAX && !prefetch.is_closed()).then_some(prefetch)
    }
}
