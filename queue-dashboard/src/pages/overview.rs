//! `/`: is anything wrong, and what first?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::TimeDelta;
use queue_core::JobState;
use queue_core::inspect::doctor::{Finding, Severity};
use queue_core::inspect::stats::StateCounts;
use queue_core::inspect::{failures, processes, queues, stats};

use super::failures::{CAUSES_OF_JOBS, CauseRow};
use super::processes::ProcessRow;
use super::queues::{QueueRow, as_of};
use crate::chart::{Chart, Within};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, icon, icon_of_class, pictured};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::visit::Visit;
use crate::words::{brief, count, counted};

const QUEUES: usize = 6;
const CAUSES: u32 = 5;
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

pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Query(within): Query<Within>,
) -> Result<Response, Refusal> {
    let findings = site.findings().await?;
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Overview, "Overview").await?;
    let (states, oldest) = stats::states(&mut tx, schema, COUNTED_MAX).await?;
    let mut queues = queues::list_bounded(&mut tx, schema).await?;
    let root = visit.links.root();
    let chart = Chart::read(&site, &mut tx, &within, None, &root, signs.now).await?;
    let since = Some(signs.now - TimeDelta::hours(1));
    let causes = failures::list(&mut tx, schema, CAUSES_OF_JOBS, CAUSES, since).await?;
    let mut processes = processes::list(&mut tx, schema).await?;
    super::queues::order(&mut queues);
    super::processes::order(&mut processes, &site);
    let links = &visit.links;
    let is_empty = JobState::ALL
        .into_iter()
        .all(|state| states.of(state).count == 0);
    let first = &queues[..queues.len().min(QUEUES)];
    let rows = super::queues::rows(first, &site, &mut tx, links, signs.now).await?;
    let shown = shown(&findings);
    page(&Overview {
        answer: answer(&findings),
        is_empty,
        more_findings: findings.len() - shown.len(),
        findings: shown
            .iter()
            .map(|finding| FindingRow::new(finding, links))
            .collect(),
        figures: figures(&states, oldest, &[], links),
        chart,
        queues_in_all: queues.len(),
        queues_as_of: queues.first().and_then(|queue| as_of(queue, signs.now)),
        queues: rows,
        causes: causes
            .iter()
            .map(|cause| CauseRow::new(cause, &site, links, signs.now))
            .collect(),
        processes_in_all: processes.len(),
        processes: processes
            .iter()
            .take(PROCESSES)
            .map(|process| ProcessRow::new(process, &site, links, signs.now))
            .collect(),
        frame,
    })
}

/// Returns the first errors, and the first warnings.
fn shown(findings: &[Finding]) -> Vec<&Finding> {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors = findings.iter().filter(is_error);
    let warnings = findings.iter().filter(|finding| !is_error(finding));
    let errors = errors.take(ERRORS);
    errors.chain(warnings.take(WARNINGS)).collect()
}

fn answer(findings: &[Finding]) -> Html {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors = findings.iter().filter(is_error).count() as u64;
    let warnings = findings.len() as u64 - errors;
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

impl FindingRow {
    fn new(finding: &Finding, links: &Links) -> Self {
        let is_error = finding.severity == Severity::Error;
        Self {
            class: if is_error { "is-error" } else { "is-warning" },
            icon: icon(if is_error { "failed" } else { "warning" }),
            what: with_code(&capitalized(&finding.what)),
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
