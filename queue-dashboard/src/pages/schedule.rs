//! The form that adds or changes a recurring job. It shows the next times before anything is saved.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queue_core::inspect::RecurringJobDetails;
use queue_core::inspect::recurring::show;
use queue_core::recurring::{
    InvalidRecurringJob, Kinds, MISSED_MAX, Missed, Overlap, RecurringError, RecurringJob,
};
use queue_core::schedule::{Tz, parse_zone};
use queue_core::{
    InvalidName, NewJob, Options, Schedule, check_kind, check_queue, check_recurring_job, check_tag,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use super::confirm::allow_role;
use super::recurring::{Upcoming, missing, upcoming};
use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::pictured;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;

/// How many of the next times are shown before a recurring job is saved.
const PREVIEWED: usize = 5;

#[derive(Template)]
#[template(path = "schedule.html")]
struct Form {
    frame: Frame,
    fields: Vec<Field>,
    has_problems: bool,
    /// The schedule in words, its zone and its next times, once all fields are right.
    preview: Option<(String, String)>,
    upcoming: Vec<Upcoming>,
    /// The schedule whose next times are shown.
    seen: String,
    action: String,
    button: String,
    back: String,
}

/// One field of the form.
struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    value: String,
    problem: Option<String>,
    is_long: bool,
    /// The words to choose from; none if any text may be written.
    choices: &'static [&'static str],
}

/// The fields: name, label and hint.
const FIELDS: [(&str, &str, &str); 14] = [
    ("name", "Name", "Letters, digits and _ . : / -"),
    (
        "schedule",
        "Schedule",
        "As “every day at 9am”, or crontab, as “0 9 * * mon-fri”.",
    ),
    (
        "zone",
        "Time zone",
        "As Europe/Berlin. One that the schedule names wins.",
    ),
    ("kind", "Kind", "The kind of its jobs."),
    ("args", "Arguments", "As JSON. Empty: {}."),
    ("queue", "Queue", "Empty: that of the kind."),
    (
        "priority",
        "Priority",
        "A smaller one runs sooner. Empty: that of the kind.",
    ),
    (
        "attempts",
        "Attempts",
        "How many failures a job may have. Empty: as the kind says.",
    ),
    (
        "crashes",
        "Crashes",
        "How often its process may die. Empty: as the kind says.",
    ),
    ("tags", "Tags", "With commas between them."),
    (
        "missed",
        "Missed times",
        "If no scheduler ran: one job for all, none, or one for each.",
    ),
    (
        "missed_max",
        "Missed times that count",
        "The newest, one by one. Empty: 100.",
    ),
    (
        "overlap",
        "Overlap",
        "If a job has not ended: another one, none, or one behind it.",
    ),
    (
        "jitter",
        "Jitter in seconds",
        "Each job starts up to this much later. Empty: none.",
    ),
];

/// The texts of the fields, as somebody wrote them, and the schedule whose next times the page has shown.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(HashMap<String, String>);

/// What is wrong, by the name of the field.
pub(crate) type Problems = HashMap<&'static str, String>;

