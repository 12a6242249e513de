//! Environment variables and flags, which override the file.

use std::env;
use std::ffi::{OsStr, OsString};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::document::{Document, nearest};
use super::problem::SettingPlace;

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "QUEUE_CONFIG";

/// Holds the keys for encrypted kinds. They are no setting: a file is no place for them.
pub(crate) const KEYS_VARIABLE: &str = "QUEUE_ENCRYPTION_KEYS";

const PREFIX: &str = "QUEUE_";

/// Every variable that gives a setting, and the key of the setting in the file. A flag is
/// identified by the variable of its setting.
const VARIABLES: [(&str, &str); 31] = [
    ("DATABASE_URL", "database.url"),
    ("QUEUE_SCHEMA", "database.schema"),
    ("QUEUE_SHARDS", "database.shards"),
    ("QUEUE_QUEUES", "workers.queues"),
    ("QUEUE_CONCURRENCY", "workers.concurrency"),
    ("QUEUE_POLL_INTERVAL", "workers.poll_interval"),
    ("QUEUE_DISPATCHER", "dispatcher.enabled"),
    ("QUEUE_DISPATCHER_POLL_INTERVAL", "dispatcher.poll_interval"),
    ("QUEUE_DISPATCHER_BATCH_SIZE", "dispatcher.batch_size"),
    ("QUEUE_SCHEDULER", "scheduler.enabled"),
    ("QUEUE_SCHEDULER_POLL_INTERVAL", "scheduler.poll_interval"),
    ("QUEUE_SCHEDULER_SOURCE", "scheduler.source"),
    ("QUEUE_TIME_ZONE", "scheduler.time_zone"),
    ("QUEUE_PROCESS_NAME", "process.name"),
    ("QUEUE_HEARTBEAT_INTERVAL", "process.heartbeat_interval"),
    ("QUEUE_DEAD_AFTER", "process.dead_after"),
    ("QUEUE_SHUTDOWN_TIMEOUT", "process.shutdown_timeout"),
    ("QUEUE_CANCEL_GRACE", "process.cancel_grace"),
    ("QUEUE_NOTIFICATIONS", "process.notifications"),
    ("QUEUE_KEEP_LOGS", "process.keep_logs"),
    ("QUEUE_PROCESS_PORT", "process.port"),
    ("QUEUE_LISTEN_URL", "process.listen_url"),
    ("QUEUE_MAINTENANCE", "maintenance.enabled"),
    ("QUEUE_MAINTENANCE_INTERVAL", "maintenance.interval"),
    ("QUEUE_MAINTENANCE_BATCH_SIZE", "maintenance.batch_size"),
    ("QUEUE_LOG_USER", "log.user"),
    ("QUEUE_RETENTION_FINISHED", "retention.finished"),
    ("QUEUE_RETENTION_FAILED", "retention.failed"),
    ("QUEUE_RETENTION_FIRINGS", "retention.firings"),
    ("QUEUE_RETENTION_EVENTS", "retention.events"),
    ("QUEUE_RETENTION_AUDIT", "retention.audit"),
];

/// Returns the value that the file would have for a string from elsewhere: the names of settings
/// that are numbers or booleans are listed here. A string that cannot be parsed stays a string,
/// which serde then rejects.
fn value<'a>(name: &str, text: &'a str) -> DeValue<'a> {
    let parsed = match (name, text) {
        ("enabled" | "notifications" | "keep_logs" | "user", "true" | "1" | "yes" | "on") => {
            Some(DeValue::Boolean(true))
        }
        ("enabled" | "notifications" | "keep_logs" | "user", "false" | "0" | "no" | "off") => {
            Some(DeValue::Boolean(false))
        }
        ("concurrency" | "batch_size" | "port", _) => {
            DeValue::parse(text).ok().map(Spanned::into_inner)
        }
        _ => None,
    };
    parsed
        .filter(|value| matches!(value, DeValue::Boolean(_) | DeValue::Integer(_)))
        .unwrap_or_else(|| DeValue::String(text.into()))
}

