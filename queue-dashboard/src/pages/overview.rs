//! `/`: is anything wrong, and what first?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::TimeDelta;
use queue_core::counts::Range;
use queue_core::inspect::doctor::{Finding, Severity};
use queue_core::inspect::merged::longest;
use queue_core::inspect::stats::StateCounts;
use queue_core::inspect::{
    FailureGroup, ProcessSummary, QueueSummary, failures, processes, queues, stats,
};
use queue_core::{JobState, ShardState};

use super::failures::{CAUSES_OF_JOBS, CauseRow, largest};
use super::processes::ProcessRow;
use super::queues::{QueueRow, as_of};
use crate::chart::{Chart, Ended, Within};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, badge, icon, icon_of_class, pictured, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::sites::{Part, Reading, Sites};
use crate::visit::Visit;
use crate::words::{brief, count, counted, grouped};

const QUEUES: usize = 6;
const CAUSES: usize = 5;
const PROCESSES: usize = 5;
/// The most errors that are shown: a thousand queues may be without a process.
const ERRORS: usize = 20;
const WARNINGS: usize = 5;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    answer: Html,
    is_empty: bool,
    findings: Vec<FindingRow>,
    more_findings: usize,
    figures: Vec<Figure>,
    chart: Chart,
    queues: Vec<QueueRow>,
    queues_in_all: usize,
    queues_as_of: Option<Html>,
    causes: Vec<CauseRow>,
    processes: Vec<ProcessRow>,
    processes_in_all: usize,
    /// All shards, if all are shown.
    shards: Vec<ShardRow>,
}

/// A shard in a table. A number has a link to its jobs.
struct ShardRow {
    name: Html,
    href: String,
    badge: Html,
    /// Which jobs it takes, unless it is open.
    takes: &'static str,
    findings: String,
    is_well: bool,
    /// None of a shard that is away.
    figures: Vec<Figure>,
    processes: String,
    processes_href: String,
}

/// A finding of the doctor: what, why, and what to do.
struct FindingRow {
    class: &'static str,
    icon: Html,
    what: Html,
    why: Html,
    next: Html,
    act: Option<(&'static str, String)>,
}

/// The jobs in one state.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) icon: Html,
    pub(super) href: String,
    pub(super) count: String,
    pub(super) sub: String,
    pub(super) is_bad: bool,
}

/// What is read of a queue.
struct Read {
    findings: Vec<Finding>,
    states: StateCounts,
    oldest: Option<f64>,
    queues: Vec<QueueSummary>,
    ended: Ended,
    causes: Vec<FailureGroup>,
    processes: Vec<ProcessSummary>,
}

impl Read {
    async fn of(of: &mut Reading, range: Range) -> Result<Self, Refusal> {
        let (conn, schema, now) = (&mut *of.tx, of.site.queue.schema(), of.signs.now);
        let (states, oldest) = stats::states(&mut *conn, schema, COUNTED_MAX).await?;
        Ok(Self {
            findings: of.site.findings(&mut *conn).await?,
            states,
            oldest,
            queues: queues::list_bounded(&mut *conn, schema).await?,
            ended: Ended::read(&of.site, &mut *conn, range, None, now).await?,
            causes: failures::list(&mut *conn, schema, CAUSES_OF_JOBS).await?,
            processes: processes::list(conn, schema).await?,
        })
    }
}

