//! `POST /recurring/{name}/…`: runs, pauses, resumes, changes or removes a recurring job. `POST /add-recurring`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::recurring::{self, RecurringError, pause, resume, run};
use queue_core::schedule::Tz;
use serde::Deserialize;
use sqlx::PgConnection;

use super::{Posted, Wanted, allow, allow_role, audit, begin, conclude, done};
use crate::auth::Role;
use crate::pages::recurring::missing;
use crate::pages::schedule::{Fields, Problems, form, stored};
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
        "run" => run(&mut tx, schema, &name, &site.settings.kinds)
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
        Ok(note) => note,
        Err(RecurringError::Database(error)) => return Err(error.into()),
        Err(RecurringError::Unknown(_)) => {
            return Err(missing(&name));
        }
        Err(refused) => Note::warning(format!("{refused}.")),
    };
    let href = visit.links.one("recurring", &name);
    conclude(tx, &site, &visit, &wanted, &posted, href, &note).await
}

#[derive(Deserialize)]
pub(crate) struct PostedForm {
    #[serde(flatten)]
    posted: Posted,
    #[serde(flatten)]
    fields: Fields,
}

/// `POST /add-recurring`
pub(crate) async fn add(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(posted): Form<PostedForm>,
) -> Result<Response, Refusal> {
    save(&site, &visit, &headers, posted, None).await
}

/// `POST /recurring/{name}/change`
pub(crate) async fn change(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(posted): Form<PostedForm>,
) -> Result<Response, Refusal> {
    save(&site, &visit, &headers, posted, Some(&name)).await
}

/// Saves what the form says, once it has shown the next times of its schedule.
async fn save(
    site: &Arc<Site>,
    visit: &Visit,
    headers: &HeaderMap,
    PostedForm { posted, mut fields }: PostedForm,
    changed: Option<&str>,
) -> Result<Response, Refusal> {
    if let Some(name) = changed {
        fields.set_name(name);
    }
    let name = fields.get("name").to_owned();
    let (doing, what, result) = match changed {
        None => ("Adding a recurring job", "add", "Added"),
        Some(_) => ("Changing a recurring job", "replace", "Changed"),
    };
    let wanted = Wanted {
        doing,
        what,
        target: format!("recurring/{name}"),
    };
    allow_role(Role::Admin, site, visit, headers, &posted, &wanted).await?;
    let mut tx = begin(site).await?;
    match write(&mut tx, site, &fields, changed).await? {
        Ok(true) => {
            audit(&mut tx, site, visit, &wanted, &posted).await?;
            tx.commit().await?;
            let note = Note::well(format!("{result} {name}."));
            let href = visit.links.one("recurring", &name);
            Ok(done(visit, &Posted::default(), href, &note))
        }
        read => form(site, visit, &mut tx, changed, &fields, read.map(drop)).await,
    }
}

/// Returns whether the recurring job was written: the page must have shown its next times before.
async fn write(
    conn: &mut PgConnection,
    site: &Site,
    fields: &Fields,
    changed: Option<&str>,
) -> Result<Result<bool, Problems>, Refusal> {
    let stored = match changed {
        Some(name) => Some(stored(conn, site, name).await?.args),
        None => None,
    };
    let recurring = match fields.read(&site.settings.kinds, stored.as_deref()) {
        Ok(recurring) if fields.are_seen() => recurring,
        read => return Ok(read.map(|_| false)),
    };
    let schema = site.queue.schema();
    let written = match changed {
        Some(_) => recurring::change(conn, schema, recurring, Tz::UTC).await,
        None => recurring::add(conn, schema, &recurring, Tz::UTC).await,
    };
    match written {
        Ok(()) => Ok(Ok(true)),
        Err(RecurringError::Database(error)) => Err(error.into()),
        Err(RecurringError::Unknown(name)) => Err(missing(&name)),
        Err(RecurringError::Taken(_)) => Ok(Err(Problems::from([(
            "name",
            "There is a recurring job of this name: choose another one.".to_owned(),
        )]))),
        Err(refused) => Err(Refusal::Invalid(format!("{refused}."))),
    }
}

/// `POST /recurring/{name}/remove`
pub(crate) async fn remove(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let wanted = Wanted {
        doing: "Removing a recurring job",
        what: "remove",
        target: format!("recurring/{name}"),
    };
    allow_role(Role::Admin, &site, &visit, &headers, &posted, &wanted).await?;
    let mut tx = begin(&site).await?;
    let source = match recurring::remove(&mut tx, site.queue.schema(), &name).await {
        Ok(source) => source,
        Err(RecurringError::Database(error)) => return Err(error.into()),
        Err(_) => return Err(missing(&name)),
    };
    audit(&mut tx, &site, &visit, &wanted, &posted).await?;
    tx.commit().await?;
    let back = source.map(|source| {
        format!(" {source} declares it: it comes back when a process that still does starts.")
    });
    let note = Note::well(format!("Removed {name}.{}", back.unwrap_or_default()));
    let href = visit.links.to("/recurring");
    Ok(done(&visit, &Posted::default(), href, &note))
}
