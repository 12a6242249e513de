//! How long a job waited, and how long it ran.

use chrono::{DateTime, TimeDelta, Utc};

/// The times of a job.
pub(super) struct Times {
    pub(super) enqueued_at: DateTime<Utc>,
    pub(super) claimed_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) last_attempt: Option<(DateTime<Utc>, DateTime<Utc>)>,
    pub(super) now: DateTime<Utc>,
}

impl Times {
    /// Returns the latest run: the one that finished the job, the one that goes on, or the last failure.
    fn latest_run(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let ended = self.started_at.zip(self.finished_at);
        let under_way = self.claimed_at.map(|claimed_at| (claimed_at, self.now));
        ended.or(under_way).or(self.last_attempt)
    }

    pub(super) fn wait_seconds(&self) -> f64 {
        let start = self.latest_run().map(|(start, _)| start);
        let until = start.or(self.finished_at).unwrap_or(self.now);
        seconds(until - self.enqueued_at)
    }

    pub(super) fn run_seconds(&self) -> Option<f64> {
        self.latest_run().map(|(start, end)| seconds(end - start))
    }
}

/// Returns seconds, at least 0: the clocks of two transactions may differ a little.
fn seconds(time: TimeDelta) -> f64 {
    time.as_seconds_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn enqueued_at_10_and_asked_at_100() -> Times {
        Times {
            enqueued_at: at(10),
            claimed_at: None,
            started_at: None,
            finished_at: None,
            last_attempt: None,
            now: at(100),
        }
    }

    #[test]
    fn a_job_that_never_ran_has_waited_until_now_or_its_end() {
        let mut times = enqueued_at_10_and_asked_at_100();
        assert_eq!((times.wait_seconds(), times.run_seconds()), (90.0, None));

        times.finished_at = Some(at(30));
        assert_eq!((times.wait_seconds(), times.run_seconds()), (20.0, None));
    }

    #[test]
    fn wait_and_run_are_those_of_the_latest_run() {
        let mut times = enqueued_at_10_and_asked_at_100();
        times.last_attempt = Some((at(20), at(25)));
        assert_eq!(
            (times.wait_seconds(), times.run_seconds()),
            (10.0, Some(5.0))
        );

        times.claimed_at = Some(at(40));
        assert_eq!(
            (times.wait_seconds(), times.run_seconds()),
            (30.0, Some(60.0))
        );

        times.started_at = Some(at(41));
        times.finished_at = Some(at(43));
        assert_eq!(
            (times.wait_seconds(), times.run_seconds()),
            (31.0, Some(2.0))
        );
    }
}