/// `GET /add-recurring`
pub(crate) async fn add(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Refusal> {
    allow_role(Role::Admin, &visit, "Adding a recurring job")?;
    let mut tx = site.read().await?;
    let fields = Fields::of([
        ("zone", site.settings.time_zone.name().to_owned()),
        ("args", "{}".to_owned()),
    ]);
    form(&site, &visit, &mut tx, None, &fields, Ok(())).await
}

/// `GET /recurring/{name}/change`
pub(crate) async fn change(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    allow_role(Role::Admin, &visit, "Changing a recurring job")?;
    let mut tx = site.read().await?;
    let stored = stored(&mut tx, &site, &name).await?;
    let fields = Fields::of_stored(&stored, &site, &visit);
    form(&site, &visit, &mut tx, Some(&name), &fields, Ok(())).await
}

/// Returns a recurring job that was added at run time. One that a program declares is changed there.
pub(crate) async fn stored(
    conn: &mut PgConnection,
    site: &Site,
    name: &str,
) -> Result<RecurringJobDetails, Refusal> {
    let stored = show(conn, site.queue.schema(), name, 0).await?;
    let stored = stored.ok_or_else(|| missing(name))?;
    match stored.source {
        None => Ok(stored),
        Some(source_name) => {
            let name = stored.name;
            let declared = RecurringError::Declared { name, source_name };
            Err(Refusal::Forbidden(pictured(&format!("{declared}."))))
        }
    }
}

/// Shows the form with what is wrong, or with the next times if `read` has them.
pub(crate) async fn form(
    site: &Arc<Site>,
    visit: &Visit,
    conn: &mut PgConnection,
    name: Option<&str>,
    fields: &Fields,
    read: Result<(), Problems>,
) -> Result<Response, Refusal> {
    let title = match name {
        None => "Add a recurring job".to_owned(),
        Some(name) => format!("Change {}", pictured(name)),
    };
    let (frame, signs) = Frame::new(site, visit, conn, Page::Recurring, title).await?;
    let links = &visit.links;
    let problems = read.err().unwrap_or_default();
    let is_read = problems.is_empty() && !fields.get("schedule").is_empty();
    let schedule = fields.schedule().ok().filter(|_| is_read);
    let (back, action) = match name {
        None => (links.to("/recurring"), links.to("/add-recurring")),
        Some(name) => {
            let href = links.one("recurring", name);
            let action = format!("{href}/change");
            (href, action)
        }
    };
    let (preview, button) = match &schedule {
        None => (None, "See its next times".to_owned()),
        Some(schedule) => {
            let words = (schedule.describe(), schedule.zone().name().to_owned());
            let verb = if name.is_none() { "Add" } else { "Change" };
            (
                Some(words),
                format!("{verb} {}", pictured(fields.get("name"))),
            )
        }
    };
    let times = schedule.iter().flat_map(|schedule| {
        let times = schedule.upcoming(signs.now).take(PREVIEWED);
        times.map(|at| upcoming(at, schedule.zone(), signs.now))
    });
    let status = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let response = page(&Form {
        frame,
        has_problems: !problems.is_empty(),
        upcoming: times.collect(),
        seen: schedule.map(|_| fields.timing()).unwrap_or_default(),
        fields: fields.shown(name.is_none(), problems),
        preview,
        action,
        button,
        back,
    })?;
    Ok((status, response).into_response())
}

impl Fields {
    fn of<const N: usize>(fields: [(&str, String); N]) -> Self {
        Self(fields.map(|(name, text)| (name.to_owned(), text)).into())
    }

    /// Returns the fields of a recurring job. Arguments that are redacted, or that the viewer does not see, are
    /// left out.
    fn of_stored(job: &RecurringJobDetails, site: &Site, visit: &Visit) -> Self {
        let shown = site.settings.redaction.args(&job.kind, &job.args);
        let is_seen = visit.may_see_args() && shown.get() == job.args.get();
        let args = if is_seen { job.args.get() } else { "" };
        Self::of([
            ("name", job.name.clone()),
            ("schedule", job.schedule.clone()),
            ("zone", job.zone.clone()),
            ("kind", job.kind.clone()),
            ("args", args.to_owned()),
            ("queue", job.queue.clone()),
            ("priority", job.priority.to_string()),
            ("attempts", job.attempts_max.to_string()),
            ("crashes", job.crashes_max.to_string()),
            ("tags", job.tags.join(", ")),
            ("missed", job.missed.clone()),
            ("missed_max", job.missed_max.to_string()),
            ("overlap", job.overlap.clone()),
            ("jitter", job.jitter_seconds.to_string()),
        ])
    }

    /// Returns what stands in a field.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text.trim())
    }

    /// Sets the name of the recurring job that is changed.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.0.insert("name".to_owned(), name.to_owned());
    }

    /// Returns whether the page has shown the next times of this schedule.
    pub(crate) fn are_seen(&self) -> bool {
        self.get("seen") == self.timing()
    }

    fn timing(&self) -> String {
        format!("{} {}", self.get("schedule"), self.get("zone"))
    }

    fn zone(&self) -> Result<Tz, String> {
        parse_zone(self.get("zone")).map_err(|error| sentence(&error))
    }

    fn schedule(&self) -> Result<Schedule, String> {
        Schedule::parse(self.get("schedule"), self.zone()?).map_err(|error| sentence(&error))
    }

    /// Reads the fields as a recurring job. Empty arguments are those of `stored`, or `{}`.
    pub(crate) fn read(
        &self,
        kinds: &Kinds,
        stored: Option<&RawValue>,
    ) -> Result<RecurringJob, Problems> {
        let mut problems = Problems::new();
        let mut check = |field, problem: Option<String>| {
            problems.extend(problem.map(|problem| (field, problem)));
        };
        let is_valid = |checked: Result<(), InvalidName>| Some(sentence(checked.err()?.reason()));
        check("name", is_valid(check_recurring_job(self.get("name"))));
        check("zone", self.zone().err());
        if self.zone().is_ok() {
            check("schedule", self.schedule().err());
        }
        check("kind", is_valid(check_kind(self.get("kind"))));
        if !self.get("queue").is_empty() {
            check("queue", is_valid(check_queue(self.get("queue"))));
        }
        check("tags", self.tags().map(check_tag).find_map(is_valid));
        let args = match (self.get("args"), stored) {
            ("", Some(stored)) => Ok(stored.to_owned()),
            ("", None) => serde_json::from_str("{}"),
            (text, _) => serde_json::from_str(text),
        };
        check("args", args.as_ref().err().map(not_json));
        let any = i16::MIN..=i16::MAX;
        check("priority", number(self.get("priority"), any).err());
        check("attempts", number(self.get("attempts"), 1..=i16::MAX).err());
        check("crashes", number(self.get("crashes"), 1..=i16::MAX).err());
        check(
            "missed_max",
            number(self.get("missed_max"), MISSED_MAX).err(),
        );
        check("jitter", self.jitter().err());
        match args {
            Ok(args) if problems.is_empty() => self.recurring(kinds, &args).map_err(|error| {
                let problem = match &error {
                    InvalidRecurringJob::Job { source, .. } => sentence(source),
                    error => sentence(error),
                };
                Problems::from([("args", problem)])
            }),
            _ => Err(problems),
        }
    }

    /// Makes the recurring job of fields that are right by themselves.
    fn recurring(
        &self,
        kinds: &Kinds,
        args: &RawValue,
    ) -> Result<RecurringJob, InvalidRecurringJob> {
        let kind = self.get("kind");
        let job = match kinds.types.get(kind) {
            Some(new_job) => {
                new_job(args).map_err(|error| InvalidRecurringJob::job(self.get("name"), error))?
            }
            None => NewJob::untyped(kind, args, Options::new()),
        };
        let given = |text: &str| text.trim().parse().ok();
        let job = job.with(|options| {
            let mut options = self.tags().fold(options, Options::tag);
            if !self.get("queue").is_empty() {
                options = options.queue(self.get("queue").to_owned());
            }
            if let Some(priority) = given(self.get("priority")) {
                options = options.priority(priority);
            }
            if let Some(attempts) = given(self.get("attempts")) {
                options = options.attempts(attempts);
            }
            match given(self.get("crashes")) {
                Some(crashes) => options.crashes(crashes),
                None => options,
            }
        });
        let recurring = RecurringJob::of(self.get("name"), self.get("schedule"), job)?
            .zone(self.zone().unwrap_or(Tz::UTC))
            .missed(word::<Missed>(self.get("missed")))
            .overlap(word::<Overlap>(self.get("overlap")))
            .jitter(self.jitter().unwrap_or_default())?;
        match self.get("missed_max").parse() {
            Ok(count) => recurring.missed_max(count),
            Err(_) => Ok(recurring),
        }
    }

    fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.get("tags").split(',').map(str::trim);
        tags.filter(|tag| !tag.is_empty())
    }

    fn jitter(&self) -> Result<Duration, String> {
        let text = self.get("jitter");
        let seconds: f64 = match text {
            "" => 0.0,
            text => text.parse().map_err(|_| IS_SECONDS)?,
        };
        match seconds {
            0.0..=86_400.0 => Ok(Duration::from_secs_f64(seconds)),
            _ => Err(IS_SECONDS.to_owned()),
        }
    }

    /// Returns the fields with what is wrong. The name of a recurring job is not changed.
    fn shown(&self, is_new: bool, mut problems: Problems) -> Vec<Field> {
        let fields = FIELDS.into_iter().skip(usize::from(!is_new));
        let shown = fields.map(|(name, label, hint)| Field {
            name,
            label,
            hint: match (name, is_new) {
                ("args", false) => "As JSON. If it is left empty, they stay as they are.",
                _ => hint,
            },
            value: match name {
                "args" => visible(self.get(name)),
                _ => pictured(self.get(name)),
            },
            problem: problems.remove(name).map(|problem| pictured(&problem)),
            is_long: name == "args",
            choices: match name {
                "missed" => &["once", "skip", "all"],
                "overlap" => &["allow", "skip", "queue"],
                _ => &[],
            },
        });
        shown.collect()
    }
}

const IS_SECONDS: &str = "Write a number of seconds, from 0 to 86400.";

/// Reads a number, which may be left out.
fn number<N>(text: &str, range: RangeInclusive<N>) -> Result<Option<N>, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let (first, last) = (range.start(), range.end());
    let wrong = || format!("Write a whole number, from {first} to {last}.");
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(wrong()),
        },
    }
}

/// Reads a policy. Forms have no others than those that exist.
fn word<P: DeserializeOwned + Default>(text: &str) -> P {
    serde_json::from_value(text.into()).unwrap_or_default()
}

fn not_json(error: &serde_json::Error) -> String {
    format!("This is not JSON: {error}.")
}

/// Writes characters of JSON that cannot be seen as JSON escapes them: they stand in strings only.
fn visible(json: &str) -> String {
    let chars = json.chars().map(|c| match c.to_string() {
        seen if pictured(&seen) == seen => seen,
        _ => format!("\\u{:04x}", u32::from(c)),
    });
    chars.collect()
}

/// Writes an error as a sentence.
fn sentence(error: impl std::fmt::Display) -> String {
    let error = error.to_string();
    let mut chars = error.chars();
    match chars.next() {
        None => error,
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
    }
}
