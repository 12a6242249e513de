//! `/limits`: who holds a key, and who waits for it?

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::{LimitSummary, limits, spell_duration};
use serde::Deserialize;

use super::parts::first_by_name;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, meter, user};
use crate::links::{Links, encoded};
use crate::refusal::Refusal;
use crate::sites::{Reading, Sites};
use crate::visit::Visit;
use crate::words::{brief, count, counted, seconds_between};

/// The most keys on one page.
const ROWS: u32 = 50;
/// The most holders of a key that are named.
const HOLDERS: usize = 3;

#[derive(Template)]
#[template(path = "limits.html")]
struct LimitsPage {
    frame: Frame,
    answer: Html,
    rows: Vec<LimitRow>,
    after: String,
    /// The address of the page without a form.
    here: String,
    first: String,
    next: Option<String>,
}

struct LimitRow {
    key: Html,
    shard: Html,
    words: String,
    set_by: String,
    is_closed: bool,
    in_use: String,
    meter: Option<Html>,
    waiting: String,
    longest: String,
    holders: Vec<(String, String)>,
    more_holders: i64,
    next_start: Option<String>,
    /// The address at which the row has a form, and those of its acts.
    edit_href: String,
    set_href: String,
    reset_href: Option<String>,
    is_edited: bool,
    to: Option<u32>,
}

#[derive(Deserialize)]
pub(crate) struct From {
    #[serde(default)]
    after: String,
    /// The key whose limit is to be changed.
    edit: Option<String>,
}

pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(from): Query<From>,
) -> Result<Response, Refusal> {
    let read = async |mut of: Reading| {
        let limits = limits::list(&mut of.tx, of.site.queue.schema(), &from.after, ROWS).await?;
        Ok((of, limits))
    };
    let found = sites.read(&visit.links, read).await?;
    let limits = first_by_name(found.each(), |limit| &limit.key, ROWS as usize);
    let frame = Frame::around(&found, &visit, Page::Limits, "Limits");
    let links = &visit.links;
    let here = links.to(&format!("/limits?after={}", encoded(&from.after)));
    let last = limits.last().filter(|_| limits.len() >= ROWS as usize);
    page(&LimitsPage {
        answer: answer(&limits),
        first: links.to("/limits"),
        next: last.map(|(_, last)| links.to(&format!("/limits?after={}", encoded(&last.key)))),
        rows: limits
            .iter()
            .map(|(links, limit)| {
                let is_edited = frame.is_operator && from.edit.as_ref() == Some(&limit.key);
                LimitRow::new(limit, links, found.signs.now, &here, is_edited)
            })
            .collect(),
        here,
        after: from.after,
        frame,
    })
}

fn answer(limits: &[(&Links, &LimitSummary)]) -> Html {
    let limits = limits.iter().map(|(_, limit)| *limit);
    let waiting = limits.filter(|limit| limit.waiting.count > 0);
    let keys = waiting.clone().count() as u64;
    let jobs: u64 = waiting.clone().map(|limit| limit.waiting.count).sum();
    if keys == 0 {
        return Html::new().strong("No job waits for a key.");
    }
    let waits = if jobs == 1 { "waits" } else { "wait" };
    let answer = Html::new().strong(format!(
        "{} {waits} for {}.",
        counted(jobs, "job", "jobs"),
        counted(keys, "key", "keys"),
    ));
    match waiting.clone().find(|limit| limit.to == Some(0)) {
        Some(closed) => answer
            .text(" ")
            .user(&closed.key)
            .text(" is closed: nothing starts until its limit is raised."),
        None => answer,
    }
}

/// Writes a limit in words: `2 at once, 10 starts per second, bursts of 20`.
pub(super) fn limit_words(
    to: Option<u32>,
    space_seconds: Option<f64>,
    burst: Option<u32>,
) -> String {
    let at_once = to.map(|to| match to {
        0 => "none at once".to_owned(),
        to => format!("{to} at once"),
    });
    let starts = space_seconds.filter(|space| *space > 0.0).map(|space| {
        let text = match 1.0 / space {
            per_second if per_second >= 1.0 => format!("{} starts per second", rounded(per_second)),
            per_second if per_second * 60.0 >= 1.0 => {
                format!("{} starts per minute", rounded(per_second * 60.0))
            }
            _ => format!("a start every {}", spell_duration(space)),
        };
        match burst {
            Some(burst @ 2..) => format!("{text}, bursts of {burst}"),
            _ => text,
        }
    });
    let parts: Vec<String> = at_once.into_iter().chain(starts).collect();
    match parts.is_empty() {
        true => "by the keys of its jobs".to_owned(),
        false => parts.join(", "),
    }
}

fn rounded(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

impl LimitRow {
    /// Describes a limit on a page, with the form to change it if it is edited.
    fn new(
        limit: &LimitSummary,
        links: &Links,
        now: DateTime<Utc>,
        page: &str,
        is_edited: bool,
    ) -> Self {
        let in_use = limit.in_use.unsigned_abs();
        let is_full = limit.waiting.count > 0;
        Self {
            key: match limit.key.strip_prefix("@tenant/") {
                Some(tenant) => Html::new().link(&links.one("tenants", tenant), &limit.key),
                None => user(&limit.key),
            },
            shard: links.mark(&links.to("/limits")),
            words: limit_words(limit.to, limit.space_seconds, limit.burst),
            set_by: match limit.set_by.as_str() {
                "job" => "by the job".to_owned(),
                by => by.to_owned(),
            },
            is_closed: limit.to == Some(0),
            in_use: match limit.to {
                Some(to) => format!("{in_use} of {to}"),
                None => "starts only".to_owned(),
            },
            meter: limit.to.map(|to| meter(in_use, u64::from(to), is_full)),
            waiting: count(limit.waiting),
            longest: match limit.waiting_since {
                Some(since) => brief(seconds_between(since, now)),
                None => String::new(),
            },
            holders: limit
                .holders
                .iter()
                .take(HOLDERS)
                .map(|job| (links.id(job), links.job(job)))
                .collect(),
            more_holders: (limit.in_use - HOLDERS as i64).max(0),
            next_start: limit.next_start_at.map(|at| {
                let wait = spell_duration(seconds_between(now, at));
                format!("next start in {wait}")
            }),
            edit_href: format!("{page}&edit={}", encoded(&limit.key)),
            set_href: format!("{}/set", links.one("limits", &limit.key)),
            reset_href: limit
                .set_by
                .starts_with("operator")
                .then(|| format!("{}/reset", links.one("limits", &limit.key))),
            is_edited,
            to: limit.to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_in_words() {
        for (to, space, burst, words) in [
            (Some(1), None, None, "1 at once"),
            (Some(0), None, None, "none at once"),
            (
                None,
                Some(0.1),
                Some(20),
                "10 starts per second, bursts of 20",
            ),
            (
                Some(2),
                Some(0.6),
                Some(1),
                "2 at once, 1.7 starts per second",
            ),
            (None, Some(6.0), None, "10 starts per minute"),
            (None, Some(600.0), None, "a start every 10m"),
            (None, None, None, "by the keys of its jobs"),
        ] {
            assert_eq!(limit_words(to, space, burst), words);
        }
    }
}
