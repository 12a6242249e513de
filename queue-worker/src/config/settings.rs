//! Loads the settings from `queue.toml`, the environment and the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use queue_core::operations::limits::LimitSetting;
use queue_core::{check_kind, check_queue};
use serde::Deserialize;

use super::alerts::{AlertSettings, AlertTable};
use super::check::{Check, InvalidSetting};
use super::document::Document;
use super::handlers::{HandlerSettings, HandlerTable};
use super::limits::LimitTable;
use super::overrides::{FILE_VARIABLE, Override, lay_over};
use super::parts::{
    DatabaseSettings, DispatcherSettings, LogSettings, MaintenanceSettings, ProcessSettings,
    QueueSettings, Retention, SchedulerSettings, WorkerSettings,
};
use super::problem::{InvalidConfig, SettingPlace};
use super::recurring::{RecurringSettings, RecurringTable};
use super::redact::RedactSettings;
use super::shards::{ShardSettings, check_shards};

/// The file that is read by default, if it exists.
const DEFAULT_FILE: &str = "queue.toml";

/// Everything one process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The workers; by default one that serves every queue. May be empty in a process that only
    /// dispatches, schedules or clears.
    pub workers: Vec<WorkerSettings>,
    /// The dispatcher, which makes scheduled jobs ready when they are due.
    pub dispatcher: DispatcherSettings,
    /// The scheduler, which enqueues recurring jobs.
    pub scheduler: SchedulerSettings,
    /// The process itself: heartbeats and shutdown.
    pub process: ProcessSettings,
    /// Maintenance, which clears old jobs.
    pub maintenance: MaintenanceSettings,
    /// How long jobs are kept after their end.
    pub retention: Retention,
    /// Which fields of arguments and errors people do not see.
    pub redact: RedactSettings,
    /// What log lines say about jobs.
    pub log: LogSettings,
    /// How many jobs of a key, a group, a queue (`@queue/mail`) or a kind (`@kind/import`) may run
    /// at once, and start in a period, in all processes together. A process declares them when it
    /// starts; what an operator has set overrides them.
    pub limits: BTreeMap<String, LimitSetting>,
    /// The settings of single queues, for all processes. A process declares them when it starts; a queue that is
    /// not named stays as it is.
    pub queues: BTreeMap<String, QueueSettings>,
}

/// The whole configuration of the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of the process.
    pub settings: Settings,
    /// The database it works on.
    pub database: DatabaseSettings,
    /// The shards, by name, if the queue has several.
    pub shards: BTreeMap<String, ShardSettings>,
    /// The handlers without Rust code, by kind.
    pub handlers: BTreeMap<String, HandlerSettings>,
    /// The recurring jobs, by name.
    pub recurring: BTreeMap<String, RecurringSettings>,
    /// Which problems alerts are sent about, and where they are sent.
    pub alerts: Option<AlertSettings>,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
}

/// The whole file. Settings that are left out have their defaults.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    workers: Option<Vec<WorkerSettings>>,
    database: DatabaseSettings,
    shards: BTreeMap<String, ShardSettings>,
    dispatcher: DispatcherSettings,
    scheduler: SchedulerSettings,
    process: ProcessSettings,
    maintenance: MaintenanceSettings,
    retention: Retention,
    redact: RedactSettings,
    log: LogSettings,
    limits: BTreeMap<String, LimitTable>,
    queues: BTreeMap<String, QueueSettings>,
    handlers: BTreeMap<String, HandlerTable>,
    recurring: BTreeMap<String, RecurringTable>,
    alerts: Option<AlertTable>,
}

impl Settings {
    /// Loads the settings for a process inside an application from `queue.toml`, or the file that
    /// `QUEUE_CONFIG` names. Variables (`QUEUE_…`) override the file; other settings have their
    /// defaults.
    ///
    /// The whole file is checked, but its database, handlers, recurring jobs and alerts are only
    /// for the command line: an application brings its own.
    ///
    /// # Errors
    /// Contains every problem of the file and the environment, each with its place.
    pub fn load() -> Result<Self, InvalidConfig> {
        Config::load(&Override::environment()).map(|config| config.settings)
    }

