//! Open transactions, and the places in line at which their jobs may appear.
//!
//! A job gets its place in line when it is inserted, and appears there when its transaction
//! commits. By then a worker may have claimed jobs behind it and raised its floor above that place.
//! So the worker repeatedly reads the end of the line and the open transactions. When a transaction
//! has ended, the worker claims once more from the places that were given out since just before it
//! began.
//!
//! A transaction has its id before it takes its first place. So all its places are above the end of the
//! line that was read *before* the last snapshot without it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use queue_core::transitions::claim::LineEnd;

/// The shortest time between two looks at the end of the line.
pub(super) const LOOK_GAP: Duration = Duration::from_millis(4);

/// An idle worker divides the time since a job last came by this, to get the time to its next look.
const QUIET_SHARE: u32 = 50;

/// What the last look found.
#[derive(Debug)]
pub(super) struct OpenTransactions {
    known: HashMap<u64, Open>,
    /// The end of the line at the last look, and at the one before it.
    ends: [i64; 2],
    looked_at: Instant,
    /// When the end of the line was last seen to have moved.
    moved_at: Instant,
    announcement: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// The place above which all its jobs appear.
    above: i64,
    /// Whether its commit wakes this worker.
    notifies: bool,
}

impl OpenTransactions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            ends: [0, 0],
            looked_at: now,
            moved_at: now,
            announcement: None,
        }
    }

    /// Notes what a look found, and returns the place above which jobs may have been committed
    /// since the last look. A job wakes this process if it was enqueued under the announcement that
    /// the process is idle; one that was enqueued before does not.
    pub(super) fn observe(
        &mut self,
        line: &LineEnd,
        now: Instant,
        announcement: Option<usize>,
    ) -> i64 {
        let [last_end, end_before] = self.ends;
        let stands = self.announcement == announcement;
        self.announcement = announcement;
        let notifies = stands && announcement.is_some();
        let new = Open {
            above: end_before,
            notifies,
        };
        let open = line.open_transactions.iter();
        let known = open
            .map(|xid| {
                let mut open = self.known.remove(xid).unwrap_or(new);
                open.notifies &= stands;
                (*xid, open)
            })
            .collect();
        let ended = std::mem::replace(&mut self.known, known);
        self.ends = [line.place, last_end];
        self.looked_at = now;
        if line.place != last_end {
            self.moved_at = now;
        }
        lowest(ended.values()).min(end_before)
    }

    /// Returns the place up to which no open transaction can add a job.
    pub(super) fn settled(&self) -> i64 {
        lowest(self.known.values()).min(self.ends[1])
    }

    /// Returns whether a transaction is open that may commit without waking this worker.
    pub(super) fn has_silent(&self) -> bool {
        self.known.values().any(|open| !open.notifies)
    }

    /// Returns the earliest time of the next look.
    pub(super) fn earliest_look(&self) -> Instant {
        self.looked_at + LOOK_GAP
    }

    /// Returns when an idle worker checks whether the transactions that do not wake it are still
    /// open: the longer no job has come, the later.
    pub(super) fn next_look_idle(&self) -> Option<Instant> {
        let quiet = self.looked_at - self.moved_at;
        let wait = (quiet / QUIET_SHARE).max(LOOK_GAP);
        self.has_silent().then(|| self.looked_at + wait)
    }
}

fn lowest<'a>(open: impl Iterator<Item = &'a Open>) -> i64 {
    open.map(|open| open.above).min().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a line of that length, and returns the place above which jobs may have appeared.
    fn look(open: &mut OpenTransactions, place: i64, transactions: &[u64]) -> i64 {
        let line = LineEnd {
            place,
            open_transactions: transactions.to_vec(),
        };
        open.observe(&line, open.looked_at + LOOK_GAP, None)
    }

    fn looked_twice(place: i64) -> OpenTransactions {
        let mut open = OpenTransactions::new(Instant::now());
        assert_eq!(look(&mut open, place, &[]), 0);
        assert_eq!(look(&mut open, place, &[]), 0);
        open
    }

    #[test]
    fn jobs_committed_between_two_looks_are_above_the_end_before_the_last() {
        let mut open = looked_twice(100);
        assert_eq!(look(&mut open, 110, &[]), 100);
        assert_eq!(look(&mut open, 120, &[]), 100);
        assert_eq!(look(&mut open, 130, &[]), 110);
        assert_eq!(open.settled(), 120);
    }

    #[test]
    fn when_a_transaction_ends_the_look_goes_back_to_where_it_began() {
        let mut open = looked_twice(100);
        look(&mut open, 110, &[7]);
        for place in [120, 130, 140, 150] {
            assert!(look(&mut open, place, &[7, 8]) >= 100);
            assert_eq!(open.settled(), 100);
        }
        assert_eq!(look(&mut open, 160, &[8]), 100);
        assert_eq!(open.settled(), 100);
        assert_eq!(look(&mut open, 170, &[]), 100);
        assert_eq!(open.settled(), 160);
    }

    #[test]
    fn idle_looks_become_rarer_while_no_job_comes() {
        let mut open = looked_twice(100);
        assert_eq!(open.next_look_idle(), None);
        look(&mut open, 110, &[7]);
        assert_eq!(open.next_look_idle(), Some(open.looked_at + LOOK_GAP));
        open.looked_at += Duration::from_secs(10);
        let wait = open.next_look_idle().unwrap() - open.looked_at;
        assert_eq!(wait, Duration::from_millis(200));
    }

    #[test]
    fn transactions_that_wake_the_worker_need_no_looks() {
        let mut open = looked_twice(100);
        let mut line = LineEnd {
            place: 110,
            open_transactions: vec![7],
        };
        for announcement in [Some(1), Some(1)] {
            open.observe(&line, Instant::now(), announcement);
            assert!(open.has_silent(), "it may have begun before");
        }
        line.open_transactions = vec![8];
        open.observe(&line, Instant::now(), Some(1));
        assert!(!open.has_silent());
        assert_eq!(open.next_look_idle(), None);
        open.observe(&line, Instant::now(), Some(3));
        assert!(open.has_silent(), "it may have added jobs in between");
    }
}
