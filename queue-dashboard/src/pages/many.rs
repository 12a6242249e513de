//! `/jobs/retry?…` and the like: what exactly will happen to many jobs, before it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::JobId;
use queue_core::inspect::{COUNT_MAX, Count, Selection, failures, jobs};
use queue_core::operations::jobs::JobAction;
use sqlx::PgConnection;

use super::confirm::allow;
use super::failures::CAUSES_OF_JOBS;
use super::jobs::filters::{Filters, words};
use super::needs::{Needs, PRIORITIZED, RESCHEDULED, asking, needs};
use crate::frame::{Frame, Page, page};
use crate::html::Html;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;
use crate::words::{count, counted, grouped};

/// How many jobs may be discarded without typing their number.
const UNTYPED_MAX: u64 = 1_000;
/// The most jobs that are counted by kind.
const BY_KIND_MAX: u32 = 1_000;
/// The most jobs that can be chosen one by one.
const CHOSEN_MAX: usize = 1_000;

/// Which jobs somebody has chosen: some of them, or all that match.
pub(crate) enum Choice {
    These(Vec<JobId>),
    Matching(Box<Selection>, Html),
}

#[derive(Template)]
#[template(path = "many.html")]
struct Many {
    frame: Frame,
    lead: Html,
    kinds: Vec<(Html, String)>,
    points: Vec<&'static str>,
    action: String,
    /// The choice as it stands in the address.
    query: String,
    counted: u64,
    counted_at_least: bool,
    as_of: String,
    /// The field of what the act needs.
    needs: Option<Needs>,
    /// What must be typed.
    typed: Option<String>,
    button: String,
    is_danger: bool,
    back: String,
}

impl Choice {
    /// Reads the choice of an address: `id=1&id=2`, or filters, with the cause of errors.
    pub(crate) fn read(query: &str, site: &Site, visit: &Visit) -> Result<Self, Refusal> {
        let invalid = |why: &str| Refusal::Invalid(why.to_owned());
        let uri: Uri = format!("/?{query}")
            .parse()
            .map_err(|_| invalid("The choice of jobs cannot be read."))?;
        let pairs: Query<Vec<(String, String)>> =
            Query::try_from_uri(&uri).map_err(|_| invalid("The choice of jobs cannot be read."))?;
        let (ids, rest): (Vec<_>, Vec<_>) = pairs.0.into_iter().partition(|(name, _)| name == "id");
        if !ids.is_empty() {
            let ids: Result<Vec<i64>, _> = ids.iter().map(|(_, id)| id.parse()).collect();
            let mut ids = ids.map_err(|_| invalid("An id of a job is a number."))?;
            ids.truncate(CHOSEN_MAX);
            return Ok(Self::These(ids.into_iter().map(JobId).collect()));
        }
        let (causes, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(name, _)| name == "cause");
        let filters = Filters::read(&rest);
        if let Some(problem) = filters.problems.first() {
            return Err(invalid(problem));
        }
        let filter = filters.filter(visit.may_see_args(), &site.settings.redaction);
        let selection = Selection {
            filter: filter.map_err(|why| invalid(&why))?,
            fingerprint: causes.into_iter().next().map(|(_, cause)| cause),
            until: None,
        };
        let mut said = words(&filters);
        if selection.fingerprint.is_some() {
            said = said.text(if filters.texts.is_empty() {
                " with"
            } else {
                " and"
            });
            said = said.text(" the same cause");
        }
        Ok(Self::Matching(Box::new(selection), said))
    }
}

/// Returns the verb of the address, and its action.
pub(crate) fn verb(visit: &Visit) -> Result<(&str, JobAction), Refusal> {
    let path = visit.view.split('?').next().unwrap_or_default();
    let verb = path.rsplit('/').next().unwrap_or_default();
    let action = asking(verb).ok_or(Refusal::NoPage)?;
    Ok((verb, action))
}

/// Returns the name of an action as a button has it.
pub(crate) fn name(action: JobAction) -> &'static str {
    match action {
        JobAction::Retry => "Retry",
        JobAction::Discard => "Discard",
        JobAction::Cancel => "Cancel",
        JobAction::RunAnyway => "Run",
        JobAction::Reschedule(_) => "Reschedule",
        JobAction::Prioritize(_) => "Change the priority of",
    }
}

/// Returns what must be typed to do it: for many that cannot be brought back, their number, or the verb if
/// they could not be counted.
pub(crate) fn typed(action: JobAction, matching: Count) -> Option<String> {
    match (action, matching.at_least) {
        (JobAction::Discard, false) if matching.count <= UNTYPED_MAX => None,
        (JobAction::Discard, false) => Some(matching.count.to_string()),
        (JobAction::Discard, true) => Some("discard".to_owned()),
        _ => None,
    }
}

