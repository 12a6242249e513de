//! `/recurring` and `/recurring/{name}`: did the last one happen, and when is the next?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::recurring;
use queue_core::inspect::{
    FiringDetails, RecurringJobDetails, RecurringJobSummary, spell_duration,
};
use queue_core::schedule::{Tz, parse_zone};

use super::parts::{From, Pager};
use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge, exact, json, pictured, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::sites::{Reading, Sites};
use crate::visit::Visit;
use crate::words::counted;

/// How many firings of a schedule are shown.
const FIRINGS: u32 = 20;

#[derive(Template)]
#[template(path = "recurring.html")]
struct Recurring {
    frame: Frame,
    answer: Html,
    rows: Vec<Row>,
    pager: Option<Pager>,
    /// The address of the form to add one, for admins.
    add_href: Option<String>,
}

#[derive(Template)]
#[template(path = "recurring_one.html")]
struct One {
    frame: Frame,
    answer: Html,
    name: Html,
    badge: Html,
    is_paused: bool,
    is_admin: bool,
    /// Whether it was added at run time.
    is_own: bool,
    acts_href: String,
    zone: String,
    upcoming: Vec<Upcoming>,
    firings: Vec<FiringRow>,
    args: Option<Html>,
    facts: Vec<(&'static str, Html)>,
}

struct Row {
    shard: Html,
    name: Html,
    href: String,
    words: String,
    kind: Html,
    is_paused: bool,
    next: Html,
    last_badge: Html,
    last: Html,
}

/// A time to come, by the clock of a schedule and in UTC.
pub(super) struct Upcoming {
    pub(super) own: String,
    pub(super) utc: String,
    pub(super) in_words: Html,
}

struct FiringRow {
    badge: Html,
    due: Html,
    said: Html,
}

pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(from): Query<From>,
) -> Result<Response, Refusal> {
    let read = async |mut of: Reading| {
        let jobs = recurring::list(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, jobs))
    };
    let found = sites.read(&visit.links, read).await?;
    let jobs = found.each();
    let jobs = jobs.flat_map(|(links, jobs)| jobs.iter().map(move |job| (links, job)));
    let mut jobs: Vec<(&Links, &RecurringJobSummary)> = jobs.collect();
    jobs.sort_by_key(|(_, job)| (!is_wrong(job), job.paused_at.is_some(), job.next_at));
    let (shown, pager) = from.part(&jobs, "/recurring", &visit.links);
    page(&Recurring {
        frame: Frame::around(&found, &visit, Page::Recurring, "Recurring"),
        answer: answer(&jobs),
        add_href: visit
            .may(Role::Admin)
            .then(|| visit.links.to("/add-recurring")),
        pager,
        rows: shown
            .iter()
            .map(|(links, job)| Row::new(job, links, found.signs.now))
            .collect(),
    })
}

/// Returns whether the last due time led to no job, though one was wanted.
fn is_wrong(job: &RecurringJobSummary) -> bool {
    matches!(job.last_outcome.as_deref(), Some("missed" | "failed"))
}

fn answer(jobs: &[(&Links, &RecurringJobSummary)]) -> Html {
    let all = jobs.len() as u64;
    let jobs = || jobs.iter().map(|(_, job)| job);
    let wrong: Vec<_> = jobs().filter(|job| is_wrong(job)).collect();
    let paused = jobs().filter(|job| job.paused_at.is_some()).count();
    let mut answer = match wrong.first() {
        None if all == 0 => return Html::new().strong("No job recurs."),
        None if all == 1 => Html::new().strong("The one schedule did what it should."),
        None => Html::new().strong(format!("All {all} schedules did what they should.")),
        Some(first) => {
            let well = all - wrong.len() as u64;
            let answer =
                Html::new().strong(format!("{well} of {all} schedules did what they should."));
            let what = match first.last_outcome.as_deref() {
                Some("missed") => " missed its last time.",
                _ => " could not be enqueued.",
            };
            answer.text(" ").user(&first.name).text(what)
        }
    };
    if paused > 0 {
        let is = counted(paused as u64, "is", "are");
        answer = answer.text(format!(" {is} paused."));
    }
    answer
}

impl Row {
    fn new(job: &RecurringJobSummary, links: &Links, now: DateTime<Utc>) -> Self {
        Self {
            shard: links.mark(&links.to("/recurring")),
            name: user(&job.name),
            href: links.one("recurring", &job.name),
            words: described(job.words.as_deref(), &job.schedule, &job.zone),
            kind: user(&job.kind),
            is_paused: job.paused_at.is_some(),
            next: next(job.paused_at, job.next_at, now),
            last_badge: outcome_badge(job.last_outcome.as_deref()),
            last: match (job.last_due_at, job.last_job_id) {
                (None, _) => Html::new().text("none yet"),
                (Some(at), None) => ago(at, now),
                (Some(at), Some(id)) => ago(at, now)
                    .text(", job ")
                    .link(&links.job(id), &links.id(id)),
            },
        }
    }
}

fn described(words: Option<&str>, schedule: &str, zone: &str) -> String {
    let words = words.map_or_else(|| pictured(schedule), str::to_owned);
    format!("{words}, {}", pictured(zone))
}

