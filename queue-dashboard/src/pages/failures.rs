//! `/failures`: which few causes are behind the many failures?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::failures::{self, FailureGroup};
use queue_core::inspect::stats;

use crate::chart::spark_of_failures;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, pictured};
use crate::links::{Links, query};
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::visit::Visit;
use crate::words::{count, counted, grouped};

/// How many of the newest failed jobs are grouped by their cause.
pub(crate) const CAUSES_OF_JOBS: u32 = 5_000;
pub(super) const CAUSES: u32 = 100;

#[derive(Template)]
#[template(path = "failures.html")]
struct Failures {
    frame: Frame,
    answer: Html,
    causes: Vec<CauseRow>,
}

/// Failed jobs with one cause.
pub(super) struct CauseRow {
    pub(super) kind: String,
    /// The error without what differs from job to job.
    pub(super) error: String,
    pub(super) href: String,
    pub(super) jobs_href: String,
    pub(super) retry_href: String,
    pub(super) discard_href: String,
    pub(super) count: String,
    pub(super) by_hour: Html,
    pub(super) in_hour: String,
    pub(super) in_day: String,
    /// The version since which it happens, if the kind had another one before.
    pub(super) version: Option<String>,
    /// The versions in which it happened: `version A`, or `versions A to B`.
    pub(super) versions: Option<String>,
    pub(super) first: Html,
    pub(super) last: Html,
    pub(super) sample: String,
    pub(super) sample_href: String,
}

impl CauseRow {
    pub(super) fn new(
        cause: &FailureGroup,
        site: &Site,
        links: &Links,
        now: DateTime<Utc>,
    ) -> Self {
        let shown = site.redaction.error(&cause.kind, &cause.cause);
        let filters = [("state", "failed"), ("kind", cause.kind.as_str())];
        let print = cause.fingerprint.as_str();
        let many = |verb: &str| {
            let query = query(&[&filters[..], &[("cause", print)]].concat());
            links.to(&format!("/jobs/{verb}?{query}"))
        };
        Self {
            href: format!("{}/{print}", links.one("failures", &cause.kind)),
            jobs_href: links.jobs(&filters),
            retry_href: many("retry"),
            discard_href: many("discard"),
            error: pictured(&shown),
            kind: pictured(&cause.kind),
            count: number(cause.count),
            by_hour: spark_of_failures(&cause.by_hour),
            in_hour: number(cause.by_hour.last().copied().unwrap_or_default()),
            in_day: number(cause.by_hour.iter().sum()),
            version: cause
                .began_with
                .as_ref()
                .map(|seen| pictured(&seen.version)),
            versions: versions(cause),
            first: ago(cause.first_at, now),
            last: ago(cause.last_at, now),
            sample: format!("#{}", cause.sample),
            sample_href: links.job(cause.sample),
        }
    }
}

fn number(counted: i64) -> String {
    grouped(counted.unsigned_abs())
}

fn versions(cause: &FailureGroup) -> Option<String> {
    let first = cause
        .first_version
        .as_ref()
        .or(cause.last_version.as_ref())?;
    let last = cause.last_version.as_ref().unwrap_or(first);
    Some(if first == last {
        format!("version {}", pictured(last))
    } else {
        format!("versions {} to {}", pictured(first), pictured(last))
    })
}

pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Refusal> {
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Failures, "Failures").await?;
    let (states, _) = stats::states(&mut tx, schema, COUNTED_MAX).await?;
    let causes = failures::list(&mut tx, schema, CAUSES_OF_JOBS, CAUSES).await?;
    let failed = states.failed;
    let answer = match causes.first() {
        None => Html::new().strong("No job is failed."),
        Some(first) => {
            let many = counted(causes.len() as u64, "cause is", "causes are");
            let jobs = if failed.count == 1 { "job" } else { "jobs" };
            let jobs = format!("{} failed {jobs}", count(failed));
            let mut answer = Html::new().strong(format!("{many} behind {jobs}."));
            answer = answer.text(format!(" {} of them are of kind ", number(first.count)));
            answer = answer.user(&first.kind).text(".");
            if failed.count > u64::from(CAUSES_OF_JOBS) {
                let of = grouped(u64::from(CAUSES_OF_JOBS));
                answer = answer.text(format!(" Only the newest {of} are grouped here."));
            }
            answer
        }
    };
    page(&Failures {
        answer,
        causes: causes
            .iter()
            .map(|cause| CauseRow::new(cause, &site, &visit.links, signs.now))
            .collect(),
        frame,
    })
}
