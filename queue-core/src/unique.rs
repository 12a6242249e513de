//! Unique jobs: when a job is a duplicate, and what happens to it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// A rule by which a job is unique: its key, the states in which the first job keeps the key, for how
/// long, and what happens to a duplicate. A unique index of the database decides.
///
/// ```
/// use queue_core::{OnConflict, States, Unique};
/// use std::time::Duration;
///
/// // One waiting reindexing at a time; while one runs, another may wait.
/// let reindex = Unique::by_key("reindex/7").while_in(States::WAITING);
///
/// // At most one reminder a day, finished ones included.
/// let reminder = Unique::by_args()
///     .while_in(States::UNFINISHED | States::FINISHED)
///     .within(Duration::from_secs(86_400))
///     .on_conflict(OnConflict::Reject);
/// # let _ = (reindex, reminder);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unique {
    key: Key,
    pub(crate) while_in: States,
    pub(crate) within: Option<Duration>,
    pub(crate) on_conflict: OnConflict,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    Args,
    /// The arguments, however the text of the job writes them.
    ReadArgs(String),
    Text(String),
    RecurringJob(String),
    /// The digest, of arguments that must not be stored.
    Digest(Vec<u8>),
}

/// What happens to a job whose key is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The job that has the key is kept, and its id returned.
    #[default]
    Keep,
    /// The job that has the key is cancelled if it waits or has failed, and the new one is enqueued. If it
    /// is running or finished, it is kept.
    Replace,
    /// The new job is rejected.
    Reject,
}

/// A set of states of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct States(pub(crate) i16);

impl States {
    /// Scheduled, ready or blocked.
    pub const WAITING: Self = Self(1 | 2 | 8);
    /// Waiting or running.
    pub const UNFINISHED: Self = Self(Self::WAITING.0 | 4);
    /// Failed, until an operator retries or discards it.
    pub const FAILED: Self = Self(16);
    /// Done, discarded or cancelled, until the job is cleared.
    pub const FINISHED: Self = Self(32);
}

impl std::ops::BitOr for States {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Unique {
    /// Jobs of the same kind with equal arguments are the same job.
    pub fn by_args() -> Self {
        Self::by(Key::Args)
    }

    /// Jobs of any kind with this key are the same job.
    pub fn by_key(key: impl Into<String>) -> Self {
        Self::by(Key::Text(key.into()))
    }

    /// Jobs of the same recurring job are the same job.
    pub(crate) fn of_recurring_job(name: &str) -> Self {
        Self::by(Key::RecurringJob(name.to_owned()))
    }

    /// Returns the same rule for a job whose text may write its arguments otherwise than its type does.
    pub(crate) fn of_args(mut self, args: &str) -> Self {
        if matches!(self.key, Key::Args) {
            self.key = Key::ReadArgs(args.to_owned());
        }
        self
    }

    /// Returns the same rule without the arguments, which must not be stored.
    pub(crate) fn without_args(mut self, kind: &str, args: &str) -> Self {
        if matches!(self.key, Key::Args | Key::ReadArgs(_)) {
            self.key = Key::Digest(self.digest(kind, args));
        }
        self
    }

    /// Returns the same rule for jobs of a recurring job that must not overlap: the key is held until the
    /// job that has it ends, and a duplicate is rejected.
    pub(crate) fn without_overlap(mut self) -> Self {
        self.while_in = self.while_in | States::UNFINISHED;
        self.on_conflict(OnConflict::Reject)
    }

    fn by(key: Key) -> Self {
        Self {
            key,
            while_in: States::UNFINISHED,
            within: None,
            on_conflict: OnConflict::Keep,
        }
    }

    /// Sets the states in which the first job keeps the key; [`States::UNFINISHED`] by default.
    /// The waiting states are always included.
    #[must_use]
    pub fn while_in(mut self, states: States) -> Self {
        self.while_in = States::WAITING | states;
        self
    }

    /// Frees the key this long after the first job was enqueued, in any state.
    #[must_use]
    pub fn within(mut self, period: Duration) -> Self {
        self.within = Some(period);
        self
    }

    /// Sets what happens to a job whose key is taken; [`OnConflict::Keep`] by default.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Returns whether the key is an empty text: probably a value that was not filled in, which would make
    /// all jobs duplicates of each other.
    pub(crate) fn has_empty_key(&self) -> bool {
        matches!(&self.key, Key::Text(text) if text.is_empty())
    }

    /// Returns the digest of the key. The kind is prefixed with its length, so that a kind and arguments
    /// cannot be confused with others, and object keys are sorted, so that their order does not matter.
    pub(crate) fn digest(&self, kind: &str, args: &str) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut add_args = |args| {
            hash.update((kind.len() as u64).to_be_bytes());
            hash.update(kind);
            hash.update(sorted(args));
        };
        match &self.key {
            Key::Args => add_args(args),
            Key::ReadArgs(args) => add_args(args),
            Key::Text(text) => {
                hash.update(u64::MAX.to_be_bytes());
                hash.update(text);
            }
            Key::RecurringJob(name) => {
                hash.update((u64::MAX - 1).to_be_bytes());
                hash.update(name);
            }
            Key::Digest(digest) => return digest.clone(),
        }
        hash.finalize().to_vec()
    }
}

/// Writes JSON in one way: the fields of objects are sorted. Numbers stay as they are written, because two
/// long ones may be the same when they are read.
fn sorted(json: &str) -> String {
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) {
        let fields = fields.into_iter();
        let fields = fields.map(|(name, value)| {
            let name = Value::from(name);
            format!("{name}:{}", sorted(value.get()))
        });
        return format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    }
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        let elements = elements.into_iter().map(|element| sorted(element.get()));
        return format!("[{}]", elements.collect::<Vec<_>>().join(","));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Value::from(text).to_string(),
        Err(_) => json.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_object_keys_does_not_matter() {
        let unique = Unique::by_args();
        assert_eq!(
            unique.digest("k", r#"{"a":1,"b":2}"#),
            unique.digest("k", r#"{"b":2,"a":1}"#)
        );
    }

    #[test]
    fn long_numbers_that_are_read_as_the_same_double_differ() {
        let digest = |args| Unique::by_args().digest("k", args);
        assert_ne!(
            digest(r#"{"n":[99999999999999999999]}"#),
            digest(r#"{"n":[99999999999999999998]}"#)
        );
    }

    #[test]
    fn arguments_are_written_as_serde_json_writes_them() {
        let args =
            r#" {"z": [1, -2.5, true, null], "a\u0062": {"é\n": "\u20ac\"", "": {}, "e": []}} "#;
        let value: Value = serde_json::from_str(args).unwrap();
        assert_eq!(sorted(args), value.to_string());
    }

    #[test]
    fn keys_of_different_kinds_arguments_and_texts_differ() {
        let args = Unique::by_args();
        assert_ne!(args.digest("ab", "\"c\""), args.digest("a", "\"c\""));
        assert_ne!(Unique::by_key("k1").digest("k", "1"), args.digest("k", "1"));
        let scheduled = Unique::of_recurring_job("k1");
        assert_ne!(
            Unique::by_key("k1").digest("k", "1"),
            scheduled.digest("k", "1")
        );
    }

    #[test]
    fn the_waiting_states_always_count() {
        let unique = Unique::by_args().while_in(States::FAILED);
        assert_eq!(unique.while_in, States::WAITING | States::FAILED);
    }
}
