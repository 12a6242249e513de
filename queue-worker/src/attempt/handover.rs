//! The slots of limits that runs hand over: when a run ends, the next job that is blocked by its key
//! takes its place in the same worker.

use std::time::{Duration, Instant};

use queue_core::transitions::claim::{ClaimedJob, Track};
use queue_core::transitions::hand_over::Handed;

/// How long a slot is handed over from run to run. Then it is freed, and claims decide again: jobs of
/// other groups, priorities and queues wait no longer than this.
const SERIES_MAX: Duration = Duration::from_millis(100);

/// The right of a run to hand its slot over when it ends.
#[derive(Debug)]
pub(crate) struct Handover {
    /// How the slot was handed over to the run, unless a claim took it.
    pub(crate) last: Option<Handed>,
    /// When the first run of the series was claimed.
    since: Instant,
}

impl Handover {
    /// Returns the right of a claimed job, if it was blocked before: then others may wait behind it.
    pub(super) fn of(job: &ClaimedJob, now: Instant) -> Option<Self> {
        (job.track == Track::Unblocked && job.keys.len() == 1).then_some(Self {
            last: None,
            since: now,
        })
    }

    /// Returns the right of the job that got the slot.
    pub(crate) fn continued(&self, handed: Handed) -> Self {
        Self {
            last: Some(handed),
            since: self.since,
        }
    }

    /// Returns whether the slot may be handed over now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        now.duration_since(self.since) < SERIES_MAX
    }
}
