//! `/jobs`: which jobs are these?

pub(crate) mod filters;
mod row;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::DateTime;
use queue_core::inspect::jobs::{self, Looked};
use queue_core::inspect::merged::newest;
use queue_core::inspect::operations::{self, OperationDetails};
use queue_core::inspect::stats::{self, StateCounts};
use queue_core::inspect::{Count, JobFilter, JobSummary, replica};
use queue_core::operations::jobs::JobAction;
use queue_core::{JobId, JobState, Schema};
use sqlx::PgConnection;

use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, exact, icon, icon_of_class, pictured, user};
use crate::links::{Links, query};
use crate::pages::operation::is_running;
use crate::pages::parts::Below;
use crate::refusal::Refusal;
use crate::site::COUNTED_MAX;
use crate::sites::{Found, Reading, Sites};
use crate::visit::Visit;
use crate::words::{count, short};
use filters::{Filters, Search, TABS, TEXTS, Tab, search, words};
use row::JobRow;

/// The most jobs on one page.
const ROWS: u32 = 50;
/// How many of the last acts on many jobs are looked at for those under way.
const OPERATIONS: u32 = 20;
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

/// `GET /jobs`
pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let mut filters = Filters::read(&pairs);
    filters.before.check(&visit)?;
    let typed = pairs.iter().find(|(name, _)| name == "q");
    let typed = typed.map_or("", |(_, text)| text.trim());
    if let Some(href) = on_named_shard(&visit, typed) {
        return Ok(Redirect::to(&href).into_response());
    }
    if !typed.is_empty() {
        match search(typed) {
            Search::Job(id) if visit.is_merged => {
                filters.problems.push(unnamed(&visit, &id.to_string()));
            }
            Search::Job(id) => return Ok(Redirect::to(&visit.links.job(id)).into_response()),
            Search::Filters(texts) => {
                filters.texts.extend(texts);
                let href = visit.links.jobs(&filters.pairs(filters.tab.word));
                return Ok(Redirect::to(&href).into_response());
            }
            Search::Unknown(why) => filters.problems.push(why),
        }
    }
    show(&sites, &visit, filters, typed).await
}

/// `GET /jobs/{id}` of all shards: `eu:4711` is a job of the shard eu.
pub(crate) async fn on_shard(
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    match on_named_shard(&visit, &id) {
        Some(href) => Ok(Redirect::to(&href).into_response()),
        None => Err(Refusal::Invalid(unnamed(&visit, &id))),
    }
}

/// Returns the address of a job whose id names its shard: `eu:4711`.
fn on_named_shard(visit: &Visit, id: &str) -> Option<String> {
    let (shard, id) = id.trim_start_matches('#').rsplit_once(':')?;
    let id: i64 = id.parse().ok()?;
    let mut shards = visit.settings.shards.iter();
    let shard = shards.find(|name| ***name == *shard)?;
    Some(visit.links.of_shard(shard).job(id))
}

/// Says how an id is written that names no shard.
fn unnamed(visit: &Visit, id: &str) -> String {
    let shards = visit.settings.shards.iter();
    let ids: Vec<String> = shards.map(|shard| format!("{shard}:4711")).collect();
    format!(
        "`{}` names no shard: an id is {}",
        pictured(id),
        ids.join(" or ")
    )
}

/// What is read of a queue.
struct Read {
    states: StateCounts,
    looked: Looked,
    matching: Count,
    operations: Vec<OperationDetails>,
}

impl Read {
    async fn of(
        of: &mut Reading,
        filters: &Filters,
        filter: Option<&JobFilter>,
        before: Option<JobId>,
    ) -> Result<Self, sqlx::Error> {
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let (states, _) = stats::states(&mut *conn, schema, COUNTED_MAX).await?;
        let (mut looked, mut matching) = (Looked::default(), Count::default());
        if let Some(filter) = filter {
            looked = jobs::look(&mut *conn, schema, filter, before, ROWS).await?;
            matching =
                count_matching(&mut *conn, schema, filters, filter, &looked, &states).await?;
        }
        let operations = operations::list(&mut *conn, schema, OPERATIONS).await?;
        // The dashboard that worked on one may have died, and no page of this shard alone been opened since.
        if operations.iter().any(is_running)
            && !of.site.settings.is_read_only
            && replica::behind(conn).await?.is_none()
        {
            crate::operations::start(&of.site);
        }
        Ok(Self {
            states,
            looked,
            matching,
            operations,
        })
    }
}

