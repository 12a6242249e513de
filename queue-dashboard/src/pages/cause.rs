//! `/failures/{kind}/{fingerprint}`: one cause of failures, and its jobs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use queue_core::JobState;
use queue_core::inspect::failures::{self, FailureGroup};
use queue_core::inspect::{JobFilter, JobSummary, fingerprint, jobs, spell_duration};

use super::failures::{CAUSES_OF_JOBS, CauseRow};
use super::job::frames::{Line, lines};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, pictured, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;
use crate::words::{counted, grouped, relative, seconds_between};

/// How many jobs of the kind are looked at, and how many are shown.
const LOOKED_AT: u32 = 500;
const SHOWN: usize = 20;
/// How many queues and tenants are shown.
const PLACES: usize = 10;

#[derive(Template)]
#[template(path = "cause.html")]
struct One {
    frame: Frame,
    answer: Html,
    cause: CauseRow,
    ending: String,
    message: String,
    backtrace: Vec<Line>,
    jobs: Vec<Row>,
    /// The queues and the tenants of its newest jobs.
    queues: Vec<Place>,
    tenants: Vec<Place>,
}

/// A queue or a tenant, and how many of the jobs that were looked at are its own.
struct Place {
    name: Html,
    href: String,
    jobs: String,
}

/// Counts names, and returns the most frequent first.
fn places(page: &str, links: &Links, names: impl Iterator<Item = String>) -> Vec<Place> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, jobs)| Reverse(*jobs));
    counts.truncate(PLACES);
    let place = |(name, jobs): (String, u64)| Place {
        href: links.one(page, &name),
        name: user(&name),
        jobs: grouped(jobs),
    };
    counts.into_iter().map(place).collect()
}

/// A job that failed for this cause.
struct Row {
    id: String,
    href: String,
    error: String,
    queue: Html,
    queue_href: String,
    at: Html,
}

pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((kind, print)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let missing = || Refusal::NoThing("failed job of this cause now".to_owned());
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let causes = failures::list(&mut tx, schema, CAUSES_OF_JOBS).await?;
    let is_asked = |cause: &&FailureGroup| cause.kind == kind && cause.fingerprint == print;
    let cause = causes.iter().find(is_asked).ok_or_else(missing)?;
    let title = format!("Failures of {}", pictured(&kind));
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Failures, title).await?;
    let sample = jobs::show(&mut tx, schema, cause.sample).await?;
    let mut sample = sample.ok_or_else(missing)?;
    sample.redact(&site.settings.redaction);
    let last = sample.attempts.last();
    let of_kind = JobFilter {
        states: vec![JobState::Failed],
        kind: Some(kind.clone()),
        ..JobFilter::default()
    };
    let found = jobs::list(&mut tx, schema, &of_kind, None, LOOKED_AT).await?;
    let is_alike =
        |job: &JobSummary| fingerprint(job.error.as_deref().unwrap_or_default()) == print;
    let alike: Vec<JobSummary> = found.into_iter().filter(is_alike).collect();
    let tenants = alike.iter().filter_map(|job| job.tenant.clone());
    let row = |mut job: JobSummary| {
        job.redact(&site.settings.redaction);
        Row {
            id: format!("#{}", job.id),
            href: visit.links.job(job.id),
            error: pictured(job.error.as_deref().unwrap_or_default()),
            queue: user(&job.queue),
            queue_href: visit.links.one("queues", &job.queue),
            at: ago(job.at, signs.now),
        }
    };
    page(&One {
        answer: answer(cause, relative(cause.first_at, signs.now)),
        ending: last.map(|last| last.ending.clone()).unwrap_or_default(),
        message: pictured(last.map(|last| last.error.trim_end()).unwrap_or_default()),
        backtrace: last
            .and_then(|last| last.backtrace.as_deref())
            .map(lines)
            .unwrap_or_default(),
        queues: places(
            "queues",
            &visit.links,
            alike.iter().map(|job| job.queue.clone()),
        ),
        tenants: places("tenants", &visit.links, tenants),
        jobs: alike.into_iter().take(SHOWN).map(row).collect(),
        cause: CauseRow::new(cause, &site.settings, &visit.links, signs.now),
        frame,
    })
}

fn answer(cause: &FailureGroup, first: String) -> Html {
    let jobs = counted(cause.count.unsigned_abs(), "job is", "jobs are");
    let answer = Html::new()
        .strong(format!("{jobs} failed for this cause."))
        .text(format!(" The first of them failed {first}"));
    match &cause.began_with {
        None => answer.text("."),
        Some(seen) => {
            let after = spell_duration(seconds_between(seen.first_seen_at, cause.first_at));
            let answer = answer.text(format!(", {after} after version "));
            answer.user(&seen.version).text(" was first seen.")
        }
    }
}
