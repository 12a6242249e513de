//! How many jobs of one key may run at once, and how many may start in a period.

use std::time::Duration;

use crate::names::{InvalidName, check_group};

mod kept;

pub(crate) use kept::interval;

/// The most bytes that the key of a limit may have, its group included.
pub const KEY_BYTES_MAX: usize = 300;

/// The most limits that one job may bring.
pub const LIMITS_MAX: usize = 8;

/// The longest time that is kept.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The group of the keys by which the jobs of a recurring job run one after another. Kinds, and
/// groups of users, cannot contain an `@`.
const RECURRING_JOBS: &str = "@recurring";

/// The limits of a job: by which keys, to how many at once, to how many starts in a period, and
/// what becomes of a job when there is no room.
///
/// Limits are looked at when a worker is about to run the job, never when it is enqueued: jobs
/// that only wait hold no slot, and two transactions with the same key do not wait for each other.
///
/// ```
/// use queue_core::{Conflict, Limits};
/// use std::time::Duration;
///
/// // Two imports of an account at once; the others wait.
/// let account = Limits::key("account/7").to(2);
///
/// // Whichever kind: at most ten calls a second of one API, in bursts of up to twenty.
/// let api = Limits::key("maps")
///     .group("api")
///     .rate(10, Duration::from_secs(1))
///     .burst(20);
///
/// // Both, and a refresh that is dropped while another one runs.
/// let limits = account.and(api).and(Limits::key("refresh").on_conflict(Conflict::Discard));
///
/// // No key, no limit.
/// let owner: Option<i64> = None;
/// assert!(Limits::key(owner.map(|id| format!("owner/{id}"))).is_empty());
/// # let _ = limits;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    entries: Vec<Limit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    key: String,
    group: Option<String>,
    slots: Option<u32>,
    rate: Option<Rate>,
    hold_for: Option<Duration>,
    conflict: Conflict,
}

/// So many starts in a period, evenly spaced beyond a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The starts in a period.
    pub starts: u32,
    /// The period.
    pub period: Duration,
    /// The starts that may come at once after a pause.
    pub burst: u32,
}

/// What becomes of a job when a limit leaves no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It waits until there is room.
    #[default]
    Block,
    /// It is discarded, unless it has been claimed before: what ran once is not thrown away.
    Discard,
    /// It waits, and takes the place of older jobs that wait for the same key and have not been
    /// claimed yet: they are cancelled.
    Replace,
}

/// A key, or none.
#[derive(Clone, Debug)]
pub struct Key(Option<String>);

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(Some(key))
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self(Some(key.to_owned()))
    }
}

impl<T: Into<String>> From<Option<T>> for Key {
    fn from(key: Option<T>) -> Self {
        Self(key.map(Into::into))
    }
}

impl Rate {
    /// Returns the time between two starts that are evenly spaced.
    pub fn space(self) -> Duration {
        self.period / self.starts.max(1)
    }

    pub(crate) fn check(self) -> Result<(), &'static str> {
        if self.starts == 0 || self.burst == 0 {
            return Err("a rate allows at least 1 start, and a burst of at least 1");
        }
        if i32::try_from(self.burst).is_err() {
            return Err("a burst is at most 2147483647");
        }
        if self.space() < Duration::from_micros(1)
            || self.period > Duration::from_secs(366 * 86_400)
        {
            return Err("the starts of a rate are between a microsecond and a year apart");
        }
        if self.space().saturating_mul(self.burst) > CENTURY {
            return Err("a burst is made up for within a century");
        }
        Ok(())
    }
}

impl Limits {
    /// Sets no limit.
    pub fn none() -> Self {
        Self::default()
    }

    /// Limits the jobs with a key to one at once, unless more is said; with no key (`None`) there
    /// is no limit. The key is counted for the kind of the job by itself, unless there is a
    /// [`group`](Self::group).
    pub fn key(key: impl Into<Key>) -> Self {
        let entries = key.into().0.map(|key| Limit {
            key,
            group: None,
            slots: None,
            rate: None,
            hold_for: None,
            conflict: Conflict::Block,
        });
        Self {
            entries: entries.into_iter().collect(),
        }
    }

