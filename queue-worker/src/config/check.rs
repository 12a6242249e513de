//! Checks of ranges and names, which apply to settings from code as well as from the file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use queue_core::InvalidName;

const NAME_MAX: usize = 200;

/// A setting with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct InvalidSetting {
    /// The key of the setting, as in `queue.toml`: `workers[0].concurrency`.
    pub key: String,
    /// The other setting that it conflicts with, if there is one.
    pub other_key: Option<String>,
    /// What was expected, and what was found.
    pub message: String,
}

/// The rules for a kind of names, such as [`check_queue`](queue_core::check_queue).
pub(super) type Rules = fn(&str) -> Result<(), InvalidName>;

/// Collects invalid settings. Keys are relative to the table that is being checked.
#[derive(Default)]
pub(super) struct Check {
    pub(super) problems: Vec<InvalidSetting>,
    table: String,
}

impl Check {
    /// Checks a table inside the current one.
    pub(super) fn within<T>(&mut self, table: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.table.clone();
        self.table = self.key(table);
        let checked = check(self);
        self.table = outer;
        checked
    }

    /// Rejects a setting of the table; the empty key stands for the table itself.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(InvalidSetting {
            key: self.key(key),
            other_key: None,
            message: message.into(),
        });
    }

    /// Rejects a setting that conflicts with another one of the same table.
    pub(super) fn disagree(&mut self, key: &str, other_key: &str, message: impl Into<String>) {
        self.problems.push(InvalidSetting {
            key: self.key(key),
            other_key: Some(self.key(other_key)),
            message: message.into(),
        });
    }

    /// Rejects those of the keys that are given: they do not apply here.
    pub(super) fn stray<const N: usize>(&mut self, keys: [(&str, bool); N], message: &str) {
        for (key, _) in keys.into_iter().filter(|(_, is_given)| *is_given) {
            self.refuse(key, message);
        }
    }

    pub(super) fn number(
        &mut self,
        key: &str,
        found: Option<impl Into<u64>>,
        range: RangeInclusive<u64>,
    ) {
        if let Some(found) = found.map(Into::into).filter(|found| !range.contains(found)) {
            let (least, most) = range.into_inner();
            let expected = format!("expected a whole number from {least} to {most}");
            self.refuse(key, format!("{expected}, found {found}"));
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        found: impl Into<Option<Duration>>,
        range: RangeInclusive<Duration>,
    ) {
        if let Some(found) = found.into().filter(|found| !range.contains(found)) {
            let values = [*range.start(), *range.end(), found];
            let [least, most, found] = values.map(humantime::format_duration);
            let expected = format!("expected a duration from {least} to {most}");
            self.refuse(key, format!("{expected}, found {found}"));
        }
    }

    /// Checks a name by the given rules.
    pub(super) fn name(&mut self, key: &str, name: Option<&str>, rules: Rules) {
        if let Some(Err(refused)) = name.map(rules) {
            self.refuse(key, refused.reason());
        }
    }

    /// Checks the name of a process or program.
    pub(super) fn process_name(&mut self, key: &str, name: Option<&String>) {
        let is_usable = |name: &String| {
            !name.trim().is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control)
        };
        if let Some(name) = name.filter(|name| !is_usable(name)) {
            let expected =
                format!("expected a name of 1 to {NAME_MAX} bytes without control characters");
            self.refuse(key, format!("{expected}, found {name:?}"));
        }
    }

    /// Returns the value, or rejects the setting with the error.
    pub(super) fn accept<T>(&mut self, key: &str, outcome: Result<T, impl Display>) -> Option<T> {
        outcome
            .map_err(|error| self.refuse(key, error.to_string()))
            .ok()
    }

    fn key(&self, key: &str) -> String {
        let is_whole = self.table.is_empty() || key.is_empty();
        let separator = if is_whole { "" } else { "." };
        format!("{}{separator}{key}", self.table)
    }
}