    /// Returns the problems of the settings; empty if a process can run with them.
    pub fn problems(&self) -> Vec<InvalidSetting> {
        let mut check = Check::default();
        for (position, worker) in self.workers.iter().enumerate() {
            check.within(&format!("workers[{position}]"), |check| worker.check(check));
        }
        check.within("dispatcher", |check| self.dispatcher.check(check));
        check.within("scheduler", |check| self.scheduler.check(check));
        check.within("process", |check| self.process.check(check));
        check.within("maintenance", |check| self.maintenance.check(check));
        for (name, limit) in &self.limits {
            if let Err(invalid) = queue_core::operations::limits::check(name, *limit) {
                check.refuse(&format!("limits.{name}"), invalid.reason());
            }
        }
        check.within("queues", |check| {
            for name in self.queues.keys() {
                check.name(name, Some(name), check_queue);
            }
        });
        check.within("retention", |check| self.retention.check(check));
        check.within("redact", |check| self.redact.check(check));
        let has_part =
            self.dispatcher.enabled || self.scheduler.enabled || self.maintenance.enabled;
        if self.workers.is_empty() && !has_part {
            let message = "there is nothing to run: no worker, and dispatcher, scheduler and \
                           maintenance are off";
            check.disagree("workers", "dispatcher.enabled", message);
        }
        check.problems
    }
}

impl Config {
    /// Reads the file and applies the overrides in their order: first those of the environment
    /// ([`Override::environment`]), then those of flags. Other settings have their defaults. Needs
    /// no database.
    ///
    /// The file is the one that `QUEUE_CONFIG` or its flag names, which must then exist, or
    /// `queue.toml` in the current directory if there is one.
    ///
    /// # Errors
    /// Contains every problem of all three sources, each with its place.
    pub fn load(overrides: &[Override]) -> Result<Self, InvalidConfig> {
        let set = overrides.iter().filter(|given| is_set(given));
        let overrides: Vec<Override> = set.cloned().collect();
        let is_file = |given: &&Override| given.variable == FILE_VARIABLE;
        let named = overrides.iter().rfind(is_file);
        let path = named.map_or(Path::new(DEFAULT_FILE), |given| Path::new(&given.value));
        let text = fs::read_to_string(path);
        let mut document = Document::parse(path, text.as_deref().unwrap_or_default());
        if let Err(error) = &text
            && (named.is_some() || error.kind() != io::ErrorKind::NotFound)
        {
            let whole = || SettingPlace::File(path.to_owned());
            let place = named.map_or_else(whole, |given| given.place.clone());
            let message = format!("could not read `{}`: {error}", path.display());
            document.refuse(place, message);
        }
        // Reads the file alone first, to report its problems even where a variable overrides it.
        document.read::<File>();
        lay_over(&overrides, &mut document);
        let read = document.read::<File>();
        let mut check = Check::default();
        let file = text.is_ok().then(|| path.to_owned());
        let config = read.config(file, &mut check);
        for problem in check.problems {
            document.refuse_setting(problem);
        }
        document.finish().map(|()| config)
    }
}

impl Config {
    /// Returns the names of the shards that are used; empty if the queue has no shards.
    pub fn used_shards(&self) -> Vec<&str> {
        match &self.database.shards {
            Some(used) => used.iter().map(String::as_str).collect(),
            None => self.shards.keys().map(String::as_str).collect(),
        }
    }

    /// Returns the configuration for one of the shards, if there is one with this name.
    #[must_use]
    pub fn of_shard(&self, name: &str) -> Option<Self> {
        Some(self.with_shard(self.shards.get(name)?))
    }

    /// Returns the name of each shard, used or not, and the configuration for it.
    #[cfg(feature = "cli")]
    pub(crate) fn each_shard(&self) -> impl Iterator<Item = (&str, Self)> {
        let shards = self.shards.iter();
        shards.map(|(name, shard)| (name.as_str(), self.with_shard(shard)))
    }

    fn with_shard(&self, shard: &ShardSettings) -> Self {
        let mut config = Self {
            database: shard.database(&self.database),
            shards: BTreeMap::new(),
            ..self.clone()
        };
        config.settings.process.listen_url = shard.listen_url.clone();
        config
    }
}