    /// Lets the jobs of a recurring job run one after another. [`check`](Self::check) rejects this
    /// group, so that users cannot take it.
    pub(crate) fn of_recurring_job(name: &str) -> Self {
        Self::key(name).group(RECURRING_JOBS)
    }

    /// Sets how many of these jobs may run at once, in all processes together.
    #[must_use]
    pub fn to(self, jobs: u32) -> Self {
        self.each(|limit| limit.slots = Some(jobs))
    }

    /// Sets how many of these jobs may start in a period, with a burst of as many. A job that has
    /// to wait for its start is not retried, and no failure is counted.
    #[must_use]
    pub fn rate(self, starts: u32, period: Duration) -> Self {
        self.each(|limit| {
            limit.rate = Some(Rate {
                starts,
                period,
                burst: starts,
            });
        })
    }

    /// Sets how many jobs may start at once after a pause, instead of as many as the rate allows
    /// in a period. One spaces them evenly.
    #[must_use]
    pub fn burst(self, starts: u32) -> Self {
        self.each(|limit| {
            if let Some(rate) = &mut limit.rate {
                rate.burst = starts;
            }
        })
    }

    /// Counts the key together with those of other kinds that name the same group.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        let group = group.into();
        self.each(|limit| limit.group = Some(group.clone()))
    }

    /// Lets a job lose its slot when it has held it for this long, although it still runs: a net
    /// for jobs that are stuck. Others may run beside it from then on. Without it a job keeps its
    /// slot until it ends, or its process dies.
    #[must_use]
    pub fn duration(self, duration: Duration) -> Self {
        self.each(|limit| limit.hold_for = Some(duration))
    }

    /// Sets what becomes of a job when there is no room; [`Conflict::Block`] unless set.
    #[must_use]
    pub fn on_conflict(self, conflict: Conflict) -> Self {
        self.each(|limit| limit.conflict = conflict)
    }

    /// Adds other limits: the job runs when all leave room for it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// Tells whether there is no limit.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn each(mut self, change: impl Fn(&mut Limit)) -> Self {
        self.entries.iter_mut().for_each(change);
        self
    }

    /// Refuses what could not be kept, or would never let a job run.
    pub(crate) fn check(&self, kind: &str) -> Result<(), InvalidLimit> {
        if self.entries.len() > LIMITS_MAX {
            let count = self.entries.len();
            return Err(InvalidLimit::of(
                kind,
                format!("a job has at most {LIMITS_MAX} limits, this one has {count}"),
            ));
        }
        for (place, limit) in self.entries.iter().enumerate() {
            let full_key = limit.full_key(kind);
            let refuse = |reason: String| Err(InvalidLimit::of(&full_key, reason));
            if let Some(group) = &limit.group {
                check_group(group)?;
            }
            if let Err(reason) = limit.problem(&full_key) {
                return refuse(reason);
            }
            if self.entries[..place]
                .iter()
                .any(|other| other.full_key(kind) == full_key)
            {
                return refuse("it is there twice: give both as one limit".to_owned());
            }
        }
        Ok(())
    }

    /// Returns the full keys that block when they are full, with the most jobs that can start at
    /// once by what the job itself says.
    pub(crate) fn blocking(&self, kind: &str) -> impl Iterator<Item = (String, u32)> {
        self.entries
            .iter()
            .filter(|limit| limit.conflict == Conflict::Block)
            .map(move |limit| {
                let burst = limit.rate.map_or(u32::MAX, |rate| rate.burst);
                let slots = limit.slots_or_default().unwrap_or(u32::MAX);
                (limit.full_key(kind), slots.min(burst))
            })
    }
}

impl Limit {
    fn name<'a>(&'a self, kind: &'a str) -> &'a str {
        self.group.as_deref().unwrap_or(kind)
    }

    fn full_key(&self, kind: &str) -> String {
        format!("{}/{}", self.name(kind), self.key)
    }

