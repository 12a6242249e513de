//! `POST /queues/{name}/…`: pauses or resumes a queue.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::operations::queues::{QueueError, pause_because, resume};

use super::{Posted, Wanted, allow, begin, conclude, pausing};
use crate::html::pictured;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;

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
    let wanted = Wanted {
        doing: if pauses { "Pausing" } else { "Resuming" },
        what: &verb,
        target: format!("queues/{name}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let schema = site.queue.schema();
    let mut tx = begin(&site).await?;
    let (who, why) = (Some(visit.viewer.name.as_str()), posted.why());
    let changed = match pauses {
        true => pause_because(&mut tx, schema, &name, who, why.as_deref()).await,
        false => resume(&mut tx, schema, &name).await,
    };
    let changed = match changed {
        Ok(changed) => changed,
        Err(QueueError::Database(error)) => return Err(error.into()),
        Err(_) => return Err(Refusal::NoThing(format!("queue {}", pictured(&name)))),
    };
    let (href, note) = (
        visit.links.one("queues", &name),
        pausing(&name, pauses, changed),
    );
    conclude(tx, &site, &visit, &wanted, &posted, href, &note).await
}
