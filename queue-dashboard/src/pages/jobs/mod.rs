//! `/jobs`: which jobs are these?

pub(crate) mod filters;

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use queue_core::inspect::jobs::{self, Looked};
use queue_core::inspect::operations::{self, OperationDetails};
use queue_core::inspect::stats::{self, StateCounts};
use queue_core::inspect::{Count, JobFilter, JobSummary};
use queue_core::operations::jobs::JobAction;
use queue_core::{JobId, JobState, Schema};
use sqlx::PgConnection;

use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, exact, icon, icon_of_class, pictured, user};
use crate::links::{Links, query};
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::visit::Visit;
use crate::words::{count, counted, short};
use filters::{Filters, Search, TABS, TEXTS, Tab, search, words};

/// The most jobs on one page.
const ROWS: u32 = 50;
/// How many of the last acts on many jobs are looked at for those under way.
const OPERATIONS: u32 = 20;
/// How many characters of arguments are shown.
const ARGS_MAX: usize = 200;
/// The most jobs that are counted beyond the page, if there are filters.
const MATCHING_MAX: u32 = 1_000;

#[derive(Template)]
#[template(path = "jobs.html")]
struct Jobs {
    frame: Frame,
    answer: Html,
    tabs: Vec<TabLink>,
    tab: Tab,
    fields: Vec<Field>,
    chips: Vec<Chip>,
    problems: Vec<String>,
    clear: String,
    searched: String,
    rows: Vec<JobRow>,
    /// Whether any row has an act.
    has_acts: bool,
    at_title: &'static str,
    is_failed: bool,
    /// The acts on chosen rows: their names, icons and addresses.
    bulk: Vec<(&'static str, Html, String)>,
    /// The filters as they stand in the address, and how many jobs match them.
    query: String,
    matching: String,
    /// Acts on many jobs that are under way.
    under_way: Vec<(String, String)>,
    is_first: bool,
    older: Option<String>,
    /// How far it looked, if there may be more, and the address of a further look.
    back_to: Option<(Html, String)>,
    empty: String,
}

struct TabLink {
    name: &'static str,
    icon: Html,
    href: String,
    is_chosen: bool,
    count: Option<String>,
}

/// A field of the filters.
struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
    hint: &'static str,
}

/// A filter in use, with the address without it.
struct Chip {
    label: &'static str,
    value: Html,
    without: String,
}

struct JobRow {
    id: JobId,
    href: String,
    kind: String,
    args: String,
    error: String,
    queue: Html,
    queue_href: String,
    tenant: Option<(Html, String)>,
    priority: i16,
    tags: Vec<String>,
    at: Html,
    under: String,
    can_retry: bool,
    retry_href: String,
    discard_href: Option<String>,
    cancel_href: Option<String>,
}

/// `GET /jobs`
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let mut filters = Filters::read(&pairs);
    let typed = pairs.iter().find(|(name, _)| name == "q");
    let typed = typed.map_or("", |(_, text)| text.trim());
    if !typed.is_empty() {
        match search(typed) {
            Search::Job(id) => return Ok(Redirect::to(&visit.links.job(id)).into_response()),
            Search::Filters(texts) => {
                filters.texts.extend(texts);
                let href = visit.links.jobs(&filters.pairs(filters.tab.word));
                return Ok(Redirect::to(&href).into_response());
            }
            Search::Unknown(why) => filters.problems.push(why),
        }
    }
    show(&site, &visit, filters, typed).await
}

async fn show(
    site: &Arc<Site>,
    visit: &Visit,
    mut filters: Filters,
    typed: &str,
) -> Result<Response, Refusal> {
    let sees_args = visit.may_see_args(site);
    let filter = filters.filter(sees_args, &site.redaction);
    let filter = filter.map_err(|why| filters.problems.push(why)).ok();
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let (frame, signs) = Frame::new(site, visit, &mut tx, Page::Jobs, "Jobs").await?;
    let (states, _) = stats::states(&mut tx, schema, COUNTED_MAX).await?;
    let (mut looked, mut matching) = (Looked::default(), Count::default());
    if let Some(filter) = &filter {
        looked = jobs::look(&mut tx, schema, filter, filters.before, ROWS).await?;
        matching = count_matching(&mut tx, schema, &filters, filter, &looked, &states).await?;
    }
    let mut found = looked.jobs;
    for job in &mut found {
        job.redact(&site.redaction);
        job.args.take_if(|_| !sees_args);
    }
    let operations = operations::list(&mut tx, schema, OPERATIONS).await?;
    let links = &visit.links;
    let is_operator = visit.may(Role::Operator, site);
    let last = found.last().filter(|_| found.len() == ROWS as usize);
    let row = |job| JobRow::new(job, links, signs.now, is_operator);
    let rows: Vec<JobRow> = found.iter().map(row).collect();
    page(&Jobs {
        answer: answer(&filters, matching),
        tabs: tabs(&filters, &states, links),
        fields: fields(&filters, sees_args),
        chips: chips(&filters, links),
        clear: links.jobs(&[("state", filters.tab.word)]),
        bulk: if is_operator {
            bulk(filters.tab, links)
        } else {
            Vec::new()
        },
        query: query(&filters.pairs(filters.tab.word)),
        matching: count(matching),
        under_way: under_way(&operations, links),
        searched: typed.to_owned(),
        at_title: at_title(filters.tab),
        is_failed: matches!(filters.tab.state, JobState::Failed | JobState::Scheduled),
        is_first: filters.before.is_none(),
        older: last.map(|last| older(&filters, links, last.id)),
        back_to: looked.back_to.map(|(job, at)| {
            let href = older(&filters, links, job);
            (exact(at, signs.now), href)
        }),
        empty: empty(&filters),
        has_acts: rows.iter().any(JobRow::has_acts),
        rows,
        tab: filters.tab,
        problems: filters.problems,
        frame,
    })
}

