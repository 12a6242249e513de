//! `/audit` and `/audit.csv`: who did what, when, to how many, and why?

use std::borrow::Cow;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use queue_core::inspect::audit::{self, AuditEntry, AuditFilter};
use queue_core::inspect::merged::newest;
use serde::Deserialize;

use super::parts::Below;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, exact, user};
use crate::links::{Links, encoded};
use crate::refusal::Refusal;
use crate::sites::{Found, Reading, Sites};
use crate::visit::Visit;
use crate::words::counted;

const ROWS: u32 = 50;
/// The most acts in a file.
const EXPORTED_MAX: u32 = 5_000;

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    frame: Frame,
    answer: Html,
    rows: Vec<Row>,
    export: String,
    is_first: bool,
    newest: String,
    older: Option<String>,
}

struct Row {
    at: Html,
    who: Html,
    who_href: String,
    role: String,
    what: Html,
    shard: Html,
    why: Option<Html>,
}

/// Which acts an address asks for.
#[derive(Deserialize)]
pub(crate) struct Asked {
    who: Option<String>,
    what: Option<String>,
    before: Option<Below>,
}

impl Asked {
    fn filter(&self) -> AuditFilter {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        AuditFilter {
            who: given(&self.who),
            what: given(&self.what),
        }
    }

    /// Returns the filters as they stand in an address.
    fn query(&self) -> String {
        let filters = [("who", &self.who), ("what", &self.what)];
        let filters = filters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let filters: Vec<String> = filters
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        filters.join("&")
    }
}

pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let (filter, before) = (asked.filter(), asked.before.clone().unwrap_or_default());
    before.check(&visit)?;
    let (found, acts) = read(&sites, &visit, &filter, &before, ROWS).await?;
    let (links, query) = (&visit.links, asked.query());
    let older = before.after(acts.iter().map(|(links, act)| (links, act.id)));
    let older = (acts.len() == ROWS as usize).then_some(older);
    page(&Audit {
        answer: answer(&filter),
        rows: acts
            .iter()
            .map(|(links, act)| Row::new(act, links, found.signs.now))
            .collect(),
        export: links.to(&format!("/audit.csv?{query}")),
        is_first: before.is_start(),
        newest: links.to(&format!("/audit?{query}")),
        older: older.map(|older| links.to(&format!("/audit?{query}&before={older}"))),
        frame: Frame::around(&found, &visit, Page::Audit, "Audit"),
    })
}

/// Reads the last acts.
async fn read(
    sites: &Sites,
    visit: &Visit,
    filter: &AuditFilter,
    before: &Below,
    limit: u32,
) -> Result<(Found<()>, Vec<(Links, AuditEntry)>), Refusal> {
    let read = async |mut of: Reading| {
        let (schema, before) = (of.site.queue.schema(), before.of(&of.links));
        let acts = audit::list(&mut of.tx, schema, filter, before, limit).await?;
        Ok((of, acts))
    };
    let (found, acts) = sites.read(&visit.links, read).await?.taken();
    Ok((found, newest(acts, |act| act.at, limit as usize)))
}

fn answer(filter: &AuditFilter) -> Html {
    let mut answer = Html::new()
        .text("Every act of a person in a dashboard or on the command line, the last first");
    if let Some(who) = &filter.who {
        answer = answer.text(", by ").user(who);
    }
    if let Some(what) = &filter.what {
        answer = answer.text(", of the kind ").user(what);
    }
    answer.text(".")
}

impl Row {
    fn new(entry: &AuditEntry, links: &Links, now: DateTime<Utc>) -> Self {
        Self {
            at: exact(entry.at, now),
            who: user(&entry.who),
            who_href: links.to(&format!("/audit?who={}", encoded(&entry.who))),
            role: entry.role.clone(),
            what: what(entry, links),
            shard: links.mark(&links.to("/audit")),
            why: entry
                .why
                .as_deref()
                .map(|why| Html::new().text("“").user(why).text("”")),
        }
    }
}

/// Writes an act as a sentence: `retried job #7`.
fn what(entry: &AuditEntry, links: &Links) -> Html {
    let (page, name) = entry.target.split_once('/').unwrap_or(("", &entry.target));
    let (thing, href, shown) = match page {
        "jobs" => ("job ", links.job(name), links.id(name)),
        "queues" => ("queue ", links.one("queues", name), name.to_owned()),
        "recurring" => ("schedule ", links.one("recurring", name), name.to_owned()),
        "tenants" => ("tenant ", links.one("tenants", name), name.to_owned()),
        "limits" => ("limit of ", links.to("/limits"), name.to_owned()),
        "processes" => ("process ", links.one("processes", name), name.to_owned()),
        "batches" => ("batch ", links.one("batches", name), name.to_owned()),
        "operations" => ("operation ", links.one("operations", name), name.to_owned()),
        _ => ("", String::new(), name.to_owned()),
    };
    let verb = match entry.refused {
        true => format!("was refused to {} ", entry.what),
        false => format!("{} ", past(&entry.what)),
    };
    let html = Html::new().text(verb).text(thing);
    let html = match href.as_str() {
        "" => html.user(&shown),
        href => html.link(href, &shown),
    };
    match entry.jobs {
        Some(jobs) => html.text(format!(": {}", counted(jobs.unsigned_abs(), "job", "jobs"))),
        None => html,
    }
}

fn past(verb: &str) -> Cow<'_, str> {
    match verb.split_once(' ') {
        Some((what @ ("priority" | "weight" | "limit"), number)) => {
            return format!("gave {what} {number} to").into();
        }
        Some(("reschedule", at)) => return format!("rescheduled to {at}").into(),
        _ => {}
    }
    Cow::Borrowed(match verb {
        "retry" => "retried",
        "discard" => "discarded",
        "cancel" => "cancelled",
        "run" => "ran",
        "pause" => "paused",
        "resume" => "resumed",
        "begin" => "began",
        "stop" => "stopped",
        "clear" => "cleared",
        "close" => "closed",
        "add" => "added",
        "replace" => "replaced",
        "remove" => "removed",
        "quiet" => "made quiet",
        verb => verb,
    })
}

/// `GET /audit.csv`
pub(crate) async fn export(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let (filter, all) = (asked.filter(), Below::default());
    let (found, acts) = read(&sites, &visit, &filter, &all, EXPORTED_MAX).await?;
    let mut csv = if visit.is_merged { "shard," } else { "" }.to_owned();
    csv.push_str("at,who,role,what,target,jobs,refused,why\r\n");
    for (links, entry) in acts {
        if let Some(shard) = links.shard() {
            csv.push_str(&format!("{},", cell(shard)));
        }
        let cells = [
            entry.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            entry.who,
            entry.role,
            entry.what,
            entry.target,
            entry.jobs.map(|jobs| jobs.to_string()).unwrap_or_default(),
            entry.refused.to_string(),
            entry.why.unwrap_or_default(),
        ];
        csv.push_str(&cells.map(|text| cell(&text)).join(","));
        csv.push_str("\r\n");
    }
    // The name of the file says what it lacks.
    let away = found
        .away
        .iter()
        .map(|(shard, _)| format!("-without-{}", shard.replace('/', "_")));
    let file = format!(
        "attachment; filename=\"audit{}.csv\"",
        away.collect::<String>()
    );
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Ok((headers, csv).into_response())
}

/// Writes a cell. A spreadsheet must not take a text for a formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("say \"no\""), "\"say \"\"no\"\"\"");
    }
}
