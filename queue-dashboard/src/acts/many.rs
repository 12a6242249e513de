//! `POST /jobs/{verb}`: changes chosen jobs, or begins to change all that match. `POST /operations/{id}/stop`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use queue_core::JobId;
use queue_core::inspect::{Count, Selection};
use queue_core::operations::audit::{Act, record};
use queue_core::operations::jobs::{BulkError, Changes, JobAction, change};
use queue_core::operations::many;

use super::jobs::{action, doing, unread};
use super::{Posted, Wanted, act, actor, allow, audit, begin, done};
use crate::pages::many::{Choice, name, typed, verb};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};
use crate::words::counted;

/// The most characters of ids in the audit.
const TARGET_MAX: usize = 200;

/// What the forms carry. The one on the list of jobs leads to the page that asks; that page confirms.
#[derive(Default)]
struct Asked {
    ids: Vec<String>,
    is_all: bool,
    is_confirmed: bool,
    query: String,
    counted: Count,
    as_of: Option<DateTime<Utc>>,
    typed: String,
    /// The time or the number that the act needs.
    to: String,
}

impl Asked {
    fn read(pairs: Vec<(String, String)>) -> (Self, Posted) {
        let (mut asked, mut posted) = (Self::default(), Posted::default());
        for (name, value) in pairs {
            match name.as_str() {
                "id" => asked.ids.push(value),
                "all" => asked.is_all = true,
                "confirmed" => asked.is_confirmed = true,
                "query" => asked.query = value,
                "counted" => asked.counted.count = value.parse().unwrap_or_default(),
                "counted_at_least" => asked.counted.at_least = true,
                "as_of" => asked.as_of = value.parse().ok(),
                "typed" => asked.typed = value,
                "to" => asked.to = value,
                "token" => posted.token = value,
                "why" => posted.why = value,
                _ => {}
            }
        }
        (asked, posted)
    }

    /// Returns the choice as it stands in an address.
    fn choice(&self) -> String {
        if self.is_all || self.ids.is_empty() {
            return self.query.clone();
        }
        let ids = self.ids.iter().filter(|id| id.parse::<i64>().is_ok());
        let ids: Vec<String> = ids.map(|id| format!("id={id}")).collect();
        ids.join("&")
    }
}

pub(crate) async fn act_on_many(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let (verb, wished) = verb(&visit)?;
    let (asked, posted) = Asked::read(pairs);
    let wanted = Wanted {
        doing: doing(wished),
        what: verb,
        target: "jobs".to_owned(),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let query = asked.choice();
    let asks = visit.links.to(&format!("/jobs/{verb}?{query}"));
    if !asked.is_confirmed {
        return Ok(Redirect::to(&asks).into_response());
    }
    let mut conn = site.queue.pool().acquire().await?;
    let Some(action) = action(&mut conn, wished, &asked.to).await? else {
        return Ok(done(&visit, &posted, asks, &unread(&asked.to)));
    };
    drop(conn);
    match Choice::read(&query, &site, &visit)? {
        Choice::These(jobs) => these(&site, &visit, &posted, action, &jobs).await,
        Choice::Matching(selection, _) => {
            let missing = typed(action, asked.counted)
                .filter(|typed| asked.typed.trim().replace(',', "") != *typed);
            if let Some(typed) = missing {
                let note = Note::warning(format!("Nothing was changed: {typed} was not typed."));
                return Ok(done(&visit, &posted, asks, &note));
            }
            all(&site, &visit, &posted, action, (*selection, &asked)).await
        }
    }
}

/// Changes chosen jobs at once.
async fn these(
    site: &Site,
    visit: &Visit,
    posted: &Posted,
    action: JobAction,
    jobs: &[JobId],
) -> Result<Response, Refusal> {
    let mut tx = begin(site).await?;
    let changes = change(&mut tx, site.queue.schema(), action, jobs).await?;
    let ids: Vec<String> = jobs.iter().map(|id| format!("#{id}")).collect();
    let target = format!("jobs {}", ids.join(", "));
    let what = action.to_string();
    let wanted = Wanted {
        doing: doing(action),
        what: &what,
        target: target.chars().take(TARGET_MAX).collect(),
    };
    let changed = changes.changed.len() + changes.asked_to_stop.len();
    let done_to = Act {
        jobs: i64::try_from(changed).ok(),
        ..act(&wanted, posted)
    };
    record(&mut tx, site.queue.schema(), &actor(visit), &done_to).await?;
    tx.commit().await?;
    let note = note(action, changed, &changes);
    Ok(done(visit, posted, visit.links.to("/jobs"), &note))
}

fn note(action: JobAction, changed: usize, changes: &Changes) -> Note {
    let many = counted(changed as u64, "job", "jobs");
    let past = match action {
        JobAction::Retry => format!("Retried {many}."),
        JobAction::Discard => format!("Discarded {many}."),
        JobAction::Cancel => format!("Cancelled {many}, or asked them to stop."),
        JobAction::RunAnyway => format!("Made {many} ready, despite their limits."),
        JobAction::Reschedule(_) => format!("Rescheduled {many}."),
        JobAction::Prioritize(priority) => format!("Gave priority {priority} to {many}."),
    };
    match changes.refused.first() {
        None => Note::well(past),
        Some((job, reason)) => {
            let left = counted(changes.refused.len() as u64, "job was", "jobs were");
            Note::warning(format!("{past} {left} left: of #{job}, {reason}."))
        }
    }
}

/// Begins to change all jobs that match.
async fn all(
    site: &Site,
    visit: &Visit,
    posted: &Posted,
    action: JobAction,
    (mut selection, asked): (Selection, &Asked),
) -> Result<Response, Refusal> {
    selection.until = asked.as_of;
    let schema = site.queue.schema();
    let mut tx = begin(site).await?;
    let why = posted.why();
    let what = (action, selection);
    let actor = actor(visit);
    let begun = many::begin(&mut tx, schema, &actor, why.as_deref(), what, asked.counted);
    let operation = match begun.await {
        Ok(operation) => operation,
        Err(BulkError::Database(error)) => return Err(error.into()),
        Err(refused) => return Err(Refusal::Invalid(format!("{refused}."))),
    };
    let wanted = Wanted {
        doing: doing(action),
        what: "begin",
        target: format!("operations/{operation}"),
    };
    audit(&mut tx, site, visit, &wanted, posted).await?;
    tx.commit().await?;
    site.begun.notify_one();
    let note = Note::well(format!("{} in the background.", name_doing(action)));
    let href = visit.links.one("operations", &operation.to_string());
    Ok(done(visit, posted, href, &note))
}

fn name_doing(action: JobAction) -> String {
    format!("{} begins", name(action))
}

/// `POST /operations/{id}/stop`
pub(crate) async fn stop(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let missing = || Refusal::NoThing("operation of this number".to_owned());
    let operation: i64 = id.parse().map_err(|_| missing())?;
    let wanted = Wanted {
        doing: "Stopping an operation",
        what: "stop",
        target: format!("operations/{operation}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let mut tx = begin(&site).await?;
    let who = &visit.viewer.name;
    let is_asked = many::stop(&mut tx, site.queue.schema(), operation, who).await?;
    if is_asked {
        audit(&mut tx, &site, &visit, &wanted, &posted).await?;
    }
    tx.commit().await?;
    site.begun.notify_one();
    let note = match is_asked {
        true => Note::well("It stops after its present batch."),
        false => Note::warning("It has ended or was stopped before."),
    };
    Ok(done(
        &visit,
        &posted,
        visit.links.one("operations", &id),
        &note,
    ))
}
