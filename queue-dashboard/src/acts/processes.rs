//! `POST /processes/{id}/…`: makes a process quiet, resumes or stops it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::operations::processes::{ProcessRequest, ask};

use super::{Posted, Wanted, allow_role, audit, begin, done};
use crate::auth::Role;
use crate::pages::processes::find;
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
    let (request, doing) = match verb.as_str() {
        "quiet" => (Some(ProcessRequest::Quiet), "Making a process quiet"),
        "resume" => (None, "Resuming a process"),
        _ => return Err(Refusal::NoMethod),
    };
    let wanted = Wanted {
        doing,
        what: &verb,
        target: format!("processes/{id}"),
    };
    allow_role(Role::Operator, &site, &visit, &headers, &posted, &wanted).await?;
    request_it(&site, &visit, &id, &posted, &wanted, request).await
}

/// `POST /processes/{id}/stop`
pub(crate) async fn stop(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let wanted = Wanted {
        doing: "Stopping a process",
        what: "stop",
        target: format!("processes/{id}"),
    };
    allow_role(Role::Admin, &site, &visit, &headers, &posted, &wanted).await?;
    let request = Some(ProcessRequest::Stop);
    request_it(&site, &visit, &id, &posted, &wanted, request).await
}

async fn request_it(
    site: &Site,
    visit: &Visit,
    id: &str,
    posted: &Posted,
    wanted: &Wanted<'_>,
    request: Option<ProcessRequest>,
) -> Result<Response, Refusal> {
    let mut tx = begin(site).await?;
    let process = find(&mut tx, site, id).await?;
    let who = Some(visit.viewer.name.as_str());
    let asked = ask(&mut tx, site.queue.schema(), process.id, request, who).await?;
    let changed = asked == Some(true);
    if changed {
        audit(&mut tx, site, visit, wanted, posted).await?;
    }
    tx.commit().await?;
    let name = &process.name;
    let note = match (changed, request) {
        (false, _) => Note::warning(format!("{name} was asked for that before, or is stopping.")),
        (_, Some(ProcessRequest::Quiet)) => Note::well(format!(
            "{name} claims nothing more after its next heartbeat."
        )),
        (_, Some(ProcessRequest::Stop)) => {
            Note::well(format!("{name} stops after its next heartbeat."))
        }
        (_, None) => Note::well(format!("{name} claims jobs after its next heartbeat.")),
    };
    let href = visit.links.one("processes", id);
    Ok(done(visit, posted, href, &note))
}
