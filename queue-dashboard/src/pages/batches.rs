//! `/batches` and `/batches/{id}`: how far is it, and what holds it up?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::merged::newest;
use queue_core::inspect::{BatchJob, BatchSummary, batches};
use queue_core::{BatchId, JobId};
use serde::Deserialize;

use super::batch_graph::Graph;
use super::parts::Below;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge, exact, json, pictured, progress, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::sites::{Reading, Sites};
use crate::visit::Visit;
use crate::words::{counted, grouped};

const ROWS: u32 = 50;
/// The most jobs of a batch on one page.
const JOBS: u32 = 100;
/// A batch of more jobs has no graph.
const DRAWN_MAX: u32 = 1_000;

#[derive(Template)]
#[template(path = "batches.html")]
struct Batches {
    frame: Frame,
    answer: Html,
    tabs: Vec<(&'static str, bool, String)>,
    rows: Vec<Row>,
    is_first: bool,
    newest: String,
    older: Option<String>,
}

#[derive(Template)]
#[template(path = "batch.html")]
struct One {
    frame: Frame,
    answer: Html,
    name: Html,
    badge: Html,
    progress: Html,
    counts: Vec<Html>,
    graph: Option<Graph>,
    jobs: Vec<JobRow>,
    is_first: bool,
    first: String,
    next: Option<String>,
    callbacks: Vec<JobRow>,
    metadata: Option<Html>,
    facts: Vec<(&'static str, Html)>,
    retry: Option<(String, String)>,
    cancel: Option<String>,
}

struct Row {
    id: String,
    name: Html,
    href: String,
    badge: Html,
    ended: String,
    progress: Html,
    failed: Option<String>,
    begun: Html,
}

struct JobRow {
    kind: Html,
    href: String,
    id: JobId,
    badge: Html,
    after: Vec<(String, String)>,
    more_after: usize,
    rule: Option<String>,
}

/// Which batches an address asks for.
#[derive(Deserialize)]
pub(crate) struct Asked {
    state: Option<String>,
    below: Option<Below>,
}

pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let (state, has_ended) = match asked.state.as_deref() {
        Some("running") => ("running", Some(false)),
        Some("ended") => ("ended", Some(true)),
        _ => ("all", None),
    };
    let below = asked.below.unwrap_or_default();
    below.check(&visit)?;
    let read = async |mut of: Reading| {
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let running = batches::list(&mut *conn, schema, Some(false), None, ROWS).await?;
        let below = below.of(&of.links).map(BatchId);
        let found = batches::list(conn, schema, has_ended, below, ROWS).await?;
        Ok((of, (running, found)))
    };
    let read = sites.read(&visit.links, read).await?;
    let at = |batch: &&BatchSummary| batch.created_at;
    let lists = read.each().map(|(links, (running, _))| (links, running));
    let running = newest(lists, at, ROWS as usize);
    let lists = read.each().map(|(links, (_, found))| (links, found));
    let found = newest(lists, at, ROWS as usize);
    let links = &visit.links;
    let href = |state: &str| links.to(&format!("/batches?state={state}"));
    let older = below.after(found.iter().map(|(links, batch)| (*links, batch.id.0)));
    let older = (found.len() == ROWS as usize).then_some(older);
    let tabs = [("Under way", "running"), ("Ended", "ended"), ("All", "all")];
    page(&Batches {
        answer: answer(&running),
        tabs: tabs
            .map(|(name, tab)| (name, tab == state, href(tab)))
            .to_vec(),
        rows: found
            .iter()
            .map(|(links, batch)| Row::new(batch, links, read.signs.now))
            .collect(),
        is_first: below.is_start(),
        newest: href(state),
        older: older.map(|older| format!("{}&below={older}", href(state))),
        frame: Frame::around(&read, &visit, Page::Batches, "Batches"),
    })
}

fn answer(running: &[(&Links, &BatchSummary)]) -> Html {
    let more = if running.len() == ROWS as usize {
        "At least "
    } else {
        ""
    };
    let answer = match running.len() as u64 {
        0 => return Html::new().strong("No batch is under way."),
        1 => Html::new().strong("One batch is under way."),
        many => Html::new().strong(format!("{more}{many} batches are under way.")),
    };
    match running.iter().find(|(_, batch)| batch.failed > 0) {
        None => answer,
        Some((_, batch)) => answer
            .text(" ")
            .html(&named(batch))
            .text(format!(" cannot succeed: {}.", of_its_jobs(batch.failed))),
    }
}

fn of_its_jobs(failed: i64) -> String {
    match failed {
        1 => "one of its jobs failed".to_owned(),
        failed => format!("{} of its jobs failed", grouped(failed.unsigned_abs())),
    }
}

fn named(batch: &BatchSummary) -> Html {
    match &batch.name {
        Some(name) => user(name),
        None => Html::new().text(format!("Batch {}", batch.id)),
    }
}

/// Draws how many jobs have ended, well and not.
fn progress_of(batch: &BatchSummary) -> Html {
    let well = batch.done + batch.discarded;
    let parts = [("done-part", well), ("bad-part", batch.failed)];
    let label = format!(
        "{} of {} ended, {} failed",
        grouped((batch.jobs - batch.pending).unsigned_abs()),
        grouped(batch.jobs.unsigned_abs()),
        grouped(batch.failed.unsigned_abs())
    );
    progress(&parts, batch.jobs, &label)
}

impl Row {
    fn new(batch: &BatchSummary, links: &Links, now: DateTime<Utc>) -> Self {
        let ended = grouped((batch.jobs - batch.pending).unsigned_abs());
        let jobs = grouped(batch.jobs.unsigned_abs());
        let cancelled = match batch.cancelled {
            0 => String::new(),
            cancelled => format!(", {} cancelled", grouped(cancelled.unsigned_abs())),
        };
        Self {
            id: links.id(batch.id),
            name: named(batch),
            href: links.one("batches", &batch.id.to_string()),
            badge: badge(batch.state),
            ended: format!("{ended} of {jobs}{cancelled}"),
            progress: progress_of(batch),
            failed: (batch.failed > 0).then(|| grouped(batch.failed.unsigned_abs())),
            begun: ago(batch.created_at, now),
        }
    }
}

/// Where the list of jobs begins.
#[derive(Deserialize)]
pub(crate) struct From {
    after: Option<i64>,
}

/// `GET /batches/{id}`
pub(crate) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Query(asked): Query<From>,
) -> Result<Response, Refusal> {
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let batch = find(&mut tx, &site, &id).await?;
    let title = match &batch.name {
        Some(name) => pictured(name),
        None => format!("Batch {}", batch.id),
    };
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Batches, title).await?;
    let after = JobId(asked.after.unwrap_or_default());
    // A batch that has a graph is read whole.
    let (from, limit) = match batch.jobs <= i64::from(DRAWN_MAX) {
        true => (JobId(0), DRAWN_MAX),
        false => (after, JOBS),
    };
    let read = batches::jobs(&mut tx, schema, batch.id, from, limit).await?;
    let shown = read.iter().filter(|job| job.id > after);
    let jobs: Vec<&BatchJob> = shown.take(JOBS as usize).collect();
    let callbacks = batches::callbacks(&mut tx, schema, batch.id).await?;
    let links = &visit.links;
    let href = links.one("batches", &batch.id.to_string());
    let row = |job: &BatchJob| JobRow::new(job, links);
    let last = jobs.last().filter(|_| jobs.len() == JOBS as usize);
    page(&One {
        answer: one_answer(&batch),
        name: named(&batch),
        badge: badge(batch.state),
        progress: progress_of(&batch),
        counts: counts(&batch, links),
        graph: (limit == DRAWN_MAX).then(|| Graph::of(&read)).flatten(),
        jobs: jobs.iter().copied().map(row).collect(),
        is_first: asked.after.is_none(),
        first: href.clone(),
        next: last.map(|last| format!("{href}?after={}", last.id)),
        callbacks: callbacks.iter().map(row).collect(),
        metadata: batch.metadata.as_deref().map(json),
        facts: facts(&batch, links, signs.now),
        retry: (frame.is_operator && batch.failed > 0).then(|| {
            let failed = grouped(batch.failed.unsigned_abs());
            let query = format!("/jobs/retry?state=failed&batch={}", batch.id);
            (links.to(&query), format!("Retry {failed} failed…"))
        }),
        cancel: (frame.is_operator && may_be_cancelled(&batch)).then(|| format!("{href}/cancel")),
        frame,
    })
}

