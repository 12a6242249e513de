//! How many jobs of one key may run at once, and how many may start in a period.

use std::time::Duration;

use crate::names::{InvalidName, check_group};

mod kept;

pub(crate) use kept::interval;

/// The most bytes that the key of a limit may have, its group included.
pub const KEY_BYTES_MAX: usize = 300;

/// The most limits that one job may bring.
pub const LIMITS_MAX: usize = 8;

/// The longest duration that is stored.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The group of the keys by which the jobs of a recurring job run one after another. Kinds, and
/// groups of users, cannot contain an `@`.
const RECURRING_JOBS: &str = "@recurring";

/// The limits of a job: for each key, how many jobs run at once, how many start in a period, and what
/// happens to a job when there is no room.
///
/// Limits are checked when a worker claims the job, never when it is enqueued: a waiting job holds no
/// slot, and two transactions with the same key do not wait for each other.
///
/// ```
/// use queue_core::{Conflict, Limits};
/// use std::time::Duration;
///
/// // Two imports of an account at once; the others wait.
/// let account = Limits::key("account/7").to(2);
///
/// // For all kinds together: at most ten calls a second of one API, in bursts of up to twenty.
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Limit {
    key: String,
    group: Option<String>,
    slots: Option<u32>,
    rate: Option<Rate>,
    hold_for: Option<Duration>,
    conflict: Conflict,
}

/// A number of starts in a period, evenly spaced after a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The starts in a period.
    pub starts: u32,
    /// The period.
    pub period: Duration,
    /// The starts that may come at once after a pause.
    pub burst: u32,
}

/// What happens to a job when its limit has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It waits until there is room.
    #[default]
    Block,
    /// It is discarded, unless it has run before: a job that ran once is never discarded for a limit. This is
    /// decided at the job's turn, so enqueueing it answers with an id; to enqueue no duplicate, use
    /// [`Unique`](crate::Unique) with [`OnConflict::Reject`](crate::OnConflict::Reject).
    Discard,
    /// It waits, and replaces older jobs that wait for the same key and have not run yet: those are
    /// cancelled.
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
            return Err("a burst must be worked off within a century");
        }
        Ok(())
    }
}

impl Limits {
    /// Sets no limit.
    pub fn none() -> Self {
        Self::default()
    }

    /// Limits the jobs with a key to one at once, unless [`to`](Self::to) or [`rate`](Self::rate) is
    /// called. Without a key (`None`) there is no limit. Jobs of other kinds with the same key are counted
    /// separately, unless they share a [`group`](Self::group).
    pub fn key(key: impl Into<Key>) -> Self {
        let entries = key.into().0.map(|key| Limit {
            key,
            ..Limit::default()
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

    /// Sets how many of these jobs may start in a period, with a burst of as many. Waiting for a start is
    /// neither a retry nor a failure.
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

    /// Sets how many jobs may start at once after a pause; by default as many as in a period. With 1, all
    /// starts are evenly spaced.
    #[must_use]
    pub fn burst(self, starts: u32) -> Self {
        self.each(|limit| {
            if let Some(rate) = &mut limit.rate {
                rate.burst = starts;
            }
        })
    }

    /// Counts the key together with the same key of other kinds in the group.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        let group = group.into();
        self.each(|limit| limit.group = Some(group.clone()))
    }

    /// Sets how long a job keeps its slot at most, even if it still runs: then another job may run beside
    /// it. This is a safety net for jobs that hang. By default a job keeps its slot until it ends or its
    /// process dies.
    #[must_use]
    pub fn duration(self, duration: Duration) -> Self {
        self.each(|limit| limit.hold_for = Some(duration))
    }

    /// Sets what happens to a job when there is no room; [`Conflict::Block`] by default.
    #[must_use]
    pub fn on_conflict(self, conflict: Conflict) -> Self {
        self.each(|limit| limit.conflict = conflict)
    }

    /// Adds other limits: the job runs when all of them have room.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// Returns whether there is no limit.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn each(mut self, change: impl Fn(&mut Limit)) -> Self {
        self.entries.iter_mut().for_each(change);
        self
    }

    /// Refuses limits that cannot be stored, or would never let a job run.
    pub(crate) fn check(&self, kind: &str) -> Result<(), InvalidLimit> {
        let count = self.entries.len();
        if count > LIMITS_MAX {
            let reason = format!("a job has at most {LIMITS_MAX} limits, this one has {count}");
            return Err(InvalidLimit::of(kind, reason));
        }
        let mut keys = Vec::new();
        for limit in &self.entries {
            if let Some(group) = &limit.group {
                check_group(group)?;
            }
            let key = limit.full_key(kind);
            limit
                .check(&key)
                .map_err(|reason| InvalidLimit::of(&key, reason))?;
            if keys.contains(&key) {
                let reason = "it is there twice: combine both in one limit";
                return Err(InvalidLimit::of(&key, reason));
            }
            keys.push(key);
        }
        Ok(())
    }

    /// Returns the groups of the limits, whose keys several kinds may share.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter_map(|limit| limit.group.as_deref())
    }

    /// Returns the full key of the first limit.
    pub(crate) fn first_key(&self, kind: &str) -> Option<String> {
        Some(self.entries.first()?.full_key(kind))
    }

    /// Returns the full keys of the limits that block, each with the number of jobs that can start at once
    /// by the limits of the job itself.
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

    /// Returns the slots: 1 if neither slots nor a rate are set.
    fn slots_or_default(&self) -> Option<u32> {
        self.slots.or(self.rate.is_none().then_some(1))
    }

    fn check(&self, full_key: &str) -> Result<(), String> {
        if full_key.len() > KEY_BYTES_MAX {
            let bytes = full_key.len();
            return Err(format!(
                "a key has at most {KEY_BYTES_MAX} bytes with its group, this one has {bytes}"
            ));
        }
        if self.key.is_empty() || self.key.contains('\0') {
            return Err("a key is not empty, and has no NUL character".to_owned());
        }
        let slots = 1..=i32::MAX.unsigned_abs();
        if self.slots.is_some_and(|count| !slots.contains(&count)) {
            return Err(format!("allow from 1 to {} jobs at once", i32::MAX));
        }
        let durations = Duration::from_micros(1)..=CENTURY;
        if self.hold_for.is_some_and(|hold| !durations.contains(&hold)) {
            return Err("a duration is from a microsecond to a century".to_owned());
        }
        self.rate.map_or(Ok(()), Rate::check).map_err(str::to_owned)
    }
}

/// Why a limit is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimit {
    /// The name of the group is not valid.
    #[error(transparent)]
    Group(#[from] InvalidName),
    /// The key or a number is not valid.
    #[error("invalid limit of {key:?}: {reason}")]
    Refused {
        /// The key, with its group.
        key: String,
        /// Why.
        reason: String,
    },
}

impl InvalidLimit {
    /// Returns the reason, without the key.
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
    fn without_a_key_there_is_no_limit() {
        assert!(Limits::key(None::<String>).to(3).is_empty());
        assert_eq!(Limits::none().to_json("import"), None);
    }

    #[test]
    fn limits_that_never_let_a_job_run_or_cannot_be_stored_are_refused() {
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
