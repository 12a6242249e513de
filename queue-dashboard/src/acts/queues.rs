//! `POST /queues/{name}/…`: pauses or resumes a queue.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::begin;
use queue_core::operations::queues::{QueueError, pause, resume};

use super::{Posted, allow, done};
use crate::html::pictured;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};

pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((name, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let pauses = match verb.as_str() {
        "pause" => true,
        "resume" => false,
        _ => return Err(Refusal::NoMethod),
    };
    allow(
        &site,
        &visit,
        &headers,
        &posted,
        if pauses { "Pausing" } else { "Resuming" },
    )?;
    let schema = site.queue.schema();
    let mut tx = begin(site.queue.pool()).await?;
    let changed = match pauses {
        true => pause(&mut tx, schema, &name).await,
        false => resume(&mut tx, schema, &name).await,
    };
    let changed = match changed {
        Ok(changed) => changed,
        Err(QueueError::Database(error)) => return Err(error.into()),
        Err(_) => return Err(Refusal::NoThing(format!("queue {}", pictured(&name)))),
    };
    tx.commit().await?;
    let note = match (pauses, changed) {
        (true, true) => Note::well(format!("Paused {name}: no more of its jobs start.")),
        (true, false) => Note::warning(format!("{name} was paused before.")),
        (false, true) => Note::well(format!("Resumed {name}.")),
        (false, false) => Note::warning(format!("{name} was not paused.")),
    };
    Ok(done(
        &site,
        &visit,
        &posted,
        visit.links.one("queues", &name),
        &note,
    ))
}
