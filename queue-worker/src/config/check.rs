//! Which values the settings may have, alone and together.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::settings::DAY;
use queue_core::operations::limits::LimitSetting;
use queue_core::{check_kind, check_queue};

use super::{KeepFor, ProcessSettings, Retention, SchedulerSettings, Settings};

pub(super) const CONCURRENCY: RangeInclusive<u64> = 1..=10_000;
pub(super) const DISPATCH_BATCH: RangeInclusive<u64> = 1..=10_000;
pub(super) const CLEARING_BATCH: RangeInclusive<u64> = 1..=100_000;
pub(super) const POLL: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(3600);
pub(super) const HEARTBEAT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
pub(super) const DEAD_AFTER: RangeInclusive<Duration> = Duration::from_millis(300)..=DAY;
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// Firings keep a due time from being enqueued twice after the database's clock was set back.
pub(super) const KEEP_FIRINGS: RangeInclusive<Duration> = DAY..=*KEEP.end();
pub(super) const CLEARING: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// A century: what a Postgres interval added to any sensible date can still hold.
pub(super) const KEEP: RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(36_525 * 86_400);
const NAME_MAX: usize = 200;

/// Heartbeats that a process may miss before others take it for dead: with fewer than three, one
/// slow answer of the database would be enough.
const HEARTBEATS_TO_DEATH: u32 = 3;

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

impl InvalidSetting {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            other_key: None,
            message: message.into(),
        }
    }
}

impl Settings {
    /// Tells everything that is wrong with the settings; empty when they can be run.
    pub fn problems(&self) -> Vec<InvalidSetting> {
        let mut check = Check::default();
        for (position, worker) in self.workers.iter().enumerate() {
            let at = format!("workers[{position}]");
            check.number(
                format!("{at}.concurrency"),
                worker.concurrency as u64,
                CONCURRENCY,
            );
            check.duration(format!("{at}.poll_interval"), worker.poll_interval, POLL);
        }
        check.duration(
            "dispatcher.poll_interval",
            self.dispatcher.poll_interval,
            POLL,
        );
        check.number(
            "dispatcher.batch_size",
            self.dispatcher.batch_size.into(),
            DISPATCH_BATCH,
        );
        check.scheduler(&self.scheduler);
        check.process(&self.process);
        check.duration("maintenance.interval", self.maintenance.interval, CLEARING);
        check.number(
            "maintenance.batch_size",
            self.maintenance.batch_size.into(),
            CLEARING_BATCH,
        );
        check.limits(&self.limits);
        check.retention(&self.retention);
        let parts = [
            self.dispatcher.enabled,
            self.scheduler.enabled,
            self.maintenance.enabled,
        ];
        if self.workers.is_empty() && !parts.contains(&true) {
            check.problems.push(InvalidSetting {
                other_key: Some("dispatcher.enabled".to_owned()),
                ..InvalidSetting::new(
                    "workers",
                    "there is nothing to run: no worker, and dispatcher, scheduler and maintenance are \
                     off",
                )
            });
        }
        check.problems
    }
}

#[derive(Default)]
struct Check {
    problems: Vec<InvalidSetting>,
}

impl Check {
    fn number(&mut self, key: impl Into<String>, found: u64, range: RangeInclusive<u64>) {
        if !range.contains(&found) {
            self.refuse(key, expected_number(&range, found));
        }
    }

    fn duration(
        &mut self,
        key: impl Into<String>,
        found: Duration,
        range: RangeInclusive<Duration>,
    ) {
        if !range.contains(&found) {
            self.refuse(
                key,
                expected_duration(&range, humantime::format_duration(found)),
            );
        }
    }

    fn scheduler(&mut self, scheduler: &SchedulerSettings) {
        self.duration("scheduler.poll_interval", scheduler.poll_interval, POLL);
        if let Some(source) = &scheduler.source
            && let Err(message) = check_process_name(source)
        {
            self.refuse("scheduler.source", message);
        }
    }

    fn process(&mut self, process: &ProcessSettings) {
        self.duration(
            "process.heartbeat_interval",
            process.heartbeat_interval,
            HEARTBEAT,
        );
        self.duration("process.dead_after", process.dead_after, DEAD_AFTER);
        self.duration(
            "process.shutdown_timeout",
            process.shutdown_timeout,
            TIMEOUT,
        );
        self.duration("process.cancel_grace", process.cancel_grace, TIMEOUT);
        if let Some(name) = &process.name
            && let Err(message) = check_process_name(name)
        {
            self.refuse("process.name", message);
        }
        let least = process
            .heartbeat_interval
            .saturating_mul(HEARTBEATS_TO_DEATH);
        if process.dead_after < least {
            self.problems.push(InvalidSetting {
                other_key: Some("process.heartbeat_interval".to_owned()),
                ..InvalidSetting::new("process.dead_after", heartbeat_message(process, least))
            });
        }
    }