    /// One at a time, unless something else is said.
    fn slots_or_default(&self) -> Option<u32> {
        self.slots.or(self.rate.is_none().then_some(1))
    }

    fn problem(&self, full_key: &str) -> Result<(), String> {
        if full_key.len() > KEY_BYTES_MAX {
            let bytes = full_key.len();
            return Err(format!(
                "a key has at most {KEY_BYTES_MAX} bytes with its group, this one has {bytes}"
            ));
        }
        if self.key.is_empty() || self.key.contains('\0') {
            return Err("a key is not empty, and has no NUL character".to_owned());
        }
        if self.slots == Some(0)
            || self
                .slots
                .is_some_and(|slots| i32::try_from(slots).is_err())
        {
            return Err(format!("allow from 1 to {} jobs at once", i32::MAX));
        }
        if self
            .hold_for
            .is_some_and(|hold| hold < Duration::from_micros(1) || hold > CENTURY)
        {
            return Err("a duration is from a microsecond to a century".to_owned());
        }
        match self.rate.map(Rate::check) {
            Some(Err(reason)) => Err(reason.to_owned()),
            _ => Ok(()),
        }
    }
}

/// A limit that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimit {
    /// The group has a name that is refused.
    #[error(transparent)]
    Group(#[from] InvalidName),
    /// The key or a number is refused.
    #[error("the limit of {key:?} is refused: {reason}")]
    Refused {
        /// The key, with its group.
        key: String,
        /// Why.
        reason: String,
    },
}

impl InvalidLimit {
    /// Says what is wrong, without naming the key again.
    pub fn reason(&self) -> &str {
        match self {
            Self::Group(refused) => refused.reason(),
            Self::Refused { reason, .. } => reason,
        }
    }

    pub(crate) fn of(key: &str, reason: impl Into<String>) -> Self {
        Self::Refused {
            key: key.chars().take(KEY_BYTES_MAX).collect(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(limits: Limits) -> String {
        limits.check("import").unwrap_err().to_string()
    }

    #[test]
    fn only_a_recurring_job_has_its_key() {
        let kept = Limits::of_recurring_job("nightly")
            .to_json("import")
            .unwrap();
        assert!(kept.contains(r#""key":"@recurring/nightly""#), "{kept}");
        assert!(refused(Limits::key("nightly").group("@recurring")).contains('@'));
    }

    #[test]
    fn no_key_means_no_limit() {
        assert!(Limits::key(None::<String>).to(3).is_empty());
        assert_eq!(Limits::none().to_json("import"), None);
    }

    #[test]
    fn what_would_never_run_or_cannot_be_kept_is_refused_with_the_reason() {
        assert!(refused(Limits::key("a").to(0)).contains("from 1 to"));
        assert!(refused(Limits::key("")).contains("not empty"));
        assert!(refused(Limits::key("a\0")).contains("NUL"));
        assert!(refused(Limits::key("x".repeat(300))).contains("at most 300 bytes"));
        assert!(refused(Limits::key("a").and(Limits::key("a").group("import"))).contains("twice"));
        assert!(refused(Limits::key("a").rate(0, Duration::from_secs(1))).contains("at least 1"));
        assert!(refused(Limits::key("a").rate(1, Duration::ZERO)).contains("microsecond"));
        assert!(refused(Limits::key("a").duration(Duration::ZERO)).contains("microsecond"));
        assert!(refused(Limits::key("a").duration(Duration::MAX)).contains("century"));
        let second = Duration::from_secs(1);
        let wild = Limits::key("a").rate(1, second).burst(u32::MAX);
        assert!(refused(wild).contains("at most 2147483647"));
        let slow = Limits::key("a")
            .rate(1, 86_400 * second)
            .burst(2_000_000_000);
        assert!(refused(slow).contains("century"));
        assert!(refused(Limits::key("a").group("@queue")).contains('@'));
        let many = (0..9).map(|n| Limits::key(n.to_string()));
        assert!(refused(many.fold(Limits::none(), Limits::and)).contains("at most 8"));
    }
}
