//! The settings of each part of a process, with defaults and ranges. They are also the tables of
//! `queue.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use queue_core::schedule::Tz;
use queue_core::{Schema, check_kind, check_queue};
use serde::{Deserialize, Deserializer};

use super::check::{Check, Rules};
use super::queues::QueueList;
use super::values::{duration, keep, names, secret, zone};

const DAY: Duration = Duration::from_secs(86_400);
const POLL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
const DEAD_AFTER: RangeInclusive<Duration> = Duration::from_millis(300)..=DAY;
const TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=DAY;
const CLEARING: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// A century: Postgres can still add such an interval to any date that occurs.
const KEEP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(36_525 * 86_400);
/// Firings prevent a second enqueue of a due time after the database's clock was set back.
const KEEP_FIRINGS: RangeInclusive<Duration> = DAY..=*KEEP.end();

/// How many heartbeats a process may miss before others presume it dead. With fewer than three,
/// one slow answer of the database would be enough.
const HEARTBEATS_TO_DEATH: u32 = 3;

/// One worker: the queues that it serves, and how many of their jobs it runs at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct WorkerSettings {
    /// The queues that it serves, the most urgent first; every queue by default.
    pub queues: QueueList,
    /// How many jobs it runs at once, from 1 to 10,000; 10 by default.
    pub concurrency: usize,
    /// How often it polls for jobs when nothing wakes it; 1 second by default.
    #[serde(deserialize_with = "duration")]
    pub poll_interval: Duration,
}

impl WorkerSettings {
    pub(super) fn check(&self, check: &mut Check) {
        check.number("concurrency", Some(self.concurrency as u64), 1..=10_000);
        check.duration("poll_interval", self.poll_interval, POLL);
    }
}

/// The dispatcher, which makes scheduled jobs ready when they are due.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct DispatcherSettings {
    /// Whether this process dispatches; true by default. At least one process must.
    pub enabled: bool,
    /// How often it polls for due jobs; 1 second by default.
    #[serde(deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// How many jobs one statement makes ready, from 1 to 10,000; 1,000 by default.
    pub batch_size: u32,
}

impl DispatcherSettings {
    pub(super) fn check(&self, check: &mut Check) {
        check.duration("poll_interval", self.poll_interval, POLL);
        check.number("batch_size", Some(self.batch_size), 1..=10_000);
    }
}

/// The scheduler, which enqueues recurring jobs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct SchedulerSettings {
    /// Whether this process registers the recurring jobs that it declares, and enqueues those that
    /// are due; true by default. At least one process must.
    pub enabled: bool,
    /// How often it looks for recurring jobs that were added or changed; 1 second by default. Jobs
    /// that are due sooner are enqueued sooner.
    #[serde(deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// The time zone of schedules that name none; UTC by default.
    #[serde(deserialize_with = "zone")]
    pub time_zone: Tz,
    /// The source under which recurring jobs are declared; by default the name of the program. If
    /// it is set, a process removes the recurring jobs of this source that it does not declare
    /// itself when it starts, so all processes of one source must declare the same ones.
    /// Otherwise they stay until they are removed by hand, because other programs may have the
    /// same name.
    pub source: Option<String>,
}

impl SchedulerSettings {
    pub(super) fn check(&self, check: &mut Check) {
        check.duration("poll_interval", self.poll_interval, POLL);
        check.process_name("source", self.source.as_ref());
    }
}

/// What log lines say about jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct LogSettings {
    /// Whether they name the user of a job's context, which is personal data; false by default.
    pub user: bool,
}