    fn limits(&mut self, limits: &BTreeMap<String, LimitSetting>) {
        for (name, limit) in limits {
            if let Err(invalid) = queue_core::operations::limits::check(name, *limit) {
                self.refuse(format!("limits.{name}"), invalid.reason());
            }
        }
    }

    fn retention(&mut self, retention: &Retention) {
        let defaults = [
            ("finished", retention.finished),
            ("failed", retention.failed),
        ];
        for (key, keep) in defaults {
            self.keep(format!("retention.{key}"), keep.into());
        }
        if let Some(keep) = retention.firings {
            self.duration("retention.firings", keep, KEEP_FIRINGS);
        }
        for (queue, keep) in &retention.queues {
            let key = format!("retention.queues.{queue}");
            if let Err(refused) = check_queue(queue) {
                self.refuse(&key, refused.reason());
            }
            self.keep(key, *keep);
        }
        for (kind, keep) in &retention.kinds {
            let key = format!("retention.kinds.{kind}");
            if let Err(refused) = check_kind(kind) {
                self.refuse(&key, refused.reason());
            }
            self.keep(key, *keep);
        }
    }

    fn keep(&mut self, key: String, keep: KeepFor) {
        if let KeepFor::For(duration) = keep {
            self.duration(key, duration, KEEP);
        }
    }

    fn refuse(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(InvalidSetting::new(key, message));
    }
}

fn heartbeat_message(process: &ProcessSettings, least: Duration) -> String {
    format!(
        "expected dead_after of at least {}, three times heartbeat_interval, found {}; \
         a process would be taken for dead after one late heartbeat",
        humantime::format_duration(least),
        humantime::format_duration(process.dead_after),
    )
}

pub(super) fn check_process_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > NAME_MAX || name.contains(char::is_control) {
        return Err(format!(
            "expected a name of 1 to {NAME_MAX} bytes without control characters, found {name:?}"
        ));
    }
    Ok(())
}

pub(super) fn expected_number(range: &RangeInclusive<u64>, found: impl fmt::Display) -> String {
    format!(
        "expected a whole number from {} to {}, found {found}",
        range.start(),
        range.end()
    )
}

pub(super) fn expected_duration(
    range: &RangeInclusive<Duration>,
    found: impl fmt::Display,
) -> String {
    format!(
        "expected a duration from {} to {}, found {found}",
        humantime::format_duration(*range.start()),
        humantime::format_duration(*range.end()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(settings: &Settings) -> Vec<String> {
        settings
            .problems()
            .iter()
            .map(InvalidSetting::to_string)
            .collect()
    }

    #[test]
    fn the_defaults_can_be_run() {
        assert_eq!(told(&Settings::default()), Vec::<String>::new());
    }

    #[test]
    fn settings_filled_in_by_code_are_checked_all_at_once() {
        let mut settings = Settings::default();
        settings.workers[0].concurrency = 0;
        settings.dispatcher.poll_interval = Duration::ZERO;
        settings.process.dead_after = Duration::from_secs(14);
        settings.process.name = Some("two\nlines".to_owned());
        settings
            .retention
            .queues
            .insert("a b".to_owned(), KeepFor::Forever);
        settings
            .limits
            .insert("@mail".to_owned(), LimitSetting::default());
        settings
            .limits
            .insert("import".to_owned(), LimitSetting::default());

        assert_eq!(
            told(&settings),
            [
                "workers[0].concurrency: expected a whole number from 1 to 10000, found 0",
                "dispatcher.poll_interval: expected a duration from 10ms to 1h, found 0s",
                "process.name: expected a name of 1 to 200 bytes without control characters, found \"two\\nlines\"",
                "process.dead_after: expected dead_after of at least 15s, three times heartbeat_interval, found 14s; \
                 a process would be taken for dead after one late heartbeat",
                "limits.@mail: a name with `@` is `@queue/NAME`, `@kind/NAME` or `@recurring/NAME`",
                "limits.import: say how many at once, or at which rate",
                "retention.queues.a b: ' ' is not allowed in a name; use letters, digits and `_.:/-`",
            ]
        );
    }

    #[test]
    fn a_process_may_only_dispatch_or_schedule_but_must_do_something() {
        let mut settings = Settings {
            workers: Vec::new(),
            ..Settings::default()
        };
        settings.maintenance.enabled = false;
        assert_eq!(told(&settings), Vec::<String>::new());

        settings.dispatcher.enabled = false;
        assert_eq!(told(&settings), Vec::<String>::new());

        settings.scheduler.enabled = false;
        assert_eq!(
            told(&settings),
            [
                "workers: there is nothing to run: no worker, and dispatcher, scheduler and \
                 maintenance are off"
            ]
        );
    }
}