/// The value of an environment variable or a flag, which overrides the file.
#[derive(Clone)]
pub struct Override {
    /// The variable; for a flag, the variable of the same setting.
    pub variable: String,
    /// Where it was given.
    pub place: SettingPlace,
    /// The value as it was typed.
    pub value: OsString,
}

impl Override {
    /// Returns the variables of this process.
    pub fn environment() -> Vec<Self> {
        env::vars_os()
            .filter_map(|(name, value)| Some(Self::variable(name.to_str()?, value)))
            .collect()
    }

    /// Makes the override of a variable.
    pub fn variable(name: &str, value: impl AsRef<OsStr>) -> Self {
        Self {
            variable: name.to_owned(),
            place: SettingPlace::Variable(name.to_owned()),
            value: value.as_ref().to_owned(),
        }
    }

    /// Makes the override of a flag, given the variable of the same setting.
    pub fn flag(name: &str, variable: &str, value: impl AsRef<OsStr>) -> Self {
        Self {
            place: SettingPlace::Flag(name.to_owned()),
            ..Self::variable(variable, value)
        }
    }
}

/// Lays variables and flags over the file. For each setting the last override wins.
///
/// Settings are applied in the order of `VARIABLES`, queues first: `QUEUE_CONCURRENCY` applies to
/// the worker that `--queues` creates.
pub(super) fn lay_over<'a>(overrides: &'a [Override], document: &mut Document<'a>) {
    refuse_misspelt(overrides, document);
    for (variable, key) in VARIABLES {
        for given in overrides.iter().filter(|given| given.variable == variable) {
            let place = given.place.clone();
            match given.value.to_str() {
                Some(text) => set(key, text, place, document),
                None => document.refuse(place, "the value is not valid UTF-8"),
            }
        }
    }
}

/// Rejects variables with a name similar to that of a setting. All others are left alone:
/// Kubernetes sets `QUEUE_SERVICE_HOST` for a service with the name `queue`.
fn refuse_misspelt(overrides: &[Override], document: &mut Document<'_>) {
    let known = VARIABLES.map(|(name, _key)| name);
    let known = || known.into_iter().chain([FILE_VARIABLE, KEYS_VARIABLE]);
    for given in overrides {
        if known().any(|name| name == given.variable) {
            continue;
        }
        let endings = known().filter_map(|name| name.strip_prefix(PREFIX));
        let ending = given.variable.strip_prefix(PREFIX);
        if let Some(near) = ending.and_then(|ending| nearest(ending, endings)) {
            let message = format!("unknown variable; did you mean `{PREFIX}{near}`?");
            document.refuse(given.place.clone(), message);
        }
    }
}

/// Puts a value into the table of its section, or into those of all workers.
fn set<'a>(key: &'static str, text: &'a str, place: SettingPlace, document: &mut Document<'a>) {
    let Some((section, name)) = key.split_once('.') else {
        return;
    };
    let span = document.span_of(place.clone());
    let at = |value| Spanned::new(span.clone(), value);
    let DeValue::Table(root) = document.root() else {
        return;
    };
    let one_table = match section {
        "workers" => DeValue::Array(DeArray::from_iter([at(DeValue::Table(DeTable::new()))])),
        _ => DeValue::Table(DeTable::new()),
    };
    if key == "workers.queues" {
        root.remove(section);
    }
    let section_name = Spanned::new(span.clone(), section.into());
    let found = root.entry(section_name).or_insert_with(|| at(one_table));
    let mut tables = match found.get_mut() {
        DeValue::Array(tables) => tables.iter_mut().map(Spanned::get_mut).collect(),
        table => vec![table],
    };
    if key == "workers.concurrency" && tables.len() != 1 {
        let message = format!(
            "the file has {} workers, and it is not clear which one is meant; set the queues too, \
             and one worker for them replaces those of the file",
            tables.len()
        );
        return document.refuse(place, message);
    }
    for table in &mut tables {
        if let DeValue::Table(table) = table {
            table.insert(
                Spanned::new(span.clone(), name.into()),
                at(value(name, text)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_configuration_names_every_variable() {
        let sample = include_str!("../../../config/queue.toml");
        for (variable, _key) in VARIABLES {
            assert!(sample.contains(variable), "{variable}");
        }
    }
}