fn next(
    paused_at: Option<DateTime<Utc>>,
    next_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Html {
    match (paused_at, next_at) {
        (Some(_), _) => badge("paused"),
        (None, Some(at)) if at < now => Html::new()
            .raw("<span class=\"warn\">due ")
            .html(&ago(at, now))
            .raw("</span>"),
        (None, Some(at)) => ago(at, now),
        (None, None) => Html::new().text("never"),
    }
}

fn outcome_badge(outcome: Option<&str>) -> Html {
    match outcome {
        Some("enqueued") => badge("enqueued"),
        Some("missed") => badge("missed"),
        Some("failed") => badge("failed"),
        Some(outcome) => Html::new()
            .raw("<span class=\"state\">")
            .text(outcome)
            .raw("</span>"),
        None => Html::new(),
    }
}

/// `GET /recurring/{name}`
pub(crate) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let job = recurring::show(&mut tx, schema, &name, FIRINGS)
        .await?
        .ok_or_else(|| missing(&name))?;
    let title = format!("Recurring {}", pictured(&name));
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Recurring, title).await?;
    let links = &visit.links;
    let args = site.settings.redaction.args(&job.kind, &job.args);
    let zone = parse_zone(&job.zone).unwrap_or(Tz::UTC);
    page(&One {
        frame,
        answer: one_answer(&job, signs.now),
        name: user(&job.name),
        badge: if job.paused_at.is_some() {
            badge("paused")
        } else {
            Html::new()
        },
        is_paused: job.paused_at.is_some(),
        is_admin: visit.may(Role::Admin),
        is_own: job.source.is_none(),
        zone: zone.name().to_owned(),
        acts_href: links.one("recurring", &job.name),
        upcoming: job
            .upcoming
            .iter()
            .map(|at| upcoming(*at, zone, signs.now))
            .collect(),
        firings: job
            .firings
            .iter()
            .map(|firing| FiringRow::new(firing, links, signs.now))
            .collect(),
        args: visit.may_see_args().then(|| json(&args)),
        facts: facts(&job, links, signs.now),
    })
}

pub(crate) fn missing(name: &str) -> Refusal {
    Refusal::NoThing(format!("recurring job {}", pictured(name)))
}

pub(super) fn upcoming(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> Upcoming {
    let format = "%a %-d %b %Y %H:%M:%S";
    Upcoming {
        own: at.with_timezone(&zone).format(format).to_string(),
        utc: at.format(format).to_string(),
        in_words: ago(at, now),
    }
}

fn one_answer(job: &RecurringJobDetails, now: DateTime<Utc>) -> Html {
    let words = described(job.words.as_deref(), &job.schedule, &job.zone);
    let answer = Html::new().text("It runs ").strong(words);
    match (job.paused_at, job.next_at) {
        (Some(at), _) => answer
            .text(", but is paused since ")
            .html(&exact(at, now))
            .text(" UTC."),
        (None, Some(at)) if at < now => answer
            .text(". It was due ")
            .html(&ago(at, now))
            .text(" and no scheduler has looked at it."),
        (None, Some(at)) => answer.text("; next ").html(&ago(at, now)).text("."),
        (None, None) => answer.text(" and has no time to come."),
    }
}

impl FiringRow {
    fn new(firing: &FiringDetails, links: &Links, now: DateTime<Utc>) -> Self {
        let due = match firing.due_at {
            Some(at) => exact(at, now),
            None => Html::new()
                .text("by hand at ")
                .html(&exact(firing.fired_at, now)),
        };
        let mut said = Html::new();
        if let Some(id) = firing.job_id {
            said = said.text("job ").link(&links.job(id), &format!("#{id}"));
        }
        if let Some(reason) = &firing.reason {
            let join = if said.is_empty() { "" } else { "; " };
            said = said.text(join).user(reason);
        }
        if let Some(since) = firing.since {
            said = said.text(" for all times since ").html(&exact(since, now));
        }
        Self {
            badge: outcome_badge(Some(&firing.outcome)),
            due,
            said,
        }
    }
}

fn facts(
    job: &RecurringJobDetails,
    links: &Links,
    now: DateTime<Utc>,
) -> Vec<(&'static str, Html)> {
    let text = |text: String| Html::new().text(text);
    let source = match &job.source {
        Some(source) => Html::new().text("declared by ").user(source),
        None => text("added at run time".into()),
    };
    let mut facts = vec![
        (
            "Schedule",
            Html::new()
                .raw("<span class=\"mono\">")
                .user(&job.schedule)
                .raw("</span>"),
        ),
        ("Zone", user(&job.zone)),
        (
            "Kind",
            Html::new().link(&links.jobs(&[("kind", &job.kind)]), &job.kind),
        ),
        (
            "Queue",
            Html::new().link(&links.one("queues", &job.queue), &job.queue),
        ),
        ("Missed", text(job.missed.clone())),
        ("Overlap", text(job.overlap.clone())),
        ("From", source),
        ("Added", ago(job.created_at, now)),
        ("Changed", ago(job.updated_at, now)),
    ];
    if job.jitter_seconds > 0.0 {
        facts.push((
            "Jitter",
            text(format!("up to {}", spell_duration(job.jitter_seconds))),
        ));
    }
    facts
}
