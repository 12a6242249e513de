//! What a process is told by `queue.toml`, the environment and the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use queue_core::check_kind;
use queue_core::operations::limits::LimitSetting;
use serde::Deserialize;

use super::check::{Check, InvalidSetting};
use super::document::Document;
use super::handlers::{HandlerSettings, HandlerTable};
use super::limits::LimitTable;
use super::overrides::{FILE_VARIABLE, Override, lay_over};
use super::parts::{
    DatabaseSettings, DispatcherSettings, MaintenanceSettings, ProcessSettings, Retention,
    SchedulerSettings, WorkerSettings,
};
use super::problem::{InvalidConfig, SettingPlace};
use super::recurring::{RecurringSettings, RecurringTable};

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "queue.toml";

/// Everything one process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The workers; one that serves every queue by default. May be empty in a process that only
    /// dispatches, schedules or clears.
    pub workers: Vec<WorkerSettings>,
    /// The part that moves due jobs to ready.
    pub dispatcher: DispatcherSettings,
    /// The part that enqueues what is due again and again.
    pub scheduler: SchedulerSettings,
    /// The process itself: its liveness and its end.
    pub process: ProcessSettings,
    /// The part that clears what is kept no longer.
    pub maintenance: MaintenanceSettings,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// How many jobs of a key, a group, a queue (`@queue/mail`) or a kind (`@kind/import`) run at
    /// once, and start in a period, in all processes together. They are declared when a process
    /// starts, and hold where no operator has set anything.
    pub limits: BTreeMap<String, LimitSetting>,
}

/// Everything that the command line reads: the settings of a process, and what it works on.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the process runs.
    pub settings: Settings,
    /// The database it works on.
    pub database: DatabaseSettings,
    /// The kinds that run without Rust code.
    pub handlers: BTreeMap<String, HandlerSettings>,
    /// The schedules, by name.
    pub recurring: BTreeMap<String, RecurringSettings>,
    /// Where the rest came from.
    pub source: Source,
}

/// Where a configuration came from, before environment and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No file was named, and there is no `queue.toml` here: the defaults.
    Defaults,
    /// This file.
    File(PathBuf),
}

/// The whole file. What is left out has its default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    workers: Option<Vec<WorkerSettings>>,
    database: DatabaseSettings,
    dispatcher: DispatcherSettings,
    scheduler: SchedulerSettings,
    process: ProcessSettings,
    maintenance: MaintenanceSettings,
    retention: Retention,
    limits: BTreeMap<String, LimitTable>,
    handlers: BTreeMap<String, HandlerTable>,
    recurring: BTreeMap<String, RecurringTable>,
}

impl Settings {
    /// Reads the settings for a process inside an application: `queue.toml`, or the file that
    /// `QUEUE_CONFIG` names, with the environment (`QUEUE_…`) over it. What neither says has its
    /// default.
    ///
    /// The whole file is checked. Its database, handlers and schedules are for the command line:
    /// an application brings its own.
    ///
    /// # Errors
    /// Reports every problem of the file and the environment at once, each with its place.
    pub fn load() -> Result<Self, InvalidConfig> {
        Config::load(&Override::environment()).map(|config| config.settings)
    }

    /// Returns everything that is wrong with the settings; empty when they can be run.
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
        check.within("retention", |check| self.retention.check(check));
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
    /// Reads the file and lays the overrides over it, the later ones over the earlier: those of the
    /// environment ([`Override::environment`]), then those of flags. What nothing says has its
    /// default. No database is needed.
    ///
    /// The file is the one that `QUEUE_CONFIG` or its flag names, which must then exist, or
    /// `queue.toml` in the current directory if there is one.
    ///
    /// # Errors
    /// Reports every problem of all three places at once, each with its place.
    pub fn load(overrides: &[Override]) -> Result<Self, InvalidConfig> {
        let overrides: Vec<Override> = overrides
            .iter()
            .filter(|given| is_set(given))
            .cloned()
            .collect();
        let named = overrides
            .iter()
            .rfind(|given| given.variable == FILE_VARIABLE);
        let path = named.map_or(Path::new(DEFAULT_FILE), |given| Path::new(&given.value));
        let (text, source, unreadable) = match fs::read_to_string(path) {
            Ok(text) => (text, Source::File(path.to_owned()), None),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                (String::new(), Source::Defaults, None)
            }
            Err(error) => (String::new(), Source::Defaults, Some(error)),
        };
        let mut document = Document::parse(path, &text);
        if let Some(error) = unreadable {
            let place = named.map_or(SettingPlace::File(path.to_owned()), |given| {
                given.place.clone()
            });
            document.refuse(
                place,
                format!("could not read `{}`: {error}", path.display()),
            );
        }
        // The problems of the file are noted even where the environment says something else.
        document.read::<File>();
        lay_over(&overrides, &mut document);
        let file = document.read::<File>();
        let mut check = Check::default();
        let config = file.config(source, &mut check);
        for problem in check.problems {
            document.refuse_setting(problem);
        }
        document.finish().map(|()| config)
    }
}

/// An empty variable counts as unset.
fn is_set(given: &Override) -> bool {
    !(given.value.is_empty() && matches!(given.place, SettingPlace::Variable(_)))
}

impl File {
    /// Returns what the file says. What is refused may be left out, for the whole is then of no
    /// use.
    fn config(self, source: Source, check: &mut Check) -> Config {
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
                let message = format!("[handlers.{name}] is a kind of this name already");
                check.refuse(&key, message);
            }
            recurring.insert(name, settings);
        }
        check.within("database", |check| self.database.check(check));
        let limits = self.limits.into_iter().map(|(name, table)| {
            let limit = check.within(&format!("limits.{name}"), |check| table.limit(check));
            (name, limit)
        });
        let limits = limits.collect();
        let settings = Settings {
            workers: self
                .workers
                .unwrap_or_else(|| vec![WorkerSettings::default()]),
            dispatcher: self.dispatcher,
            scheduler: self.scheduler,
            process: self.process,
            maintenance: self.maintenance,
            retention: self.retention,
            limits,
        };
        check.problems.extend(settings.problems());
        Config {
            settings,
            database: self.database,
            handlers,
            recurring,
            source,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        File::default()
            .config(Source::Defaults, &mut Check::default())
            .settings
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => write!(f, "the defaults (there is no {DEFAULT_FILE} here)"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::KeepFor;

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