/// Finds a batch by the text of its id.
pub(crate) async fn find(
    conn: &mut sqlx::PgConnection,
    site: &Site,
    id: &str,
) -> Result<BatchSummary, Refusal> {
    let none = || Refusal::NoThing(format!("batch {}", pictured(id)));
    let id = BatchId(id.parse().map_err(|_| none())?);
    let found = batches::show(conn, site.queue.schema(), id).await?;
    let mut batch = found.ok_or_else(none)?;
    batch.redact(&site.settings.redaction);
    Ok(batch)
}

/// Returns whether cancelling would change anything.
pub(crate) fn may_be_cancelled(batch: &BatchSummary) -> bool {
    batch.cancelled_at.is_none() && batch.succeeded_at.is_none() && batch.pending > 0
}

fn one_answer(batch: &BatchSummary) -> Html {
    let done = grouped((batch.done + batch.discarded).unsigned_abs());
    let jobs = counted(batch.jobs.unsigned_abs(), "job is done", "jobs are done");
    let answer = Html::new().strong(match batch.jobs {
        0 => "It has no jobs yet.".to_owned(),
        _ => format!("{done} of {jobs}."),
    });
    match batch.state {
        "open" => {
            answer.text(" It is open: more jobs may be added, and it ends once it is closed.")
        }
        "cancelled" => answer.text(" It was cancelled."),
        "failed" => answer.text(format!(
            " It failed: {}. It succeeds if they are retried and succeed.",
            of_its_jobs(batch.failed)
        )),
        "running" if batch.failed > 0 => answer.text(format!(
            " It cannot succeed until its failed jobs are retried: {}.",
            of_its_jobs(batch.failed)
        )),
        _ => answer,
    }
}

