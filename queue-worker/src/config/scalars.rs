//! The settings that are one value each: their key, their variable and their flag.

use std::path::PathBuf;

use super::document::Section;
use super::draft::Draft;
use super::given::Given;
use super::load::Config;
use super::problem::Place;
use queue_core::Schema;

use super::check;

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "QUEUE_CONFIG";

/// The environment variables that are read, and what each one sets. An empty one counts as unset.
///
/// Durations are written like `10s` or `5m`, lists with commas, yes and no as `true` and `false`.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        FILE_VARIABLE,
        "the configuration file, instead of queue.toml",
    ),
    (
        "DATABASE_URL",
        "the database, as postgres://user:password@host/name",
    ),
    ("QUEUE_SCHEMA", "the schema that holds the tables"),
    (
        "QUEUE_QUEUES",
        "the queues to serve, by one worker that replaces those of the file",
    ),
    ("QUEUE_CONCURRENCY", "the jobs that worker runs at once"),
    (
        "QUEUE_POLL_INTERVAL",
        "how often every worker looks for jobs",
    ),
    ("QUEUE_DISPATCHER", "whether to move due jobs to ready"),
    (
        "QUEUE_DISPATCHER_POLL_INTERVAL",
        "how often to look for due jobs",
    ),
    ("QUEUE_DISPATCHER_BATCH_SIZE", "due jobs moved at once"),
    (
        "QUEUE_SCHEDULER",
        "whether to enqueue what is due again and again",
    ),
    (
        "QUEUE_SCHEDULER_POLL_INTERVAL",
        "how often to look for new and changed schedules",
    ),
    (
        "QUEUE_TIME_ZONE",
        "the time zone of schedules that name none",
    ),
    (
        "QUEUE_SCHEDULER_SOURCE",
        "what schedules are declared by, instead of the program's name",
    ),
    ("QUEUE_PROCESS_NAME", "what people call this process"),
    (
        "QUEUE_HEARTBEAT_INTERVAL",
        "how often the process says that it is alive",
    ),
    (
        "QUEUE_DEAD_AFTER",
        "how long a process may be silent before it is taken for dead",
    ),
    (
        "QUEUE_SHUTDOWN_TIMEOUT",
        "how long running jobs may take to finish at the end",
    ),
    (
        "QUEUE_CANCEL_GRACE",
        "the time between asking a job to stop and dropping it",
    ),
    (
        "QUEUE_NOTIFICATIONS",
        "whether the database may wake idle workers",
    ),
    (
        "QUEUE_MAINTENANCE",
        "whether to clear jobs that are kept no longer",
    ),
    ("QUEUE_MAINTENANCE_INTERVAL", "how often to clear"),
    ("QUEUE_MAINTENANCE_BATCH_SIZE", "jobs cleared at once"),
    (
        "QUEUE_RETENTION_FINISHED",
        "how long finished jobs are kept, or `forever`",
    ),
    (
        "QUEUE_RETENTION_FAILED",
        "how long failed jobs are kept, or `forever`",
    ),
    (
        "QUEUE_RETENTION_FIRINGS",
        "how long it is known what became of due times, or `forever`",
    ),
];

/// What flags say, as it was typed; it beats environment and file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`: the file; it must exist.
    pub config: Option<PathBuf>,
    /// `--database-url`.
    pub database_url: Option<String>,
    /// `--schema`.
    pub schema: Option<String>,
    /// `--queues`: one worker on these queues replaces those of the file.
    pub queues: Option<String>,
    /// `--concurrency`.
    pub concurrency: Option<String>,
    /// `--poll-interval`, of every worker.
    pub poll_interval: Option<String>,
    /// `--dispatcher`: true or false.
    pub dispatcher: Option<String>,
    /// `--scheduler`: true or false.
    pub scheduler: Option<String>,
    /// `--maintenance`: true or false.
    pub maintenance: Option<String>,
    /// `--name` of the process.
    pub name: Option<String>,
    /// `--shutdown-timeout`.
    pub shutdown_timeout: Option<String>,
    /// `--notifications`: true or false.
    pub notifications: Option<String>,
}