/// Counts the jobs that match, of which these were found; if they are all, they are not counted again.
async fn count_matching(
    conn: &mut PgConnection,
    schema: &Schema,
    filters: &Filters,
    filter: &JobFilter,
    found: &Looked,
    states: &StateCounts,
) -> Result<Count, sqlx::Error> {
    let tab = filters.tab;
    if filters.texts.is_empty() && tab.outcome.is_none() && tab.state != JobState::Finished {
        return Ok(states.of(tab.state));
    }
    if filters.before.is_none() && found.jobs.len() < ROWS as usize {
        return Ok(Count {
            count: found.jobs.len() as u64,
            at_least: found.back_to.is_some(),
        });
    }
    jobs::count_newest(conn, schema, filter, MATCHING_MAX).await
}

/// Returns the address of the jobs before one.
fn older(filters: &Filters, links: &Links, before: JobId) -> String {
    let before = before.to_string();
    let mut pairs = filters.pairs(filters.tab.word);
    pairs.push(("before", &before));
    links.jobs(&pairs)
}

fn bulk(tab: Tab, links: &Links) -> Vec<(&'static str, Html, String)> {
    let actions = [
        JobAction::Retry,
        JobAction::RunAnyway,
        JobAction::Reschedule(DateTime::UNIX_EPOCH),
        JobAction::Prioritize(0),
        JobAction::Cancel,
        JobAction::Discard,
    ];
    let applies = |action: &JobAction| {
        action.states().contains(&tab.state)
            && (*action != JobAction::Retry || tab.word == "failed")
    };
    let act = |action: JobAction| {
        let (name, glyph) = match action {
            JobAction::Retry => ("Retry…", "retry"),
            JobAction::Discard => ("Discard…", "discard"),
            JobAction::Cancel => ("Cancel…", "cancelled"),
            JobAction::RunAnyway => ("Run anyway…", "resume"),
            JobAction::Reschedule(_) => ("Reschedule…", "scheduled"),
            JobAction::Prioritize(_) => ("Priority…", "ready"),
        };
        (
            name,
            icon(glyph),
            links.to(&format!("/jobs/{}", action.verb())),
        )
    };
    actions.into_iter().filter(applies).map(act).collect()
}

fn under_way(operations: &[OperationDetails], links: &Links) -> Vec<(String, String)> {
    let open = operations
        .iter()
        .filter(|operation| operation.ended_at.is_none());
    let link = |operation: &OperationDetails| {
        let href = links.one("operations", &operation.id.to_string());
        (super::operation::title(operation), href)
    };
    open.map(link).collect()
}

fn answer(filters: &Filters, matching: Count) -> Html {
    let word = filters.tab.word;
    let (is, verb) = match (matching.count, word) {
        (1, "finished") => ("job", "finished"),
        (_, "finished") => ("jobs", "finished"),
        (1, _) => ("job is", word),
        (_, _) => ("jobs are", word),
    };
    let number = match matching.count {
        0 => "No".to_owned(),
        _ => count(matching),
    };
    let is = if matching.count == 0 {
        is.replace("jobs are", "job is")
    } else {
        is.to_owned()
    };
    let answer = Html::new().strong(format!("{number} {is} {verb}"));
    answer.html(&words(filters)).text(".")
}

fn empty(filters: &Filters) -> String {
    match (filters.before, filters.texts.is_empty()) {
        (Some(_), _) => "No older job matches.".to_owned(),
        (None, true) => format!("No job is {}.", filters.tab.word),
        (None, false) => {
            let encrypted = match filters.text("arg") {
                Some(_) => " Encrypted arguments are not searched.",
                None => "",
            };
            format!(
                "No {} job matches all filters.{encrypted}",
                filters.tab.word
            )
        }
    }
}

