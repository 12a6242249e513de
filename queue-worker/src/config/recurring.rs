//! `[recurring.NAME]`: jobs that are enqueued again and again.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use queue_core::recurring::{InvalidRecurring, JITTER_MAX, MISSED_MAX, Missed, Overlap, Recurring};
use queue_core::schedule::Tz;
use queue_core::{NewJob, Options, Schedule, check_kind, check_schedule, check_tag};

use super::HandlerSettings;
use super::document::{Entry, Section};
use super::draft::Draft;
use super::handlers::Reader;
use super::problem::Problem;

const JITTER: RangeInclusive<Duration> = Duration::ZERO..=JITTER_MAX;
const CRASHES: RangeInclusive<u64> = 1..=1000;

/// A job that is enqueued again and again. What it does not say is as its kind says.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurringSettings {
    /// Its times.
    pub schedule: String,
    /// The zone whose clock they are by, unless they name one; that of the scheduler when `None`.
    pub zone: Option<Tz>,
    /// The kind of its jobs. One with a command of its own is a kind of its own, by its own name.
    pub kind: String,
    /// The arguments of its jobs.
    pub args: serde_json::Value,
    /// The queue they go to.
    pub queue: Option<String>,
    /// Their priority.
    pub priority: Option<i16>,
    /// How often they are tried, from 1 to 1,000.
    pub attempts: Option<u16>,
    /// How often their process may die under them, from 1 to 1,000.
    pub crashes: Option<u16>,
    /// Their labels.
    pub tags: Vec<String>,
    /// What becomes of missed times.
    pub missed: Missed,
    /// How many missed times are looked at one by one.
    pub missed_max: Option<u32>,
    /// What becomes of a time while an earlier job has not ended.
    pub overlap: Overlap,
    /// How much later than its time a job may start.
    pub jitter: Duration,
}

impl RecurringSettings {
    /// Makes the schedule, given how jobs of its kind are enqueued.
    ///
    /// # Errors
    /// Refuses what [`Recurring::of`] refuses.
    pub fn named(&self, name: &str, options: Options) -> Result<Recurring, InvalidRecurring> {
        let job = NewJob::untyped(self.kind.clone(), &self.args, self.options(options));
        let mut recurring = Recurring::of(name, &self.schedule, job)?
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

    fn options(&self, mut options: Options) -> Options {
        let small = |count: u16| i16::try_from(count).unwrap_or(i16::MAX);
        if let Some(queue) = &self.queue {
            options = options.queue(queue.clone());
        }
        if let Some(priority) = self.priority {
            options = options.priority(priority);
        }
        if let Some(attempts) = self.attempts {
            options = options.attempts(small(attempts));
        }
        if let Some(crashes) = self.crashes {
            options = options.crashes(small(crashes));
        }
        self.tags.iter().cloned().fold(options, Options::tag)
    }
}

/// Reads all schedules, after the handlers.
pub(super) fn read(section: &Section<'_>, draft: &mut Draft) {
    for (name, entry) in section.entries() {
        match read_entry(name, &entry) {
            Ok((recurring, handler)) => add(name, &entry, recurring, handler, draft),
            Err(problems) => draft.problems.extend(problems),
        }
    }
}

fn add(
    name: &str,
    entry: &Entry<'_>,
    recurring: RecurringSettings,
    handler: Option<HandlerSettings>,
    draft: &mut Draft,
) {
    // What the reader cannot see in one key: the size of the arguments, say.
    if let Err(refused) = recurring.named(name, Options::new()) {
        draft.problems.push(entry.problem(with_cause(&refused)));
    }
    let handlers = &mut draft.config.handlers;
    if let Some(handler) = handler
        && handlers.insert(name.to_owned(), handler).is_some()
    {
        let message = format!("[handlers.{name}] is a kind of this name already");
        draft.problems.push(entry.problem(message));
    }
    draft.config.recurring.insert(name.to_owned(), recurring);
}

fn with_cause(error: &InvalidRecurring) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn read_entry(
    name: &str,
    entry: &Entry<'_>,
) -> Result<(RecurringSettings, Option<HandlerSettings>), Vec<Problem>> {
    let mut section = entry.table().map_err(|problem| vec![problem])?;
    let mut reader = Reader {
        section: &mut section,
        problems: Vec::new(),
    };
    if let Err(refused) = check_schedule(name) {
        reader.problems.push(entry.problem(refused.reason()));
    }
    let what = reader.what(name, entry);
    let recurring = reader.recurring(entry, what);
    let mut problems = reader.problems;
    section.refuse_unknown(&mut problems);
    recurring.filter(|_| problems.is_empty()).ok_or(problems)
}

/// What a schedule enqueues, and how.
struct What {
    kind: String,
    queue: Option<String>,
    attempts: Option<u16>,
    handler: Option<HandlerSettings>,
}

impl<'a> Reader<'_, 'a> {
    /// Reads the kind, or the handler that makes the schedule a kind of its own.
    fn what(&mut self, name: &str, entry: &Entry<'a>) -> Option<What> {
        let kind = self.section.get("kind");
        let handler = self.section.get("command").or(self.section.get("http"));
        match (kind, handler) {
            (Some(kind), None) => self.known_kind(&kind),
            (None, Some(_)) => self.handler(entry).map(|handler| What {
                kind: name.to_owned(),
                queue: handler.queue.clone(),
                attempts: handler.attempts,
                handler: Some(handler),
            }),
            (Some(kind), Some(_)) => {
                let message = "a schedule has `kind`, or `command` or `http`, not both";
                self.problems.push(kind.problem(message));
                None
            }
            (None, None) => {
                let message = "a schedule needs `kind`, `command` or `http`";
                self.problems.push(entry.problem(message));
                None
            }
        }
    }

