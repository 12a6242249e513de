//! `[recurring.NAME]`: recurring jobs.

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use queue_core::recurring::{
    InvalidRecurringJob, JITTER_MAX, MISSED_MAX, Missed, Overlap, RecurringJob,
};
use queue_core::schedule::Tz;
use queue_core::{
    NewJob, Options, Schedule, check_kind, check_queue, check_recurring_job, check_tag,
};
use serde::{Deserialize, Deserializer};

use super::backoff::BackoffSettings;
use super::check::Check;
use super::handlers::{HandlerSettings, HandlerTable, Secret, Timeout};
use super::options::{count, with};
use super::values::{duration, json, zone};

/// A recurring job. Options that are `None` are those of the kind.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurringSettings {
    /// When it is enqueued.
    pub schedule: String,
    /// The time zone of the schedule, unless the schedule names one; by default that of the scheduler.
    pub zone: Option<Tz>,
    /// The kind of its jobs. A recurring job with its own handler is a kind of the same name.
    pub kind: String,
    /// The arguments of its jobs.
    pub args: serde_json::Value,
    /// The queue of its jobs.
    pub queue: Option<String>,
    /// The priority of its jobs.
    pub priority: Option<i16>,
    /// How many failures a job may have, from 1 to 1,000.
    pub attempts: Option<u16>,
    /// How many times the process of a job may die while it runs, from 1 to 1,000.
    pub crashes: Option<u16>,
    /// The tags of its jobs.
    pub tags: Vec<String>,
    /// What happens at due times that were missed by over a minute; `once` by default.
    pub missed: Missed,
    /// How many missed due times are handled one by one; 100 by default. Earlier ones are handled together.
    pub missed_max: Option<u32>,
    /// What happens at a due time while an earlier job has not ended; `allow` by default.
    pub overlap: Overlap,
    /// Delays each job by a random time up to this; none by default.
    pub jitter: Duration,
}

impl RecurringSettings {
    /// Makes the recurring job of a job with its kind and arguments.
    ///
    /// # Errors
    /// Returns the errors of [`RecurringJob::of`].
    pub fn named(&self, name: &str, job: NewJob) -> Result<RecurringJob, InvalidRecurringJob> {
        let job = job.with(|options| self.options(options));
        let mut recurring = RecurringJob::of(name, &self.schedule, job)?
            .missed(self.missed)
            .overlap(self.overlap)
            .jitter(self.jitter)?;
        if let Some(zone) = self.zone {
            recurring = recurring.zone(zone);
        }
        match self.missed_max {
            Some(count) => recurring.missed_max(count),
            None => Ok(recurring),
        }
    }

    fn options(&self, options: Options) -> Options {
        let options = with(options, self.queue.clone(), Options::queue);
        let options = with(options, self.priority, Options::priority);
        let options = with(options, self.attempts.map(count), Options::attempts);
        let options = with(options, self.crashes.map(count), Options::crashes);
        self.tags.iter().cloned().fold(options, Options::tag)
    }
}

/// A recurring job in the file: with `kind`, or with the keys of a handler.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct RecurringTable {
    kind: Option<String>,
    command: Option<Vec<String>>,
    http: Option<String>,
    env: BTreeMap<String, Secret>,
    cwd: Option<PathBuf>,
    headers: BTreeMap<String, Secret>,
    timeout: Option<Timeout>,
    backoff: Option<BackoffSettings>,
    queue: Option<String>,
    attempts: Option<u16>,
    #[serde(deserialize_with = "some_zone")]
    zone: Option<Tz>,
    schedule: Option<String>,
    #[serde(deserialize_with = "json")]
    args: Option<serde_json::Value>,
    priority: Option<i16>,
    crashes: Option<u16>,
    tags: Vec<String>,
    missed: Missed,
    missed_max: Option<u32>,
    overlap: Overlap,
    #[serde(deserialize_with = "duration")]
    jitter: Duration,
}

fn some_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tz>, D::Error> {
    zone(deserializer).map(Some)
}