/// A setting that is one value, and everywhere it can be given.
struct Scalar {
    section: &'static str,
    key: &'static str,
    variable: &'static str,
    flag: Option<Flag>,
    set: fn(&mut Config, Given<'_>) -> Result<(), String>,
}

type Flag = (&'static str, fn(&Overrides) -> Option<&str>);

const SCALARS: &[Scalar] = &[
    Scalar {
        section: "database",
        key: "url",
        variable: "DATABASE_URL",
        flag: Some(("--database-url", |flags| flags.database_url.as_deref())),
        set: |config, given| {
            config.database.url = Some(database_url(given)?);
            Ok(())
        },
    },
    Scalar {
        section: "database",
        key: "schema",
        variable: "QUEUE_SCHEMA",
        flag: Some(("--schema", |flags| flags.schema.as_deref())),
        set: |config, given| put(&mut config.database.schema, schema(given)),
    },
    Scalar {
        section: "dispatcher",
        key: "enabled",
        variable: "QUEUE_DISPATCHER",
        flag: Some(("--dispatcher", |flags| flags.dispatcher.as_deref())),
        set: |config, given| put(&mut config.settings.dispatcher.enabled, given.boolean()),
    },
    Scalar {
        section: "dispatcher",
        key: "poll_interval",
        variable: "QUEUE_DISPATCHER_POLL_INTERVAL",
        flag: None,
        set: |config, given| {
            put(
                &mut config.settings.dispatcher.poll_interval,
                given.duration(&check::POLL),
            )
        },
    },
    Scalar {
        section: "dispatcher",
        key: "batch_size",
        variable: "QUEUE_DISPATCHER_BATCH_SIZE",
        flag: None,
        set: |config, given| {
            let size = given.whole_number(&check::DISPATCH_BATCH)?;
            put(&mut config.settings.dispatcher.batch_size, Ok(size as u32))
        },
    },
    Scalar {
        section: "scheduler",
        key: "enabled",
        variable: "QUEUE_SCHEDULER",
        flag: Some(("--scheduler", |flags| flags.scheduler.as_deref())),
        set: |config, given| put(&mut config.settings.scheduler.enabled, given.boolean()),
    },
    Scalar {
        section: "scheduler",
        key: "poll_interval",
        variable: "QUEUE_SCHEDULER_POLL_INTERVAL",
        flag: None,
        set: |config, given| {
            put(
                &mut config.settings.scheduler.poll_interval,
                given.duration(&check::POLL),
            )
        },
    },
    Scalar {
        section: "scheduler",
        key: "time_zone",
        variable: "QUEUE_TIME_ZONE",
        flag: None,
        set: |config, given| put(&mut config.settings.scheduler.time_zone, given.zone()),
    },
    Scalar {
        section: "scheduler",
        key: "source",
        variable: "QUEUE_SCHEDULER_SOURCE",
        flag: None,
        set: |config, given| {
            let source = given.text()?;
            check::check_process_name(source)?;
            put(
                &mut config.settings.scheduler.source,
                Ok(Some(source.to_owned())),
            )
        },
    },
    Scalar {
        section: "process",
        key: "name",
        variable: "QUEUE_PROCESS_NAME",
        flag: Some(("--name", |flags| flags.name.as_deref())),
        set: |config, given| {
            let name = given.text()?;
            check::check_process_name(name)?;
            put(&mut config.settings.process.name, Ok(Some(name.to_owned())))
        },
    },
    Scalar {
        section: "process",
        key: "heartbeat_interval",
        variable: "QUEUE_HEARTBEAT_INTERVAL",
        flag: None,
        set: |config, given| {
            let interval = given.duration(&check::HEARTBEAT);
            put(&mut config.settings.process.heartbeat_interval, interval)
        },
    },
    Scalar {
        section: "process",
        key: "dead_after",
        variable: "QUEUE_DEAD_AFTER",
        flag: None,
        set: |config, given| {
            put(
                &mut config.settings.process.dead_after,
                given.duration(&check::DEAD_AFTER),
            )
        },
    },
    Scalar {
        section: "process",
        key: "shutdown_timeout",
        variable: "QUEUE_SHUTDOWN_TIMEOUT",
        flag: Some(("--shutdown-timeout", |flags| {
            flags.shutdown_timeout.as_deref()
        })),
        set: |config, given| {
            put(
                &mut config.settings.process.shutdown_timeout,
                given.duration(&check::TIMEOUT),
            )
        },
    },
    Scalar {
        section: "process",
        key: "cancel_grace",
        variable: "QUEUE_CANCEL_GRACE",
        flag: None,
        set: |config, given| {
            put(
                &mut config.settings.process.cancel_grace,
                given.duration(&check::TIMEOUT),
            )
        },
    },
    Scalar {
        section: "process",
        key: "notifications",
        variable: "QUEUE_NOTIFICATIONS",
        flag: Some(("--notifications", |flags| flags.notifications.as_deref())),
        set: |config, given| put(&mut config.settings.process.notifications, given.boolean()),
    },
    Scalar {
        section: "maintenance",
        key: "enabled",
        variable: "QUEUE_MAINTENANCE",
        flag: Some(("--maintenance", |flags| flags.maintenance.as_deref())),
        set: |config, given| put(&mut config.settings.maintenance.enabled, given.boolean()),
    },
    Scalar {
        section: "maintenance",
        key: "interval",
        variable: "QUEUE_MAINTENANCE_INTERVAL",
        flag: None,
        set: |config, given| {
            put(
                &mut config.settings.maintenance.interval,
                given.duration(&check::CLEARING),
            )
        },
    },
    Scalar {
        section: "maintenance",
        key: "batch_size",
        variable: "QUEUE_MAINTENANCE_BATCH_SIZE",
        flag: None,
        set: |config, given| {
            let size = given.whole_number(&check::CLEARING_BATCH)?;
            put(&mut config.settings.maintenance.batch_size, Ok(size as u32))
        },
    },
    Scalar {
        section: "retention",
        key: "finished",
        variable: "QUEUE_RETENTION_FINISHED",
        flag: None,
        set: |config, given| {
            let keep = given.keep(&check::KEEP)?;
            put(&mut config.settings.retention.finished, Ok(keep.into()))
        },
    },
    Scalar {
        section: "retention",
        key: "failed",
        variable: "QUEUE_RETENTION_FAILED",
        flag: None,
        set: |config, given| {
            let keep = given.keep(&check::KEEP)?;
            put(&mut config.settings.retention.failed, Ok(keep.into()))
        },
    },
    Scalar {
        section: "retention",
        key: "firings",
        variable: "QUEUE_RETENTION_FIRINGS",
        flag: None,
        set: |config, given| {
            let keep = given.keep(&check::KEEP_FIRINGS)?;
            put(&mut config.settings.retention.firings, Ok(keep.into()))
        },
    },
];

/// Reads the keys of one section of the file.
pub(super) fn read_section(name: &str, section: &mut Section<'_>, draft: &mut Draft) {
    for scalar in SCALARS.iter().filter(|scalar| scalar.section == name) {
        if let Some(entry) = section.get(scalar.key) {
            let outcome = (scalar.set)(&mut draft.config, entry.given());
            draft.record(&entry.key, entry.place(), outcome);
        }
    }
}

/// Lays the environment over the file.
pub(super) fn read_variables<'v>(
    variable: impl Fn(&'static str) -> Option<&'v str>,
    draft: &mut Draft,
) {
    for scalar in SCALARS {
        if let Some(text) = variable(scalar.variable) {
            scalar.give(text, Place::Variable(scalar.variable), draft);
        }
    }
}

/// Lays the flags over file and environment.
pub(super) fn read_flags(flags: &Overrides, draft: &mut Draft) {
    for scalar in SCALARS {
        if let Some((name, value)) = scalar.flag
            && let Some(text) = value(flags)
        {
            scalar.give(text, Place::Flag(name), draft);
        }
    }
}

impl Scalar {
    fn give(&self, text: &str, place: Place, draft: &mut Draft) {
        let outcome = (self.set)(&mut draft.config, Given::Text(text));
        draft.record(&format!("{}.{}", self.section, self.key), place, outcome);
    }
}

fn put<T>(setting: &mut T, value: Result<T, String>) -> Result<(), String> {
    *setting = value?;
    Ok(())
}

/// Does not repeat what it refuses: it may hold a password.
fn database_url(given: Given<'_>) -> Result<String, String> {
    let url = given
        .text()
        .map_err(|_| "expected a text in quotes".to_owned())?;
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(url.to_owned());
    }
    Err("expected a URL that starts with postgres:// or postgresql://".to_owned())
}

fn schema(given: Given<'_>) -> Result<String, String> {
    let schema = given.text()?;
    Schema::named(schema)
        .map_err(|refused| format!("`{schema}` cannot name a schema: {}", refused.reason()))?;
    Ok(schema.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_listed() {
        let listed = |variable: &str| VARIABLES.iter().any(|(name, _)| *name == variable);
        for scalar in SCALARS {
            assert!(listed(scalar.variable), "{}", scalar.variable);
        }
        for variable in super::super::workers::VARIABLES_OF_WORKERS {
            assert!(listed(variable), "{variable}");
        }
        assert_eq!(
            VARIABLES.len(),
            SCALARS.len() + 4,
            "the file and the workers make the rest"
        );
    }
}
