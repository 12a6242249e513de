//! How long to wait before the next attempt.

use std::time::Duration;

/// The wait after each attempt that failed. Jitter spreads the waits of jobs that failed
/// together.
///
/// ```
/// use queue_worker::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_secs(5)).jitter(0.0);
/// assert_eq!(backoff.wait(1), Duration::from_secs(5));
/// assert_eq!(backoff.wait(4), Duration::from_secs(40));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    shape: Shape,
    max: Duration,
    jitter: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Exponential(Duration),
    Polynomial(u32),
    Fixed(Duration),
    List(Vec<Duration>),
}

const DAY: Duration = Duration::from_secs(86_400);

impl Backoff {
    /// Waits `first` after the first failed attempt, and twice as long after each further one.
    pub fn exponential(first: Duration) -> Self {
        Self::of(Shape::Exponential(first))
    }

    /// Waits n^power seconds after the nth failed attempt.
    pub fn polynomial(power: u32) -> Self {
        Self::of(Shape::Polynomial(power))
    }

    /// Waits equally long after every failed attempt.
    pub fn fixed(wait: Duration) -> Self {
        Self::of(Shape::Fixed(wait))
    }

    /// Waits for the entries of the list in turn, and for its last entry after all further
    /// attempts. An empty list means no wait.
    pub fn list(waits: impl Into<Vec<Duration>>) -> Self {
        Self::of(Shape::List(waits.into()))
    }

    fn of(shape: Shape) -> Self {
        Self {
            shape,
            max: DAY,
            jitter: 0.15,
        }
    }

    /// Sets the longest wait before jitter; one day unless set.
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets the largest fraction by which a wait is made longer or shorter at random, from 0 to 1;
    /// 0.15 unless set.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        // NaN means no jitter.
        self.jitter = if jitter.is_nan() {
            0.0
        } else {
            jitter.clamp(0.0, 1.0)
        };
        self
    }

    /// Returns the wait after the given number of failed attempts, from 1, with its jitter.
    pub fn wait(&self, failed_attempts: u32) -> Duration {
        let sway = (fastrand::f64() * 2.0 - 1.0) * self.jitter;
        let wait = self.base(failed_attempts.max(1)).as_secs_f64() * (1.0 + sway);
        Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX)
    }

    fn base(&self, n: u32) -> Duration {
        let wait = match &self.shape {
            Shape::Exponential(first) => {
                first.saturating_mul(2_u32.saturating_pow((n - 1).min(31)))
            }
            Shape::Polynomial(power) => Duration::from_secs(u64::from(n).saturating_pow(*power)),
            Shape::Fixed(wait) => *wait,
            Shape::List(waits) => waits
                .get(n as usize - 1)
                .or(waits.last())
                .copied()
                .unwrap_or_default(),
        };
        wait.min(self.max)
    }
}

impl Default for Backoff {
    /// Waits n⁴ seconds: 1 s, 16 s, 81 s, 4 min, 10 min and so on, up to a day.
    fn default() -> Self {
        Self::polynomial(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: &Backoff) -> Vec<u64> {
        (1..=4).map(|n| backoff.wait(n).as_secs()).collect()
    }

    #[test]
    fn each_shape_has_its_own_waits() {
        let second = Duration::from_secs(1);
        let exponential = Backoff::exponential(second).jitter(0.0);
        assert_eq!(waits(&exponential), [1, 2, 4, 8]);
        assert_eq!(waits(&Backoff::polynomial(2).jitter(0.0)), [1, 4, 9, 16]);
        assert_eq!(waits(&Backoff::fixed(second).jitter(0.0)), [1, 1, 1, 1]);
        let list = Backoff::list([second, 10 * second]).jitter(0.0);
        assert_eq!(waits(&list), [1, 10, 10, 10]);
        assert_eq!(waits(&Backoff::list([]).jitter(0.0)), [0, 0, 0, 0]);
    }

    #[test]
    fn ten_attempts_take_more_than_four_hours_by_default() {
        let backoff = Backoff::default().jitter(0.0);
        assert_eq!(waits(&backoff), [1, 16, 81, 256]);
        let total: Duration = (1..10).map(|n| backoff.wait(n)).sum();
        assert_eq!(total.as_secs() / 3600, 4);
    }

    #[test]
    fn waits_stay_below_the_maximum_after_any_number_of_attempts() {
        let max = Duration::from_secs(60);
        for shape in [Backoff::exponential(max), Backoff::polynomial(9)] {
            let backoff = shape.max(max).jitter(0.5);
            for n in [0, 1, 31, 32, 33, 1_000, u32::MAX] {
                assert!(backoff.wait(n) <= max.mul_f64(1.5));
            }
        }
    }

    #[test]
    fn extreme_settings_do_not_make_a_wait_panic() {
        let endless = Backoff::fixed(Duration::MAX).max(Duration::MAX);
        for jitter in [1.0, f64::NAN, f64::INFINITY, -1.0] {
            let backoff = endless.clone().jitter(jitter);
            assert!((0..100).all(|n| backoff.wait(n) <= Duration::MAX));
        }
        let second = Duration::from_secs(1);
        assert_eq!(Backoff::fixed(second).jitter(f64::NAN).wait(1), second);
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        let backoff = Backoff::fixed(Duration::from_secs(100)).jitter(0.1);
        for _ in 0..1_000 {
            let wait = backoff.wait(1).as_secs_f64();
            assert!((90.0..=110.0).contains(&wait));
        }
    }
}
