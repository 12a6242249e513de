//! `POST /recurring/{name}/…`: runs, pauses or resumes a recurring job.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::recurring::{RecurringError, pause, resume, run};

use super::{Posted, Wanted, allow, audit, begin, done};
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
    let doing = match verb.as_str() {
        "run" => "Running a recurring job",
        "pause" => "Pausing",
        "resume" => "Resuming",
        _ => return Err(Refusal::NoMethod),
    };
    let wanted = Wanted {
        doing,
        what: &verb,
        target: format!("recurring/{name}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let schema = site.queue.schema();
    let mut tx = begin(&site).await?;
    let changed = match verb.as_str() {
        "run" => run(&mut tx, schema, &name, &site.kinds)
            .await
            .map(|job| Note::well(format!("Enqueued job {job} of {name}."))),
        "pause" => pause(&mut tx, schema, &name)
            .await
            .map(|was_running| match was_running {
                true => Note::well(format!("Paused {name}.")),
                false => Note::warning(format!("{name} was paused before.")),
            }),
        _ => resume(&mut tx, schema, &name)
            .await
            .map(|was_paused| match was_paused {
                true => Note::well(format!("Resumed {name}.")),
                false => Note::warning(format!("{name} was not paused.")),
            }),
    };
    let note = match changed {
        Ok(note) => {
            if note.is_well {
                audit(&mut tx, &site, &visit, &wanted, &posted).await?;
            }
            tx.commit().await?;
            note
        }
        Err(RecurringError::Database(error)) => return Err(error.into()),
        Err(RecurringError::Unknown(_)) => {
            return Err(Refusal::NoThing(format!(
                "recurring job {}",
                pictured(&name)
            )));
        }
        Err(refused) => Note::warning(format!("{refused}.")),
    };
    Ok(done(
        &visit,
        &posted,
        visit.links.one("recurring", &name),
        &note,
    ))
}