    fn known_kind(&mut self, kind: &Entry<'a>) -> Option<What> {
        for key in ["env", "cwd", "headers", "timeout", "backoff"] {
            let stray = self.section.get(key);
            self.refuse(stray, "belongs to a schedule with `command` or `http`");
        }
        let kind = self.checked(kind, |entry| {
            let kind = entry.given().text()?;
            check_kind(kind).map_err(|refused| refused.reason().to_owned())?;
            Ok(kind.to_owned())
        });
        let (queue, attempts) = (self.queue(), self.attempts());
        Some(What {
            kind: kind?,
            queue,
            attempts,
            handler: None,
        })
    }

    fn recurring(
        &mut self,
        entry: &Entry<'a>,
        what: Option<What>,
    ) -> Option<(RecurringSettings, Option<HandlerSettings>)> {
        let zone = self.optional("zone", |entry| entry.given().zone());
        let schedule = self.schedule(entry);
        let args = self.optional("args", |entry| entry.given().json());
        let priority = self.optional("priority", |entry| entry.given().priority());
        let crashes = self.optional("crashes", |entry| entry.given().whole_number(&CRASHES));
        let tags = self.tags();
        let missed = self.optional("missed", |entry| policy::<Missed>(entry));
        let missed_range = u64::from(*MISSED_MAX.start())..=u64::from(*MISSED_MAX.end());
        let missed_max = self.optional("missed_max", |entry| {
            entry.given().whole_number(&missed_range)
        });
        let overlap = self.optional("overlap", |entry| policy::<Overlap>(entry));
        let jitter = self.optional("jitter", |entry| entry.given().duration(&JITTER));
        let what = what?;
        let recurring = RecurringSettings {
            schedule: schedule?,
            zone,
            kind: what.kind,
            args: args.unwrap_or_else(|| serde_json::json!({})),
            queue: what.queue,
            priority,
            attempts: what.attempts,
            crashes: crashes.map(|crashes| crashes as u16),
            tags,
            missed: missed.unwrap_or_default(),
            missed_max: missed_max.map(|count| count as u32),
            overlap: overlap.unwrap_or_default(),
            jitter: jitter.unwrap_or_default(),
        };
        Some((recurring, what.handler))
    }

    /// Reads the times. Whether they can be understood does not depend on the zone.
    fn schedule(&mut self, entry: &Entry<'a>) -> Option<String> {
        let Some(schedule) = self.section.get("schedule") else {
            let message =
                "a schedule needs `schedule`, such as \"every 5 minutes\" or \"0 9 * * *\"";
            self.problems.push(entry.problem(message));
            return None;
        };
        self.checked(&schedule, |entry| {
            let text = entry.given().text()?;
            Schedule::parse(text, Tz::UTC).map_err(|invalid| invalid.to_string())?;
            Ok(text.to_owned())
        })
    }

    fn tags(&mut self) -> Vec<String> {
        let Some(entry) = self.section.get("tags") else {
            return Vec::new();
        };
        let tags = match entry.texts("an array of texts") {
            Ok(tags) => tags,
            Err(problems) => {
                self.problems.extend(problems);
                return Vec::new();
            }
        };
        for (tag, element) in &tags {
            if let Err(refused) = check_tag(tag) {
                self.problems.push(element.problem(refused.reason()));
            }
        }
        tags.into_iter().map(|(tag, _)| tag.to_owned()).collect()
    }
}

fn policy<P: FromStr<Err: ToString>>(entry: &Entry<'_>) -> Result<P, String> {
    let word = entry.given().text()?;
    word.parse().map_err(|unknown: P::Err| unknown.to_string())
}