/// Returns whether the override has a value: an empty variable counts as unset.
fn is_set(given: &Override) -> bool {
    !(given.value.is_empty() && matches!(given.place, SettingPlace::Variable(_)))
}

impl File {
    /// Returns the configuration. Invalid parts may be missing from it: with problems, it is not
    /// used.
    fn config(self, file: Option<PathBuf>, check: &mut Check) -> Config {
        let mut handlers = BTreeMap::new();
        for (kind, table) in self.handlers {
            let handler = check.within(&format!("handlers.{kind}"), |check| {
                check.name("", Some(&kind), check_kind);
                table.handler(check)
            });
            handlers.extend(handler.map(|handler| (kind, handler)));
        }
        let mut recurring = BTreeMap::new();
        for (name, table) in self.recurring {
            let key = format!("recurring.{name}");
            let read = check.within(&key, |check| table.recurring(&name, check));
            let Some((settings, handler)) = read else {
                continue;
            };
            if let Some(handler) = handler
                && handlers.insert(name.clone(), handler).is_some()
            {
                let message = format!("[handlers.{name}] already defines a kind with this name");
                check.refuse(&key, message);
            }
            recurring.insert(name, settings);
        }
        let alerts = self.alerts;
        let alerts = check.within("alerts", |check| {
            alerts.and_then(|table| table.alerts(check))
        });
        check.within("database", |check| self.database.check(check));
        check_shards(&self.shards, &self.database, check);
        if !self.shards.is_empty() && self.process.listen_url.is_some() {
            let message = "there are [shards]: give each a `listen_url` of its own";
            check.refuse("process.listen_url", message);
        }
        let limits = self.limits.into_iter().map(|(name, table)| {
            let limit = check.within(&format!("limits.{name}"), |check| table.limit(check));
            (name, limit)
        });
        let every_queue = || vec![WorkerSettings::default()];
        let settings = Settings {
            workers: self.workers.unwrap_or_else(every_queue),
            dispatcher: self.dispatcher,
            scheduler: self.scheduler,
            process: self.process,
            maintenance: self.maintenance,
            retention: self.retention,
            redact: self.redact,
            log: self.log,
            limits: limits.collect(),
            queues: self.queues,
        };
        check.problems.extend(settings.problems());
        Config {
            settings,
            database: self.database,
            shards: self.shards,
            handlers,
            recurring,
            alerts,
            file,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        File::default().config(None, &mut Check::default()).settings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::KeepFor;

    fn problems(settings: &Settings) -> Vec<String> {
        settings
            .problems()
            .iter()
            .map(InvalidSetting::to_string)
            .collect()
    }

    #[test]
    fn the_defaults_have_no_problems() {
        assert_eq!(problems(&Settings::default()), Vec::<String>::new());
    }

    #[test]
    fn all_problems_of_settings_from_code_are_reported_at_once() {
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
            problems(&settings),
            [
                "workers[0].concurrency: expected a whole number from 1 to 10000, found 0",
                "dispatcher.poll_interval: expected a duration from 10ms to 1h, found 0s",
                "process.name: expected a name of 1 to 200 bytes without control characters, found \"two\\nlines\"",
                "process.dead_after: expected dead_after of at least 15s, three times heartbeat_interval, found 14s; \
                 a process would be presumed dead after one late heartbeat",
                "limits.@mail: a name with `@` is `@queue/NAME`, `@kind/NAME`, `@tenant/NAME` or `@recurring/NAME`",
                "limits.import: give the number of jobs at once, or a rate",
                "retention.queues.a b: ' ' is not allowed in a name; use letters, digits and `_.:/-`",
            ]
        );
    }

    #[test]
    fn a_process_needs_at_least_one_part() {
        let mut settings = Settings {
            workers: Vec::new(),
            ..Settings::default()
        };
        settings.maintenance.enabled = false;
        assert_eq!(problems(&settings), Vec::<String>::new());

        settings.dispatcher.enabled = false;
        assert_eq!(problems(&settings), Vec::<String>::new());

        settings.scheduler.enabled = false;
        assert_eq!(
            problems(&settings),
            [
                "workers: there is nothing to run: no worker, and dispatcher, scheduler and \
                 maintenance are off"
            ]
        );
    }
}
