//! `POST /batches/{id}/…`: cancels a batch.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::BatchId;

use super::{Posted, Wanted, allow, audit, begin, done};
use crate::pages::batches::find;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};
use crate::words::counted;

/// Cancels the jobs of a batch some by some, so the act is recorded beforehand. If the rest is not reached, the
/// sweep completes it.
pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    if verb != "cancel" {
        return Err(Refusal::NoMethod);
    }
    let wanted = Wanted {
        doing: "Cancelling",
        what: &verb,
        target: format!("batches/{id}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let mut tx = begin(&site).await?;
    let batch = find(&mut tx, &site, &id).await?.id;
    audit(&mut tx, &site, &visit, &wanted, &posted).await?;
    tx.commit().await?;
    let note = cancel(&site, batch).await?;
    let href = visit.links.one("batches", &id);
    Ok(done(&visit, &posted, href, &note))
}

async fn cancel(site: &Site, batch: BatchId) -> Result<Note, sqlx::Error> {
    let cancelled = site.queue.cancel_batch(batch).await?;
    let ended = counted(cancelled.ended.len() as u64, "job", "jobs");
    Ok(match cancelled.asked.len() as u64 {
        0 => Note::well(format!("Cancelled batch {batch}, with {ended}.")),
        asked => {
            let asked = counted(asked, "running one", "running ones");
            Note::well(format!(
                "Cancelled batch {batch}, with {ended}; asked {asked} to stop."
            ))
        }
    })
}