/// `GET /jobs/{verb}`
pub(crate) async fn confirm(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Refusal> {
    let (verb, action) = verb(&visit)?;
    allow(&visit, "This act on many jobs")?;
    let query = visit.view.split_once('?').map_or("", |(_, query)| query);
    let choice = Choice::read(query, &site, &visit)?;
    let (matching, kinds) = match &choice {
        Choice::These(ids) => (these(ids), Vec::new()),
        Choice::Matching(selection, _) => matching(&site, action, selection).await?,
    };
    let mut tx = site.read().await?;
    let many = many(matching);
    let anyway = if action == JobAction::RunAnyway {
        " anyway"
    } else {
        ""
    };
    let title = format!("{} {many}{anyway}?", name(action));
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Jobs, title).await?;
    let back = match &choice {
        Choice::These(_) => visit.links.to("/jobs"),
        Choice::Matching(selection, _) if selection.fingerprint.is_some() => {
            visit.links.to("/failures")
        }
        Choice::Matching(..) => visit.links.to(&format!("/jobs?{query}")),
    };
    page(&Many {
        lead: lead(&choice, signs.now),
        kinds,
        points: points(action, &choice),
        action: visit.links.to(&format!("/jobs/{verb}")),
        query: query.to_owned(),
        counted: matching.count,
        counted_at_least: matching.at_least,
        as_of: signs.now.to_rfc3339(),
        needs: needs(action, String::new()),
        typed: typed(action, matching),
        button: format!("{} {many}{anyway}", name(action)),
        is_danger: matches!(action, JobAction::Discard | JobAction::Cancel),
        back,
        frame,
    })
}

fn these(ids: &[JobId]) -> Count {
    Count {
        count: ids.len() as u64,
        at_least: false,
    }
}

fn many(matching: Count) -> String {
    match matching.at_least {
        true => format!("{} jobs", count(matching)),
        false => counted(matching.count, "job", "jobs"),
    }
}

/// Counts the jobs of a selection within the time that a statement may take, and if there are few, by kind.
async fn matching(
    site: &Site,
    action: JobAction,
    selection: &Selection,
) -> Result<(Count, Vec<(Html, String)>), Refusal> {
    let schema = site.queue.schema();
    let filter = action.complete(selection.filter.clone());
    let filter = filter.map_err(|refused| Refusal::Invalid(format!("{refused}.")))?;
    let mut tx = site.read().await?;
    if let Some(fingerprint) = &selection.fingerprint {
        let known = of_cause(&mut tx, site, filter.kind.as_deref(), fingerprint).await?;
        return Ok((known, Vec::new()));
    }
    let counted = match jobs::count(&mut tx, schema, &filter, COUNT_MAX).await {
        Ok(counted) => counted,
        Err(error) => match Refusal::from(error) {
            // Counting took too long; the act does not.
            Refusal::Slow => {
                return Ok((
                    Count {
                        count: 0,
                        at_least: true,
                    },
                    Vec::new(),
                ));
            }
            refusal => return Err(refusal),
        },
    };
    if counted.at_least || counted.count > u64::from(BY_KIND_MAX) || filter.kind.is_some() {
        return Ok((counted, Vec::new()));
    }
    let found = jobs::list(&mut tx, schema, &filter, None, BY_KIND_MAX).await?;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for job in found {
        *kinds.entry(job.kind).or_default() += 1;
    }
    let mut kinds: Vec<(String, u64)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, jobs)| std::cmp::Reverse(*jobs));
    let kinds = kinds
        .iter()
        .map(|(kind, jobs)| (Html::new().user(kind), grouped(*jobs)));
    Ok((counted, kinds.collect()))
}

async fn of_cause(
    conn: &mut PgConnection,
    site: &Site,
    kind: Option<&str>,
    fingerprint: &str,
) -> Result<Count, Refusal> {
    let causes = failures::list(conn, site.queue.schema(), CAUSES_OF_JOBS).await?;
    let all: i64 = causes.iter().map(|cause| cause.count).sum();
    let alike = causes.iter().filter(|cause| {
        cause.fingerprint == fingerprint && kind.is_none_or(|kind| kind == cause.kind)
    });
    let jobs: i64 = alike.map(|cause| cause.count).sum();
    Ok(Count {
        count: jobs.unsigned_abs(),
        at_least: all >= i64::from(CAUSES_OF_JOBS),
    })
}

fn lead(choice: &Choice, now: DateTime<Utc>) -> Html {
    match choice {
        Choice::These(ids) => {
            let shown: Vec<String> = ids.iter().take(10).map(|id| format!("#{id}")).collect();
            let more = if ids.len() > 10 { " and others" } else { "" };
            Html::new()
                .text("The jobs you have chosen: ")
                .strong(shown.join(", "))
                .text(format!("{more}."))
        }
        Choice::Matching(selection, said) => {
            let states: Vec<&str> = selection
                .filter
                .states
                .iter()
                .map(|state| state.as_str())
                .collect();
            Html::new()
                .text("All ")
                .strong(format!("{} jobs", states.join(" and ")))
                .html(said)
                .text(", as of ")
                .text(now.format("%H:%M:%S"))
                .text(" UTC.")
        }
    }
}

fn points(action: JobAction, choice: &Choice) -> Vec<&'static str> {
    let mut points = match action {
        JobAction::Retry => vec![
            "Each becomes ready, its attempts counted from 0, and runs when its turn and its limits allow.",
            "Steps that are done do not run again.",
        ],
        JobAction::Discard => {
            vec!["They never run again. Their errors stay until they are cleared."]
        }
        JobAction::Cancel => vec![
            "Those that wait end at once and never run.",
            "Those that run are asked to stop, and end when they do.",
        ],
        JobAction::RunAnyway => vec!["Each becomes ready although its key has no room."],
        JobAction::Reschedule(_) => vec![RESCHEDULED],
        JobAction::Prioritize(_) => vec![PRIORITIZED],
    };
    if matches!(choice, Choice::Matching(..)) {
        points.extend([
            "Jobs that match only from now on are not touched.",
            "It works in the background, 1,000 at a time, and can be stopped at any moment. What is changed by then stays so.",
        ]);
    }
    points
}