impl RecurringTable {
    /// Returns the recurring job, and its handler if it has its own. Reports everything that is wrong
    /// with it.
    pub(super) fn recurring(
        mut self,
        name: &str,
        check: &mut Check,
    ) -> Option<(RecurringSettings, Option<HandlerSettings>)> {
        let before = check.problems.len();
        check.name("", Some(name), check_recurring_job);
        let (kind, handler) = self.kind_and_handler(name, check);
        let schedule = self.schedule(check);
        check.number("crashes", self.crashes, 1..=1000);
        let missed_max = (*MISSED_MAX.start()).into()..=(*MISSED_MAX.end()).into();
        check.number("missed_max", self.missed_max, missed_max);
        check.duration("jitter", self.jitter, Duration::ZERO..=JITTER_MAX);
        for (position, tag) in self.tags.iter().enumerate() {
            check.name(&format!("tags[{position}]"), Some(tag), check_tag);
        }
        let recurring = RecurringSettings {
            schedule: schedule?,
            zone: self.zone,
            kind: kind?,
            args: self.args.unwrap_or_else(|| serde_json::json!({})),
            queue: self.queue,
            priority: self.priority,
            attempts: self.attempts,
            crashes: self.crashes,
            tags: self.tags,
            missed: self.missed,
            missed_max: self.missed_max,
            overlap: self.overlap,
            jitter: self.jitter,
        };
        // Finds mistakes that no single key shows, such as arguments that are too large.
        if check.problems.len() == before {
            let job = NewJob::untyped(recurring.kind.clone(), &recurring.args, Options::new());
            if let Err(refused) = recurring.named(name, job) {
                check.refuse("", with_cause(&refused));
            }
        }
        Some((recurring, handler))
    }

    /// Returns the kind, and the handler if the recurring job has its own.
    fn kind_and_handler(
        &mut self,
        name: &str,
        check: &mut Check,
    ) -> (Option<String>, Option<HandlerSettings>) {
        let has_handler = self.command.is_some() || self.http.is_some();
        match (self.kind.take(), has_handler) {
            (Some(kind), false) => {
                self.check_known_kind(&kind, check);
                (Some(kind), None)
            }
            (None, true) => (Some(name.to_owned()), self.take_handler().handler(check)),
            (Some(_), true) => {
                check.refuse("kind", "use either `kind`, or `command` or `http`");
                (None, None)
            }
            (None, false) => {
                check.refuse("", "a recurring job needs `kind`, `command` or `http`");
                (None, None)
            }
        }
    }

    fn check_known_kind(&self, kind: &str, check: &mut Check) {
        let strays = [
            ("env", !self.env.is_empty()),
            ("cwd", self.cwd.is_some()),
            ("headers", !self.headers.is_empty()),
            ("timeout", self.timeout.is_some()),
            ("backoff", self.backoff.is_some()),
        ];
        let message = "belongs to a recurring job with `command` or `http`";
        check.stray(strays, message);
        check.name("kind", Some(kind), check_kind);
        check.name("queue", self.queue.as_deref(), check_queue);
        check.number("attempts", self.attempts, 1..=1000);
    }

    fn take_handler(&mut self) -> HandlerTable {
        HandlerTable {
            command: self.command.take(),
            http: self.http.take(),
            env: mem::take(&mut self.env),
            cwd: self.cwd.take(),
            headers: mem::take(&mut self.headers),
            timeout: self.timeout.take(),
            queue: self.queue.clone(),
            attempts: self.attempts,
            backoff: self.backoff.take(),
        }
    }

    /// Returns the schedule. Whether it is valid does not depend on the time zone.
    fn schedule(&mut self, check: &mut Check) -> Option<String> {
        let Some(text) = self.schedule.take() else {
            let message =
                "a recurring job needs `schedule`, such as \"every 5 minutes\" or \"0 9 * * *\"";
            check.refuse("", message);
            return None;
        };
        check.accept("schedule", Schedule::parse(&text, Tz::UTC))?;
        Some(text)
    }
}

fn with_cause(error: &InvalidRecurringJob) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