/// The process itself: heartbeats and shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct ProcessSettings {
    /// The name of this process; by default its host and process id.
    pub name: Option<String>,
    /// How often it writes its heartbeat; 5 seconds by default.
    #[serde(deserialize_with = "duration")]
    pub heartbeat_interval: Duration,
    /// How old a heartbeat may be before others presume the process dead and recover its jobs; 30
    /// seconds by default, at least three times `heartbeat_interval`. Each process applies its own
    /// value to the others: keep it the same everywhere, and raise it before
    /// `heartbeat_interval`.
    #[serde(deserialize_with = "duration")]
    pub dead_after: Duration,
    /// How long the process may take to end after it was asked to stop; 25 seconds by default, less than
    /// the 30 that container platforms grant. Running jobs may finish until `cancel_grace` and the time to
    /// record their outcomes (up to 3 seconds) are left: with the defaults for 17 seconds.
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
    /// The time between asking a job to stop and dropping its future; 5 seconds by default. It is at most
    /// a quarter of `shutdown_timeout` when the process stops, and at most a tenth of the job's timeout
    /// when the job has reached it: a job with a timeout of 10 seconds has ended after 11.
    #[serde(deserialize_with = "duration")]
    pub cancel_grace: Duration,
    /// Whether notifications of the database wake idle workers; true by default. Otherwise they
    /// only poll.
    pub notifications: bool,
    /// Whether the last log lines of each run are kept, to be shown with its job; false by default. Kinds can
    /// ask for it, too.
    pub keep_logs: bool,
    /// The port on which `queue start` answers at `/up`, `/ready` and `/metrics`; none by default, and 0
    /// takes a free one.
    pub port: Option<u16>,
    /// The URL of the server itself, for notifications and commands, if the database's URL leads to a
    /// pooler in transaction mode; without it such a process only polls.
    pub listen_url: Option<ServerUrl>,
}

impl ProcessSettings {
    /// Returns how old the last heartbeat of this process may be before it stops its jobs: before others
    /// presume it dead.
    pub(crate) fn silent_after(&self) -> Duration {
        self.dead_after.mul_f64(2.0 / 3.0)
    }
}

/// A URL with a password, which is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct ServerUrl(#[serde(deserialize_with = "secret")] pub String);

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerUrl(…)")
    }
}

/// Messages do not repeat the URL, which may contain a password.
pub(super) fn check_server_url(url: Option<&str>, key: &str, check: &mut Check) {
    let is_postgres =
        |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    if url.is_some_and(|url| !is_postgres(url)) {
        let message = "expected a URL that starts with postgres:// or postgresql://";
        check.refuse(key, message);
    }
}

impl ProcessSettings {
    pub(super) fn check(&self, check: &mut Check) {
        check.duration("heartbeat_interval", self.heartbeat_interval, HEARTBEAT);
        check.duration("dead_after", self.dead_after, DEAD_AFTER);
        check.duration("shutdown_timeout", self.shutdown_timeout, TIMEOUT);
        check.duration("cancel_grace", self.cancel_grace, TIMEOUT);
        check.process_name("name", self.name.as_ref());
        let listen_url = self.listen_url.as_ref().map(|url| url.0.as_str());
        check_server_url(listen_url, "listen_url", check);
        let least = self.heartbeat_interval.saturating_mul(HEARTBEATS_TO_DEATH);
        if self.dead_after < least {
            let [least, found] = [least, self.dead_after].map(humantime::format_duration);
            let message = format!(
                "expected dead_after of at least {least}, three times heartbeat_interval, found \
                 {found}; a process would be presumed dead after one late heartbeat"
            );
            check.disagree("dead_after", "heartbeat_interval", message);
        }
    }
}

/// The settings of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct QueueSettings {
    /// Whether the tenants of its jobs take turns; false by default.
    pub fair: bool,
}

/// Maintenance, which clears old jobs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct MaintenanceSettings {
    /// Whether this process clears; true by default. At least one process should.
    pub enabled: bool,
    /// How often it clears; every minute by default.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// How many jobs one statement clears, from 1 to 100,000; 5,000 by default.
    pub batch_size: u32,
}

impl MaintenanceSettings {
    pub(super) fn check(&self, check: &mut Check) {
        check.duration("interval", self.interval, CLEARING);
        check.number("batch_size", Some(self.batch_size), 1..=100_000);
    }
}

/// How long jobs are kept after their end. `None` means for ever.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Retention {
    /// How long finished jobs are kept; one day by default.
    #[serde(deserialize_with = "keep")]
    pub finished: Option<Duration>,
    /// How long failed jobs are kept; for ever by default.
    #[serde(deserialize_with = "keep")]
    pub failed: Option<Duration>,
    /// How long the firings of recurring jobs are kept; 30 days by default, at least one. The last
    /// one of each recurring job is always kept.
    #[serde(deserialize_with = "keep")]
    pub firings: Option<Duration>,
    /// How long events are kept after they were emitted; 7 days by default. A job that begins to wait for one
    /// later waits in vain.
    #[serde(deserialize_with = "keep")]
    pub events: Option<Duration>,
    /// How long the audit keeps what people did, and operations on many jobs; a year by default.
    #[serde(deserialize_with = "keep")]
    pub audit: Option<Duration>,
    /// How long the finished jobs of single queues are kept instead.
    pub queues: BTreeMap<String, KeepFor>,
    /// How long the finished jobs of single kinds are kept instead; overrides their queue.
    pub kinds: BTreeMap<String, KeepFor>,
}