pub(crate) async fn show(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(within): Query<Within>,
) -> Result<Response, Refusal> {
    let range = within.range();
    let read = async |mut of: Reading| {
        let read = Read::of(&mut of, range).await?;
        Ok((of, read))
    };
    let mut found = sites.read(&visit.links, read).await?;
    let (links, now) = (&visit.links, found.signs.now);
    let queues = found.each().map(|(links, read)| (links, &read.queues));
    let queues = super::queues::together(queues);
    let first = &queues[..queues.len().min(QUEUES)];
    let rows = super::queues::rows(first, &mut found, links).await?;
    let (mut states, mut oldest) = (StateCounts::default(), None);
    for (_, read) in found.each() {
        states += read.states;
        oldest = longest(oldest, read.oldest);
    }
    let ended: Vec<&Ended> = found.each().map(|(_, read)| &read.ended).collect();
    let ended = Ended::together(&ended, range);
    let causes = found.each();
    let causes = causes.map(|(links, read)| (links.clone(), read.causes.clone()));
    let causes = largest(causes, Some(now - TimeDelta::hours(1)));
    let processes = found.each().map(|(links, read)| (links, &read.processes));
    let processes = super::processes::together(processes, &visit);
    let findings = found.each();
    let findings = findings
        .flat_map(|(links, read)| read.findings.iter().map(move |finding| (links, finding)));
    let findings: Vec<(&Links, &Finding)> = findings.collect();
    let shown = shown(&findings);
    page(&Overview {
        answer: answer(&findings, found.away.len()),
        is_empty: states.total() == 0 && found.away.is_empty(),
        more_findings: findings.len() - shown.len(),
        findings: shown
            .into_iter()
            .map(|(links, finding)| FindingRow::new(finding, links))
            .collect(),
        shards: match found.is_merged {
            true => shard_rows(&sites, &found.parts, links),
            false => Vec::new(),
        },
        figures: figures(&states, oldest, &[], links),
        chart: Chart::new(range, &ended, &links.root()),
        queues_in_all: queues.len(),
        queues_as_of: queues.first().and_then(|queue| as_of(&queue.whole, now)),
        queues: rows,
        causes: causes
            .iter()
            .take(CAUSES)
            .map(|cause| CauseRow::of_whole(cause, &visit.settings, now))
            .collect(),
        processes_in_all: processes.len(),
        processes: processes
            .iter()
            .take(PROCESSES)
            .map(|(links, process)| ProcessRow::new(process, &visit.settings, links, now))
            .collect(),
        frame: Frame::around(&found, &visit, Page::Overview, "Overview"),
    })
}

/// Returns the first errors, and the first warnings.
fn shown<'f>(findings: &[(&'f Links, &'f Finding)]) -> Vec<(&'f Links, &'f Finding)> {
    let errors = findings.iter().filter(|(_, finding)| is_error(finding));
    let warnings = findings.iter().filter(|(_, finding)| !is_error(finding));
    let shown = errors.take(ERRORS).chain(warnings.take(WARNINGS));
    shown.copied().collect()
}

fn is_error(finding: &Finding) -> bool {
    finding.severity == Severity::Error
}

fn answer(findings: &[(&Links, &Finding)], shards_away: usize) -> Html {
    let errors = findings.iter().filter(|(_, finding)| is_error(finding));
    let errors = errors.count();
    let warnings = (findings.len() - errors) as u64;
    let errors = (errors + shards_away) as u64;
    let looks = counted(warnings, "thing needs a look", "things need a look");
    match (errors, warnings) {
        (0, 0) => Html::new().strong("Nothing stops the jobs."),
        (0, _) => Html::new().strong("Jobs run.").text(format!(" {looks}.")),
        (_, 0) => Html::new().strong(stopping(errors)).text("."),
        _ => Html::new()
            .strong(stopping(errors))
            .text(format!(", and {looks}.")),
    }
}

fn stopping(errors: u64) -> String {
    counted(errors, "problem stops jobs", "problems stop jobs")
}

/// Makes a row of each shard, also of those that are away.
fn shard_rows(sites: &Sites, parts: &[Part<Read>], links: &Links) -> Vec<ShardRow> {
    let row = |site: &Arc<Site>| {
        let is_its = |part: &&Part<Read>| Arc::ptr_eq(&part.reading.site, site);
        match parts.iter().find(is_its) {
            Some(part) => ShardRow::new(part),
            None => ShardRow::away(site, links),
        }
    };
    sites.all.iter().map(row).collect()
}