/// Returns how many jobs have ended how, and how many have not, as links to them.
fn counts(batch: &BatchSummary, links: &Links) -> Vec<Html> {
    let id = batch.id.to_string();
    let in_state = |state| links.jobs(&[("state", state), ("batch", &id)]);
    // A list of jobs is of one state, so those to go are only among all jobs.
    let counts = [
        (batch.done, "done", in_state("finished")),
        (batch.discarded, "discarded", in_state("discarded")),
        (batch.failed, "failed", in_state("failed")),
        (batch.cancelled, "cancelled", in_state("cancelled")),
        (batch.pending, "to go", "#members".to_owned()),
    ];
    let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
    counts
        .map(|(count, word, href)| {
            let said = format!("{} {word}", grouped(count.unsigned_abs()));
            Html::new().link(&href, &said)
        })
        .collect()
}

fn facts(batch: &BatchSummary, links: &Links, now: DateTime<Utc>) -> Vec<(&'static str, Html)> {
    let mut facts = vec![("Id", Html::new().text(batch.id))];
    if let Some(parent) = batch.parent_id {
        let href = links.one("batches", &parent.to_string());
        facts.push((
            "Part of",
            Html::new().link(&href, &format!("batch {parent}")),
        ));
    }
    facts.push(("Created", exact(batch.created_at, now)));
    let times = [
        ("Closed", batch.closed_at),
        ("Cancelled", batch.cancelled_at),
        ("Completed", batch.completed_at),
        ("Failed", batch.failed_at),
        ("Succeeded", batch.succeeded_at),
    ];
    let times = times.into_iter();
    facts.extend(times.filter_map(|(name, time)| Some((name, exact(time?, now)))));
    facts
}

impl JobRow {
    /// The most jobs that are named of those that one waits for.
    const NAMED: usize = 3;

    fn new(job: &BatchJob, links: &Links) -> Self {
        let named = job.after.iter().take(Self::NAMED);
        Self {
            kind: user(&job.kind),
            href: links.job(job.id),
            id: job.id,
            badge: badge(&job.state),
            after: named.map(|id| (format!("#{id}"), links.job(id))).collect(),
            more_after: job.after.len().saturating_sub(Self::NAMED),
            rule: job.rule.clone(),
        }
    }
}
