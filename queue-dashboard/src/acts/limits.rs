//! `POST /limits/{key}/…`: sets the limit of a key, or leaves it to its jobs again.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use queue_core::operations::limits::{
    LimitError, LimitSet, LimitSetting, change, parse_rate, reset,
};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{Posted, Wanted, allow, begin, conclude};
use crate::links::encoded;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};
use crate::words::counted;

#[derive(Deserialize)]
pub(crate) struct PostedLimit {
    #[serde(flatten)]
    posted: Posted,
    #[serde(default)]
    to: String,
    #[serde(default)]
    rate: String,
}

pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((key, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(form): Form<PostedLimit>,
) -> Result<Response, Refusal> {
    let doing = match verb.as_str() {
        "set" => "Setting a limit",
        "reset" => "Resetting a limit",
        _ => return Err(Refusal::NoMethod),
    };
    let wanted = Wanted {
        doing,
        what: &verb,
        target: format!("limits/{key}"),
    };
    allow(&site, &visit, &headers, &form.posted, &wanted).await?;
    let setting = match verb.as_str() {
        "set" => Some(setting(&form).map_err(Refusal::Invalid)?),
        _ => None,
    };
    let mut tx = begin(&site).await?;
    let note = match setting {
        Some(setting) => set(&mut tx, &site, &key, setting).await?,
        None => match reset(&mut tx, site.queue.schema(), &key).await? {
            true => Note::well(format!("The limit of {key} is left to its jobs again.")),
            false => Note::warning(format!("No limit was set for {key}.")),
        },
    };
    let href = visit.links.to(&format!("/limits?after={}", encoded(&key)));
    conclude(tx, &site, &visit, &wanted, &form.posted, href, &note).await
}

/// Reads the fields of the form. What is empty stays as it is.
fn setting(form: &PostedLimit) -> Result<LimitSetting, String> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let to = given(&form.to).map(|to| to.parse());
    let to = to.transpose();
    let rate = given(&form.rate).map(|rate| parse_rate(&rate, None));
    let setting = LimitSetting {
        to: to.map_err(|_| "How many may run at once is a whole number.".to_owned())?,
        rate: rate
            .transpose()
            .map_err(|why| format!("The rate: {why}."))?,
    };
    match setting == LimitSetting::default() {
        true => Err("Which limit? Say how many may run at once, or start in a period.".to_owned()),
        false => Ok(setting),
    }
}

pub(super) async fn set(
    conn: &mut PgConnection,
    site: &Site,
    key: &str,
    setting: LimitSetting,
) -> Result<Note, Refusal> {
    let set = change(conn, site.queue.schema(), key, setting).await;
    let set = set.map_err(|error| match error {
        LimitError::Database(error) => error.into(),
        refused => Refusal::Invalid(format!("{refused}.")),
    })?;
    Ok(Note::well(format!(
        "Set the limit of {key}.{}",
        effect(&set)
    )))
}

fn effect(set: &LimitSet) -> String {
    let mut effect = String::new();
    if set.beyond > 0 {
        let jobs = counted(set.beyond, "job runs", "jobs run");
        effect.push_str(&format!(" {jobs} beyond it and go on."));
    }
    if set.unblocked > 0 {
        let jobs = counted(set.unblocked, "job has", "jobs have");
        effect.push_str(&format!(" {jobs} room now."));
    }
    effect
}