async fn show(
    sites: &Sites,
    visit: &Visit,
    mut filters: Filters,
    typed: &str,
) -> Result<Response, Refusal> {
    let (sees_args, redaction) = (visit.may_see_args(), &sites.settings.redaction);
    let filter = filters.filter(sees_args, redaction);
    let filter = filter.map_err(|why| filters.problems.push(why)).ok();
    let read = async |mut of: Reading| {
        let before = filters.before.of(&of.links).map(JobId);
        let mut read = Read::of(&mut of, &filters, filter.as_ref(), before).await?;
        for job in &mut read.looked.jobs {
            job.redact(redaction);
            job.args.take_if(|_| !sees_args);
        }
        Ok((of, read))
    };
    let found = sites.read(&visit.links, read).await?;
    let (links, now) = (&visit.links, found.signs.now);
    let (mut states, mut matching) = (StateCounts::default(), Count::default());
    let mut under_way = Vec::new();
    for (links, read) in found.each() {
        states += read.states;
        matching += read.matching;
        under_way.extend(self::under_way(&read.operations, links));
    }
    let lists = found.each();
    let lists = lists.map(|(links, read)| (links, &read.looked.jobs));
    let jobs = newest(lists, |job| job.enqueued_at, ROWS as usize);
    let is_operator = visit.may(Role::Operator);
    let rows = jobs.iter();
    let rows = rows.map(|(links, job)| JobRow::new(job, links, now, is_operator));
    let rows: Vec<JobRow> = rows.collect();
    let (older, back_to) = further(&filters, links, &jobs, &found);
    page(&Jobs {
        answer: answer(&filters, matching),
        tabs: tabs(&filters, &states, links),
        fields: fields(&filters, sees_args),
        chips: chips(&filters, visit),
        clear: links.jobs(&[("state", filters.tab.word)]),
        bulk: match is_operator {
            true => bulk(filters.tab, links),
            false => Vec::new(),
        },
        query: query(&filters.pairs(filters.tab.word)),
        matching: count(matching),
        under_way,
        searched: typed.to_owned(),
        at_title: at_title(filters.tab),
        is_failed: matches!(filters.tab.state, JobState::Failed | JobState::Scheduled),
        is_first: filters.before.is_start(),
        older,
        back_to,
        empty: empty(&filters),
        has_acts: rows.iter().any(JobRow::has_acts),
        rows,
        tab: filters.tab,
        problems: filters.problems,
        frame: Frame::around(&found, visit, Page::Jobs, "Jobs"),
    })
}

/// Returns the address of the jobs before these, if there may be more; or how far all were looked at, with the
/// address of a further look.
fn further(
    filters: &Filters,
    links: &Links,
    jobs: &[(&Links, &JobSummary)],
    found: &Found<Read>,
) -> (Option<String>, Option<(Html, String)>) {
    let shown = jobs.iter().map(|(links, job)| (*links, job.id.0));
    let older = filters.before.after(shown);
    if jobs.len() == ROWS as usize {
        return (Some(before(filters, links, &older)), None);
    }
    let ends = || {
        let each = found.each();
        each.filter_map(|(links, read)| Some((links, read.looked.back_to?)))
    };
    let further = older.after(ends().map(|(links, (job, _))| (links, job.0)));
    let at = ends().map(|(_, (_, at))| at).max();
    let back_to = at.map(|at| {
        let href = before(filters, links, &further);
        (exact(at, found.signs.now), href)
    });
    (None, back_to)
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
    if filters.before.is_start() && found.jobs.len() < ROWS as usize {
        return Ok(Count {
            count: found.jobs.len() as u64,
            at_least: found.back_to.is_some(),
        });
    }
    jobs::count_newest(conn, schema, filter, MATCHING_MAX).await
}

/// Returns the address of the jobs before others.
fn before(filters: &Filters, links: &Links, below: &Below) -> String {
    let below = below.to_string();
    let mut pairs = filters.pairs(filters.tab.word);
    pairs.push(("before", &below));
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
    let open = operations.iter().filter(|operation| is_running(operation));
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
    match (filters.before.is_start(), filters.texts.is_empty()) {
        (false, _) => "No older job matches.".to_owned(),
        (true, true) => format!("No job is {}.", filters.tab.word),
        (true, false) => {
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

fn chips(filters: &Filters, visit: &Visit) -> Vec<Chip> {
    let links = &visit.links;
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
                    "tenant" if !visit.is_merged => {
                        Html::new().link(&links.one("tenants", value), value)
                    }
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
