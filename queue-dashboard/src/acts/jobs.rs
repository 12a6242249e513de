//! `POST /jobs/{id}/…`: retries, discards, cancels or runs one job.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::JobId;
use queue_core::operations::jobs::{Cancelled, JobError};

use super::{Posted, allow, done};
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
    let doing = match verb.as_str() {
        "retry" => "Retrying",
        "discard" => "Discarding",
        "cancel" => "Cancelling",
        "run" => "Running a blocked job",
        _ => return Err(Refusal::NoMethod),
    };
    allow(&site, &visit, &headers, &posted, doing)?;
    let queue = &site.queue;
    let changed = match verb.as_str() {
        "retry" => queue
            .retry(job)
            .await
            .map(|()| format!("Retried job {job}: it is ready.")),
        "discard" => queue
            .discard(job)
            .await
            .map(|()| format!("Discarded job {job}.")),
        "run" => queue
            .run_anyway(job)
            .await
            .map(|()| format!("Job {job} is ready, despite its limits.")),
        _ => queue.cancel(job).await.map(|cancelled| match cancelled {
            Cancelled::Ended => format!("Cancelled job {job}."),
            Cancelled::AskedToStop => format!("Job {job} was asked to stop."),
        }),
    };
    let note = match changed {
        Ok(text) => Note::well(text),
        Err(JobError::Database(error)) => return Err(error.into()),
        Err(refused) => Note::warning(format!("{refused}.")),
    };
    Ok(done(&site, &visit, &posted, visit.links.job(job), &note))
}
