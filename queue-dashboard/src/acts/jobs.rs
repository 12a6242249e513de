//! `POST /jobs/{id}/…`: retries, discards, cancels or runs one job.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::JobId;
use queue_core::operations::jobs::{Changes, JobAction, change};

use super::{Posted, Wanted, allow, audit, begin, done};
use crate::html::pictured;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};

pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let number: i64 = id
        .parse()
        .map_err(|_| Refusal::NoThing(format!("job {}", pictured(&id))))?;
    let job = JobId(number);
    let action = JobAction::of_word(&verb).ok_or(Refusal::NoMethod)?;
    let wanted = Wanted {
        doing: doing(action),
        what: &verb,
        target: format!("jobs/{job}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let mut tx = begin(&site).await?;
    let changes = change(&mut tx, site.queue.schema(), action, &[job]).await?;
    if changes.refused.is_empty() {
        audit(&mut tx, &site, &visit, &wanted, &posted).await?;
    }
    tx.commit().await?;
    let note = note(action, job, &changes);
    Ok(done(&visit, &posted, visit.links.job(job), &note))
}

pub(super) fn doing(action: JobAction) -> &'static str {
    match action {
        JobAction::Retry => "Retrying",
        JobAction::Discard => "Discarding",
        JobAction::Cancel => "Cancelling",
        JobAction::RunAnyway => "Running a blocked job",
    }
}

fn note(action: JobAction, job: JobId, changes: &Changes) -> Note {
    if let Some((_, reason)) = changes.refused.first() {
        return Note::warning(format!("Job {job} was not changed: {reason}."));
    }
    if !changes.asked_to_stop.is_empty() {
        return Note::well(format!("Job {job} was asked to stop."));
    }
    Note::well(match action {
        JobAction::Retry => format!("Retried job {job}: it is ready."),
        JobAction::Discard => format!("Discarded job {job}."),
        JobAction::Cancel => format!("Cancelled job {job}."),
        JobAction::RunAnyway => format!("Job {job} is ready, despite its limits."),
    })
}
