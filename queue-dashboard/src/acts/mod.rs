//! The acts: each is authorised here, changes through `queue_core`, is recorded in the audit, and leads to a
//! page with a message.
//!
//! Modules stand in order: each uses only those below it.

pub(crate) mod many;

pub(crate) mod tenants;

pub(crate) mod batches;
pub(crate) mod jobs;
pub(crate) mod limits;
pub(crate) mod processes;
pub(crate) mod queues;
pub(crate) mod recurring;

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use queue_core::begin_read_committed;
use queue_core::operations::audit::{Act, Actor, record};
use serde::Deserialize;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::auth::Role;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{NOTE_COOKIE, Note, Visit};

/// The most characters of a reason that are kept.
const WHY_MAX: usize = 500;

/// What every form of an act carries.
#[derive(Default, Deserialize)]
pub(crate) struct Posted {
    #[serde(default)]
    token: String,
    #[serde(default)]
    back: String,
    #[serde(default)]
    why: String,
    /// The time or the number that an act needs.
    #[serde(default)]
    to: String,
}

impl Posted {
    /// Returns why somebody did it, if they said so.
    fn why(&self) -> Option<String> {
        let why = self.why.trim();
        (!why.is_empty()).then(|| why.chars().take(WHY_MAX).collect())
    }
}

/// An act that somebody wants to do.
struct Wanted<'a> {
    /// The word that begins a sentence, such as `Retrying`.
    doing: &'a str,
    /// The verb and its target, as the audit names them.
    what: &'a str,
    target: String,
}

/// Returns whether the viewer, as an operator, may do this, and whether the form is one of our pages. A
/// refusal because of the role is recorded.
async fn allow(
    site: &Site,
    visit: &Visit,
    headers: &HeaderMap,
    posted: &Posted,
    wanted: &Wanted<'_>,
) -> Result<(), Refusal> {
    allow_role(Role::Operator, site, visit, headers, posted, wanted).await
}

/// Returns like [`allow`] whether the viewer may do what needs a role.
async fn allow_role(
    role: Role,
    site: &Site,
    visit: &Visit,
    headers: &HeaderMap,
    posted: &Posted,
    wanted: &Wanted<'_>,
) -> Result<(), Refusal> {
    if visit.is_read_only() {
        return Err(Refusal::read_only(visit));
    }
    if !visit.may(role) {
        let mut tx = begin(site).await?;
        let refused = Act {
            refused: true,
            ..act(wanted, posted)
        };
        record(&mut tx, site.queue.schema(), &actor(visit), &refused).await?;
        tx.commit().await?;
        return Err(Refusal::needs(role, wanted.doing, &visit.viewer));
    }
    let came_from = headers.get("sec-fetch-site");
    let is_foreign = came_from.is_some_and(|from| from != "same-origin");
    if is_foreign || !visit.is_token(&posted.token) {
        return Err(Refusal::Form);
    }
    tracing::info!(
        who = visit.viewer.name,
        role = visit.viewer.role.as_str(),
        shard = site.shard.as_deref(),
        path = visit.view,
        "dashboard"
    );
    Ok(())
}

fn actor(visit: &Visit) -> Actor {
    Actor {
        who: visit.viewer.name.clone(),
        role: visit.viewer.role.as_str().to_owned(),
    }
}

fn act(wanted: &Wanted<'_>, posted: &Posted) -> Act {
    Act {
        what: wanted.what.to_owned(),
        target: wanted.target.clone(),
        why: posted.why(),
        ..Act::default()
    }
}

/// Begins the transaction of an act.
async fn begin(site: &Site) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    begin_read_committed(site.queue.pool()).await
}

/// Records an act in its transaction.
async fn audit(
    conn: &mut PgConnection,
    site: &Site,
    visit: &Visit,
    wanted: &Wanted<'_>,
    posted: &Posted,
) -> Result<(), sqlx::Error> {
    let act = act(wanted, posted);
    record(conn, site.queue.schema(), &actor(visit), &act).await
}

/// Returns the message about a queue or a tenant that was paused or resumed, if that changed anything.
fn pausing(name: &str, pauses: bool, changed: bool) -> Note {
    match (pauses, changed) {
        (true, true) => Note::well(format!("Paused {name}: no more of its jobs start.")),
        (true, false) => Note::warning(format!("{name} was paused before.")),
        (false, true) => Note::well(format!("Resumed {name}.")),
        (false, false) => Note::warning(format!("{name} was not paused.")),
    }
}

/// Records an act that went well, commits it, and leads back.
async fn conclude(
    mut tx: Transaction<'static, Postgres>,
    site: &Site,
    visit: &Visit,
    wanted: &Wanted<'_>,
    posted: &Posted,
    otherwise: String,
    note: &Note,
) -> Result<Response, Refusal> {
    if note.is_well {
        audit(&mut tx, site, visit, wanted, posted).await?;
    }
    tx.commit().await?;
    Ok(done(visit, posted, otherwise, note))
}

/// Leads back to the page of the form, or to `otherwise`, with a message.
fn done(visit: &Visit, posted: &Posted, otherwise: String, note: &Note) -> Response {
    let back = visit.links.inside(&posted.back).unwrap_or(otherwise);
    let cookie = format!(
        "{NOTE_COOKIE}={}; Path={}; Max-Age=60; HttpOnly; SameSite=Strict",
        note.signed(visit),
        visit.links.root()
    );
    let headers = AppendHeaders([(SET_COOKIE, cookie), (header::LOCATION, back)]);
    (StatusCode::SEE_OTHER, headers).into_response()
}