fn tabs(filters: &Filters, states: &StateCounts, links: &Links) -> Vec<TabLink> {
    let tabs = TABS.iter().map(|tab| TabLink {
        name: tab.name,
        icon: icon_of_class(tab.word, ink(tab.word)),
        href: links.jobs(&filters.pairs(tab.word)),
        is_chosen: *tab == filters.tab,
        // How many finished jobs have which outcome is not counted.
        count: (tab.state != JobState::Finished).then(|| short(states.of(tab.state))),
    });
    tabs.collect()
}

/// Returns the class of the colour of a state.
fn ink(word: &str) -> &'static str {
    match word {
        "ready" => "ink-ready",
        "scheduled" => "ink-scheduled",
        "running" => "ink-running",
        "blocked" => "ink-blocked",
        "failed" => "ink-failed",
        "finished" => "ink-finished",
        _ => "ink-ended",
    }
}

fn fields(filters: &Filters, sees_args: bool) -> Vec<Field> {
    let fields = TEXTS.iter().filter(|(name, _)| *name != "arg" || sees_args);
    let fields = fields.map(|&(name, label)| Field {
        name,
        label,
        value: filters.text(name).unwrap_or_default().to_owned(),
        hint: if name == "arg" {
            "path:value, as in invoice:INV-7"
        } else {
            ""
        },
    });
    fields.collect()
}

fn chips(filters: &Filters, links: &Links) -> Vec<Chip> {
    let chips = filters
        .texts
        .iter()
        .enumerate()
        .map(|(position, (name, value))| {
            let mut pairs = filters.pairs(filters.tab.word);
            // The state comes first.
            pairs.remove(position + 1);
            let label = TEXTS.iter().find(|(text, _)| text == name);
            Chip {
                label: label.map_or(*name, |(_, label)| *label),
                value: match *name {
                    "tenant" => Html::new().link(&links.one("tenants", value), value),
                    _ => user(value),
                },
                without: links.jobs(&pairs),
            }
        });
    chips.collect()
}

fn at_title(tab: Tab) -> &'static str {
    match tab.word {
        "ready" => "Waits since",
        "scheduled" => "Due",
        "running" => "Runs since",
        "blocked" => "Blocked since",
        "failed" => "Failed",
        _ => "Ended",
    }
}

impl JobRow {
    fn new(job: &JobSummary, links: &Links, now: DateTime<Utc>, is_operator: bool) -> Self {
        let href = links.job(job.id);
        let is_retried =
            job.state == JobState::Failed || (job.state == JobState::Scheduled && job.attempt > 0);
        let act =
            |verb: &str, applies: bool| (applies && is_operator).then(|| format!("{href}/{verb}"));
        let args = job.args.as_ref().map_or("", |args| args.get());
        let mut shown: String = args.chars().take(ARGS_MAX).collect();
        if shown.len() < args.len() {
            shown.push('…');
        }
        Self {
            id: job.id,
            kind: pictured(&job.kind),
            args: pictured(if shown == "null" { "" } else { &shown }),
            error: pictured(job.error.as_deref().unwrap_or_default()),
            queue: user(&job.queue),
            queue_href: links.one("queues", &job.queue),
            tenant: job
                .tenant
                .as_deref()
                .map(|tenant| (user(tenant), links.one("tenants", tenant))),
            priority: job.priority,
            tags: job.tags.iter().map(|tag| pictured(tag)).collect(),
            at: ago(job.at, now),
            under: match job.failures {
                Some(failures) if failures > 0 => {
                    format!("{failures} of {} spent", job.attempts_max)
                }
                _ if job.attempt > 0 => {
                    counted(u64::from(job.attempt.unsigned_abs()), "attempt", "attempts")
                }
                _ => String::new(),
            },
            can_retry: is_operator && is_retried,
            retry_href: format!("{href}/retry"),
            discard_href: act("discard", job.state == JobState::Failed),
            cancel_href: act(
                "cancel",
                !matches!(job.state, JobState::Failed | JobState::Finished),
            ),
            href,
        }
    }

    fn has_acts(&self) -> bool {
        self.can_retry || self.discard_href.is_some() || self.cancel_href.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_counts_and_names_the_filters() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let filters = Filters::read(&[pair("state", "failed"), pair("kind", "<send>")]);
        let of = |count| Count {
            count,
            at_least: count > 1,
        };
        assert_eq!(
            answer(&filters, of(1_000)).to_string(),
            "<strong>&gt;1,000 jobs are failed</strong> with kind <bdi>&lt;send&gt;</bdi>."
        );
        let filters = Filters::read(&[]);
        assert_eq!(
            answer(&filters, of(0)).to_string(),
            "<strong>No job is ready</strong>."
        );
        assert_eq!(
            answer(&filters, of(1)).to_string(),
            "<strong>1 job is ready</strong>."
        );
    }
}