/// How long the finished jobs of one queue or kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepFor {
    /// The jobs are never cleared.
    Forever,
    /// The jobs are cleared this long after they finished.
    For(Duration),
}

impl Retention {
    /// Returns how long a finished job is kept: the value of its kind, its queue, or the default.
    pub fn finished_for(&self, queue: &str, kind: &str) -> KeepFor {
        let of_its_own = self.kinds.get(kind).or_else(|| self.queues.get(queue));
        of_its_own.map_or(KeepFor::from(self.finished), |keep| *keep)
    }

    pub(super) fn check(&self, check: &mut Check) {
        check.duration("finished", self.finished, KEEP);
        check.duration("failed", self.failed, KEEP);
        check.duration("firings", self.firings, KEEP_FIRINGS);
        check.duration("events", self.events, KEEP);
        check.duration("audit", self.audit, KEEP);
        check.within("queues", |check| {
            check_kept(&self.queues, check_queue, check)
        });
        check.within("kinds", |check| check_kept(&self.kinds, check_kind, check));
    }
}

fn check_kept(kept: &BTreeMap<String, KeepFor>, rules: Rules, check: &mut Check) {
    for (name, keep) in kept {
        check.name(name, Some(name), rules);
        if let KeepFor::For(duration) = *keep {
            check.duration(name, duration, KEEP);
        }
    }
}

impl<'de> Deserialize<'de> for KeepFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        keep(deserializer).map(Self::from)
    }
}

impl From<Option<Duration>> for KeepFor {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Forever, Self::For)
    }
}

/// The database a process works on.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct DatabaseSettings {
    /// The URL, which may name several servers. Set it in `DATABASE_URL` instead: a file with a password in it gets
    /// copied.
    #[serde(deserialize_with = "some_secret")]
    pub url: Option<String>,
    /// The schema of the tables; `queue` by default.
    pub schema: String,
    /// Which of the `[shards]` a process serves, and commands and pages show, with commas between their names; all
    /// by default.
    #[serde(deserialize_with = "names")]
    pub shards: Option<Vec<String>>,
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    secret(deserializer).map(Some)
}

impl DatabaseSettings {
    /// Checks URL and schema.
    pub(super) fn check(&self, check: &mut Check) {
        check_server_url(self.url.as_deref(), "url", check);
        check_schema(&self.schema, check);
    }
}

pub(super) fn check_schema(schema: &str, check: &mut Check) {
    if let Err(refused) = Schema::named(schema) {
        let reason = refused.reason();
        let message = format!("`{schema}` cannot name a schema: {reason}");
        check.refuse("schema", message);
    }
}

/// Does not show the URL, which may contain a password.
impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("url", &self.url.as_ref().map(|_| "…"))
            .field("schema", &self.schema)
            .field("shards", &self.shards)
            .finish()
    }
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            schema: "queue".to_owned(),
            shards: None,
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            queues: QueueList::default(),
            concurrency: 10,
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl Default for DispatcherSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            poll_interval: Duration::from_secs(1),
            batch_size: 1000,
        }
    }
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            poll_interval: Duration::from_secs(1),
            time_zone: Tz::UTC,
            source: None,
        }
    }
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            name: None,
            heartbeat_interval: Duration::from_secs(5),
            dead_after: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(25),
            cancel_grace: Duration::from_secs(5),
            notifications: true,
            keep_logs: false,
            port: None,
            listen_url: None,
        }
    }
}

impl Default for MaintenanceSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            batch_size: 5000,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            finished: Some(DAY),
            failed: None,
            firings: Some(30 * DAY),
            events: Some(7 * DAY),
            audit: Some(365 * DAY),
            queues: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_beats_its_queue_and_a_queue_the_default() {
        let mut retention = Retention::default();
        retention
            .queues
            .insert("mail".to_owned(), KeepFor::For(7 * DAY));
        retention.kinds.insert("audit".to_owned(), KeepFor::Forever);

        for (queue, kind, keep) in [
            ("mail", "audit", KeepFor::Forever),
            ("mail", "welcome", KeepFor::For(7 * DAY)),
            ("default", "welcome", KeepFor::For(DAY)),
        ] {
            assert_eq!(retention.finished_for(queue, kind), keep, "{queue} {kind}");
        }
    }
}
