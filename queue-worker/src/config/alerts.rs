//! `[alerts]`: which alerts are sent, and how.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use queue_core::alerts::AlertKind;
use serde::Deserialize;

use super::check::Check;
use super::handlers::{HandlerRun, HandlerTable, Secret};
use super::values::duration;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const LATENCY: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);

/// Which problems alerts are sent about, and where they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// The command that is run, or the endpoint that is called.
    pub run: HandlerRun,
    /// What alerts are about; everything but `failed_job` by default.
    pub on: Vec<AlertKind>,
    /// How long a job may be ready before its queue is a backlog; 5 minutes by default.
    pub latency: Duration,
    /// How often all processes together look, and how often they send a message at most; 30 seconds by
    /// default.
    pub interval: Duration,
}

/// The table in the file: with `command` or with `http`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct AlertTable {
    command: Option<Vec<String>>,
    http: Option<String>,
    env: BTreeMap<String, Secret>,
    cwd: Option<PathBuf>,
    headers: BTreeMap<String, Secret>,
    on: Vec<AlertKind>,
    #[serde(deserialize_with = "duration")]
    latency: Duration,
    #[serde(deserialize_with = "duration")]
    interval: Duration,
}

impl Default for AlertTable {
    fn default() -> Self {
        Self {
            command: None,
            http: None,
            env: BTreeMap::new(),
            cwd: None,
            headers: BTreeMap::new(),
            on: vec![
                AlertKind::Cause,
                AlertKind::Backlog,
                AlertKind::DeadProcess,
                AlertKind::LateSchedule,
                AlertKind::PartialBatch,
            ],
            latency: Duration::from_secs(300),
            interval: Duration::from_secs(30),
        }
    }
}

impl AlertTable {
    /// Returns the settings, and rejects everything that is invalid in them.
    pub(super) fn alerts(self, check: &mut Check) -> Option<AlertSettings> {
        let mut handler = HandlerTable {
            command: self.command,
            http: self.http,
            env: self.env,
            cwd: self.cwd,
            headers: self.headers,
            ..HandlerTable::default()
        };
        let run = handler.run(check);
        check.duration("latency", self.latency, LATENCY);
        check.duration("interval", self.interval, INTERVAL);
        Some(AlertSettings {
            run: run?,
            on: self.on,
            latency: self.latency,
            interval: self.interval,
        })
    }
}
