//! How many jobs to prefetch: just enough that no slot waits for the database.

use std::time::{Duration, Instant};

/// How much work to prefetch: as much as runs during four claims, within these bounds. The farther the
/// database, the longer a claim takes.
const CLAIMS_AHEAD: u32 = 4;
const AHEAD_MIN: Duration = Duration::from_millis(25);
const AHEAD_MAX: Duration = Duration::from_millis(500);

/// How long a short claim is remembered, at least.
const CLAIM_MEMORY: Duration = Duration::from_secs(5);

/// The most jobs to prefetch, however short they are.
const PREFETCH_MAX: usize = 2_000;

/// How long prefetched jobs may wait while no run ends, or more than twice the target, before they are
/// given back.
pub(super) const PREFETCH_WAIT_MAX: Duration = Duration::from_millis(500);

/// How many jobs to prefetch: as many as end during some claims at the recent rate. Where jobs take
/// long, none are prefetched.
#[derive(Debug)]
pub(crate) struct Pace {
    ended: usize,
    since: Instant,
    per_second: f64,
    /// The shortest claim of this period and of the one before.
    shortest: [Option<Duration>; 2],
    period_began: Instant,
}

impl Pace {
    /// Begins when so many runs have ended in all.
    pub(crate) fn new(ended: usize, now: Instant) -> Self {
        Self {
            ended,
            since: now,
            per_second: 0.0,
            shortest: [None; 2],
            period_began: now,
        }
    }

    /// Notes how many runs have ended in all.
    pub(crate) fn observe(&mut self, ended: usize, now: Instant) {
        let elapsed = now.duration_since(self.since);
        if elapsed < Duration::from_millis(5) {
            return;
        }
        let lately = (ended - self.ended) as f64 / elapsed.as_secs_f64();
        let weight = (elapsed.as_secs_f64() / 0.1).min(1.0);
        self.per_second += (lately - self.per_second) * weight.max(0.2);
        self.ended = ended;
        self.since = now;
    }

    /// Notes how long a claim took that found jobs. The shortest one is the distance to the database;
    /// others waited for something else.
    pub(crate) fn note_claim(&mut self, took: Duration, now: Instant) {
        if now.duration_since(self.period_began) > CLAIM_MEMORY {
            self.shortest = [None, self.shortest[0]];
            self.period_began = now;
        }
        let shortest = self.shortest[0].map_or(took, |shortest| shortest.min(took));
        self.shortest[0] = Some(shortest);
    }

    /// Returns how many jobs to prefetch.
    pub(crate) fn prefetch(&self) -> usize {
        let claim = self.shortest.into_iter().flatten().min();
        let ahead = claim.unwrap_or_default() * CLAIMS_AHEAD;
        let ahead = ahead.clamp(AHEAD_MIN, AHEAD_MAX);
        ((self.per_second * ahead.as_secs_f64()) as usize).min(PREFETCH_MAX)
    }
}

/// Since when more than twice the jobs wait that should: they were claimed when runs were shorter.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    since: Option<Instant>,
}

impl Excess {
    /// Returns how many waiting jobs to keep, if the others have been too many for too long.
    pub(crate) fn observe(&mut self, waiting: usize, target: usize, now: Instant) -> Option<usize> {
        if waiting <= 2 * target {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        (now - since >= PREFETCH_WAIT_MAX).then_some(2 * target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefetch_at(per_second: usize) -> usize {
        let start = Instant::now();
        let mut pace = Pace::new(0, start);
        for tick in 1..=50 {
            let now = start + tick * Duration::from_millis(20);
            pace.observe(per_second * tick as usize / 50, now);
        }
        pace.prefetch()
    }

    #[test]
    fn a_few_round_trips_of_the_current_rate_are_prefetched() {
        assert_eq!(prefetch_at(1), 0);
        assert!((20..=30).contains(&prefetch_at(1_000)));
        assert_eq!(prefetch_at(1_000_000), PREFETCH_MAX);
    }

    #[test]
    fn nothing_is_prefetched_once_jobs_take_long() {
        let start = Instant::now();
        let mut pace = Pace::new(0, start);
        pace.observe(1_000, start + Duration::from_millis(50));
        assert!(pace.prefetch() > 0);
        pace.observe(1_000, start + Duration::from_secs(5));
        assert_eq!(pace.prefetch(), 0);
    }

    #[test]
    fn runs_that_ended_before_the_loop_began_are_not_counted() {
        let start = Instant::now();
        let mut pace = Pace::new(100_000, start);
        pace.observe(100_000, start + Duration::from_millis(10));
        assert_eq!(pace.prefetch(), 0);
    }

    #[test]
    fn more_is_prefetched_from_a_distant_database() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(0, start);
        pace.observe(100, at(100));
        pace.note_claim(Duration::from_millis(2), at(110));
        assert_eq!(pace.prefetch(), 25);

        // The same process after its database has moved.
        pace.note_claim(Duration::from_millis(50), at(5_200));
        pace.note_claim(Duration::from_millis(60), at(10_300));
        assert_eq!(pace.prefetch(), 200);
        pace.note_claim(Duration::from_secs(9), at(15_400));
        pace.note_claim(Duration::from_secs(9), at(20_500));
        assert_eq!(pace.prefetch(), 500);
    }

    #[test]
    fn jobs_beyond_twice_the_target_are_given_back_after_half_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut excess = Excess::default();
        assert_eq!(excess.observe(21, 10, at(0)), None);
        assert_eq!(excess.observe(21, 10, at(499)), None);
        assert_eq!(excess.observe(21, 10, at(500)), Some(20));
        assert_eq!(excess.observe(20, 10, at(501)), None);
        assert_eq!(excess.observe(21, 10, at(1_000)), None);
    }
}
