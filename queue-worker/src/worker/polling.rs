//! Polling: a worker looks for jobs every millisecond while they come one by one and fast, instead
//! of being notified of each.
//!
//! Notifications are for rare jobs: transactions that notify commit one after the other. How fast
//! jobs come is known from the notifications, which every process gets, however many processes
//! share the jobs. While a process polls, it is known from the jobs that it finds.

use std::time::{Duration, Instant};

/// How long to wait between two looks while polling.
pub(super) const POLL_GAP: Duration = Duration::from_millis(1);

/// Jobs are counted in windows of this length.
const WINDOW: Duration = Duration::from_millis(64);

/// So many jobs in a window are too many for notifications: about 400 a second.
const DENSE: usize = 24;

/// Polling goes on while there are so many: about 120 a second.
const STILL_DENSE: usize = 8;

/// How fast jobs come, and the queues that this worker polls for its process.
#[derive(Debug)]
pub(super) struct Polling {
    began_at: Instant,
    jobs: usize,
    jobs_before: usize,
    queues: Vec<String>,
    /// The queues that this process polls. After an error another process may poll them.
    pub(super) polled: Vec<String>,
}

impl Polling {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began_at: now,
            jobs: 0,
            jobs_before: 0,
            queues: Vec::new(),
            polled: Vec::new(),
        }
    }

    /// Notes that so many jobs have come, in some queues.
    pub(super) fn note(&mut self, jobs: usize, queues: &[String], now: Instant) {
        let elapsed = now - self.began_at;
        if elapsed >= WINDOW {
            self.jobs_before = if elapsed < 2 * WINDOW { self.jobs } else { 0 };
            self.jobs = 0;
            self.began_at = now;
        }
        self.jobs += jobs;
        for queue in queues {
            if !self.queues.contains(queue) {
                self.queues.push(queue.clone());
            }
        }
    }

    /// Returns whether jobs come one by one and fast.
    pub(super) fn is_dense(&self) -> bool {
        let jobs = self.jobs.max(self.jobs_before);
        jobs >= match self.polled.is_empty() {
            true => DENSE,
            false => STILL_DENSE,
        }
    }

    /// Starts to count anew.
    pub(super) fn start_over(&mut self) {
        self.jobs = 0;
        self.jobs_before = 0;
        self.queues.clear();
    }

    /// Returns the queues in which jobs have come and which this process does not poll yet.
    pub(super) fn not_polled(&self) -> Vec<String> {
        let queues = self.queues.iter();
        queues
            .filter(|queue| !self.polled.contains(queue))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes a job every so many milliseconds, for a second.
    fn come(polling: &mut Polling, now: &mut Instant, every_ms: u64) {
        for _ in 0..1_000 / every_ms {
            *now += Duration::from_millis(every_ms);
            polling.note(1, &["mail".to_owned()], *now);
        }
    }

    #[test]
    fn polling_begins_at_a_higher_rate_than_it_ends() {
        let mut now = Instant::now();
        let mut polling = Polling::new(now);
        come(&mut polling, &mut now, 5);
        assert!(!polling.is_dense(), "200 jobs/s are notified");
        come(&mut polling, &mut now, 2);
        assert!(polling.is_dense(), "500 jobs/s are polled");

        polling.polled = polling.not_polled();
        assert_eq!(polling.polled, ["mail"]);
        assert!(polling.not_polled().is_empty());
        come(&mut polling, &mut now, 5);
        assert!(polling.is_dense(), "200 jobs/s are still polled");
        come(&mut polling, &mut now, 20);
        assert!(!polling.is_dense());
    }

    #[test]
    fn polling_ends_when_no_jobs_come() {
        let mut now = Instant::now();
        let mut polling = Polling::new(now);
        come(&mut polling, &mut now, 1);
        assert!(polling.is_dense());
        polling.note(0, &[], now + WINDOW);
        assert!(polling.is_dense(), "the window before still counts");
        polling.note(0, &[], now + 3 * WINDOW);
        assert!(!polling.is_dense());
    }
}
