//! The acts: each is authorised here, changes through `queue_core`, and leads to a page with a message.

pub(crate) mod jobs;
pub(crate) mod queues;
pub(crate) mod recurring;

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use chrono::Utc;
use serde::Deserialize;

use crate::auth::Role;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{NOTE_COOKIE, Note, Visit};

/// What every form of an act carries.
#[derive(Deserialize)]
pub(crate) struct Posted {
    #[serde(default)]
    token: String,
    #[serde(default)]
    back: String,
}

/// Returns whether the viewer may do this, and whether the form is one of our pages.
fn allow(
    site: &Site,
    visit: &Visit,
    headers: &HeaderMap,
    posted: &Posted,
    doing: &str,
) -> Result<(), Refusal> {
    if site.is_read_only {
        return Err(Refusal::read_only());
    }
    if !visit.may(Role::Operator, site) {
        return Err(Refusal::needs(Role::Operator, doing, &visit.viewer));
    }
    let came_from = headers.get("sec-fetch-site");
    let is_foreign = came_from.is_some_and(|from| from != "same-origin");
    let is_ours = site
        .signer
        .is_form_token(&visit.viewer.name, &posted.token, Utc::now());
    if is_foreign || !is_ours {
        return Err(Refusal::Form);
    }
    tracing::info!(
        who = visit.viewer.name,
        role = visit.viewer.role.as_str(),
        path = visit.view,
        "dashboard"
    );
    Ok(())
}

/// Leads back to the page of the form, or to `otherwise`, with a message.
fn done(site: &Site, visit: &Visit, posted: &Posted, otherwise: String, note: &Note) -> Response {
    let back = visit.links.inside(&posted.back).unwrap_or(otherwise);
    let cookie = format!(
        "{NOTE_COOKIE}={}; Path={}; Max-Age=60; HttpOnly; SameSite=Strict",
        note.signed(site, &visit.viewer),
        visit.links.root()
    );
    let headers = AppendHeaders([(SET_COOKIE, cookie), (header::LOCATION, back)]);
    (StatusCode::SEE_OTHER, headers).into_response()
}
