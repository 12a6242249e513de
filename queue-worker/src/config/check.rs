//! Ranges and names that a setting may have, whoever gives it, and the list of those that are wrong.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use queue_core::InvalidName;

const NAME_MAX: usize = 200;

/// A setting whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct InvalidSetting {
    /// Where it is, as `queue.toml` would say: `workers[0].concurrency`.
    pub key: String,
    /// The other setting that it disagrees with, when there is one.
    pub other_key: Option<String>,
    /// What is expected, and what was found.
    pub message: String,
}

/// Collects the settings that are wrong.
#[derive(Default)]
pub(super) struct Check {
    pub(super) problems: Vec<InvalidSetting>,
}

impl Check {
    pub(super) fn refuse(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(InvalidSetting {
            key: key.into(),
            other_key: None,
            message: message.into(),
        });
    }

    /// Refuses a setting because of another.
    pub(super) fn disagree(&mut self, key: &str, other_key: &str, message: impl Into<String>) {
        self.problems.push(InvalidSetting {
            key: key.to_owned(),
            other_key: Some(other_key.to_owned()),
            message: message.into(),
        });
    }

    pub(super) fn number(
        &mut self,
        key: impl Into<String>,
        found: impl Into<u64>,
        range: RangeInclusive<u64>,
    ) {
        let found = found.into();
        if !range.contains(&found) {
            let (least, most) = range.into_inner();
            let expected = format!("expected a whole number from {least} to {most}");
            self.refuse(key, format!("{expected}, found {found}"));
        }
    }

    pub(super) fn duration(
        &mut self,
        key: impl Into<String>,
        found: Duration,
        range: &RangeInclusive<Duration>,
    ) {
        if !range.contains(&found) {
            let [least, most, found] =
                [*range.start(), *range.end(), found].map(humantime::format_duration);
            let expected = format!("expected a duration from {least} to {most}");
            self.refuse(key, format!("{expected}, found {found}"));
        }
    }

    /// Checks the name of a queue, kind, schedule or tag.
    pub(super) fn name(&mut self, key: impl Into<String>, checked: Result<(), InvalidName>) {
        if let Err(refused) = checked {
            self.refuse(key, refused.reason());
        }
    }

    /// Checks a name that people give to a process or program.
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

    /// Returns the value, or refuses the setting with the error.
    pub(super) fn accept<T>(
        &mut self,
        key: impl Into<String>,
        outcome: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        outcome
            .map_err(|error| self.refuse(key, error.to_string()))
            .ok()
    }
}