impl ShardRow {
    fn new(part: &Part<Read>) -> Self {
        let (found, links) = (&part.found, &part.reading.links);
        let errors = found.findings.iter().filter(|finding| is_error(finding));
        let errors = errors.count() as u64;
        Self {
            is_well: errors == 0,
            findings: match (errors, found.findings.len() as u64) {
                (0, 0) => "well".to_owned(),
                (0, looks) => counted(looks, "thing needs a look", "things need a look"),
                (errors, _) => stopping(errors),
            },
            figures: figures(&found.states, found.oldest, &[], links),
            processes: grouped(found.processes.len() as u64),
            processes_href: links.to("/processes"),
            ..Self::away(&part.reading.site, links)
        }
    }

    fn away(site: &Site, links: &Links) -> Self {
        let (shard, state) = (site.shard.clone().unwrap_or_default(), site.state);
        Self {
            badge: badge(state.as_str()),
            takes: match state {
                ShardState::Open => "",
                ShardState::Adding => {
                    "A key moves to it when its old shard has none of its unfinished jobs."
                }
                ShardState::Draining => "It takes no new jobs, and runs those it has.",
            },
            name: user(&shard),
            href: links.of_shard(&shard).root(),
            is_well: false,
            findings: "away".to_owned(),
            figures: Vec::new(),
            processes: String::new(),
            processes_href: String::new(),
        }
    }
}

impl FindingRow {
    fn new(finding: &Finding, links: &Links) -> Self {
        let is_error = is_error(finding);
        Self {
            class: if is_error { "is-error" } else { "is-warning" },
            icon: icon(if is_error { "failed" } else { "warning" }),
            what: links
                .mark(&links.root())
                .html(&with_code(&capitalized(&finding.what))),
            why: with_code(&capitalized(&finding.why)),
            next: with_code(&capitalized(&finding.next)),
            act: act(finding.check).map(|(name, path)| (name, links.to(path))),
        }
    }
}

/// Returns where to look at what a check found.
fn act(check: &str) -> Option<(&'static str, &'static str)> {
    let about = |word: &str| check.contains(word);
    match check {
        _ if about("recurring") || about("source") => Some(("See schedules", "/recurring")),
        _ if about("process") => Some(("See processes", "/processes")),
        _ if about("limit") => Some(("See limits", "/limits")),
        _ if about("failed") || about("undecodable") => Some(("See failures", "/failures")),
        _ if about("queue") || about("late") || about("kind") => Some(("See queues", "/queues")),
        _ if about("overdue") => Some(("See jobs", "/jobs?state=scheduled")),
        _ => None,
    }
}

/// Shows what stands between backticks as code.
fn with_code(text: &str) -> Html {
    let parts = text.split('`').enumerate();
    parts.fold(Html::new(), |html, (position, part)| match position % 2 {
        0 => html.text(part),
        _ => html.raw("<code>").text(part).raw("</code>"),
    })
}

fn capitalized(text: &str) -> String {
    let text = pictured(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_uppercase(), chars.as_str())
    })
}

/// Returns the jobs in each state, with links to those that match filters.
pub(super) fn figures(
    states: &StateCounts,
    oldest: Option<f64>,
    filters: &[(&str, &str)],
    links: &Links,
) -> Vec<Figure> {
    let order = [
        ("Ready", JobState::Ready),
        ("Running", JobState::Claimed),
        ("Blocked", JobState::Blocked),
        ("Scheduled", JobState::Scheduled),
        ("Failed", JobState::Failed),
        ("Finished", JobState::Finished),
    ];
    let figure = |(name, state): (&'static str, JobState)| {
        let word = state.as_str();
        let counted = states.of(state);
        let (sub, is_bad) = match (state, oldest) {
            (JobState::Ready, Some(seconds)) => {
                (format!("oldest waits {}", brief(seconds)), seconds >= 600.0)
            }
            (JobState::Failed, _) if counted.count > 0 => ("until somebody retries".into(), true),
            _ => (String::new(), false),
        };
        Figure {
            name,
            icon: icon_of_class(word, &format!("ink-{word}")),
            href: links.jobs(&[&[("state", word)], filters].concat()),
            count: count(counted),
            sub,
            is_bad,
        }
    };
    order.map(figure).into_iter().collect()
}
