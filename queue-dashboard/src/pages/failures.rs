//! `/failures`: which few causes are behind the many failures?

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::Schema;
use queue_core::inspect::failures::{self, FailureGroup};
use queue_core::inspect::merged::{self, Merged};
use queue_core::inspect::{AuditFilter, Count, audit, operations, stats};
use sqlx::PgConnection;

use crate::chart::{RANGES, Within, spark_of_failures};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, pictured};
use crate::links::{Links, query};
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Settings};
use crate::sites::{Reading, Sites};
use crate::visit::Visit;
use crate::words::{count, counted, grouped, number, relative};

/// How many of the newest failed jobs are grouped by their cause.
pub(crate) const CAUSES_OF_JOBS: u32 = 5_000;
/// The most causes of a list.
const ROWS: usize = 100;
/// The name of the choice of all failed jobs, whenever they failed.
const ALL: &str = "all";
/// How many of the newest operations are looked through for the last retry.
const OPERATIONS: u32 = 20;

#[derive(Template)]
#[template(path = "failures.html")]
struct Failures {
    frame: Frame,
    answer: Html,
    /// The periods, each with its address and whether it is the one shown.
    choices: Vec<(&'static str, String, bool)>,
    /// Whether no job is failed, however long ago.
    is_empty: bool,
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
    /// The shards on which it happens.
    pub(super) shards: Html,
}

/// A cause of all failures that were read, and the part of each queue.
pub(super) type Whole = Merged<Links, FailureGroup>;

/// Returns the largest causes of all shards; if there is a time, only those of which a job has failed since then.
pub(crate) fn largest(
    parts: impl IntoIterator<Item = (Links, Vec<FailureGroup>)>,
    since: Option<DateTime<Utc>>,
) -> Vec<Whole> {
    let mut causes = merged::failures(parts);
    causes.retain(|cause| since.is_none_or(|since| cause.whole.last_at >= since));
    causes.truncate(ROWS);
    causes
}

impl CauseRow {
    pub(super) fn new(
        cause: &FailureGroup,
        settings: &Settings,
        links: &Links,
        now: DateTime<Utc>,
    ) -> Self {
        let shown = settings.redaction.error(&cause.kind, &cause.cause);
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
            sample: links.id(cause.sample),
            sample_href: links.job(cause.sample),
            shards: Html::new(),
        }
    }

    /// Describes a cause of all shards, which has a page on each on which it happens, or that of one queue.
    pub(super) fn of_whole(cause: &Whole, settings: &Settings, now: DateTime<Utc>) -> Self {
        let part = |(links, part): &(Links, FailureGroup)| {
            let row = Self::new(part, settings, links, now);
            links.mark(&row.href)
        };
        let (links, _) = &cause.parts[0];
        let parts = cause.parts.iter().map(part);
        Self {
            shards: parts.fold(Html::new(), |shards, part| shards.html(&part)),
            ..Self::new(&cause.whole, settings, links, now)
        }
    }
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
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(within): Query<Within>,
) -> Result<Response, Refusal> {
    let named = within.named();
    let read = async |mut of: Reading| {
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let (states, _) = stats::states(&mut *conn, schema, COUNTED_MAX).await?;
        let causes = failures::list(&mut *conn, schema, CAUSES_OF_JOBS).await?;
        let retried = match states.failed.count {
            0 => last_retry(conn, schema).await?,
            _ => None,
        };
        Ok((of, (states.failed, causes, retried)))
    };
    let found = sites.read(&visit.links, read).await?;
    let now = found.signs.now;
    let (mut failed, mut is_part) = (Count::default(), false);
    for (_, (of_part, ..)) in found.each() {
        failed += *of_part;
        is_part |= of_part.count > u64::from(CAUSES_OF_JOBS);
    }
    let of_each = if found.is_merged {
        " of each shard"
    } else {
        ""
    };
    let is_empty = failed.count == 0;
    let since = named.map(|(_, range, ..)| now - range.length());
    let causes = found.each();
    let causes = causes.map(|(links, (_, causes, _))| (links.clone(), causes.clone()));
    let causes = largest(causes, since);
    let answer = if is_empty {
        let retried = found.parts.iter().filter_map(|part| part.found.2).max();
        none_failed(retried, now)
    } else {
        answer(
            &causes,
            failed,
            named.map(|(_, _, period, _)| period),
            is_part.then_some(of_each),
        )
    };
    let shown = named.map_or(ALL, |(name, ..)| name);
    let names = RANGES.into_iter().map(|(name, ..)| name).chain([ALL]);
    let choice = |name| {
        let href = visit.links.to(&format!("/failures?within={name}"));
        (name, href, name == shown)
    };
    page(&Failures {
        answer,
        choices: names.map(choice).collect(),
        is_empty,
        causes: causes
            .iter()
            .map(|cause| CauseRow::of_whole(cause, &sites.settings, now))
            .collect(),
        frame: Frame::around(&found, &visit, Page::Failures, "Failures"),
    })
}

/// Says what is behind the jobs that failed in a period, or behind all failed jobs. If some are not grouped, it takes
/// the words ` of each shard`, or none.
fn answer(causes: &[Whole], failed: Count, period: Option<&str>, left_out: Option<&str>) -> Html {
    let Some(Merged { whole: first, .. }) = causes.first() else {
        let period = period.unwrap_or_default();
        return Html::new().strong(format!("No job that is failed now failed {period}."));
    };
    let many = counted(causes.len() as u64, "cause is", "causes are");
    let what = match period {
        Some(period) => format!("what failed {period}"),
        None if failed.count == 1 => format!("{} failed job", count(failed)),
        None => format!("{} failed jobs", count(failed)),
    };
    let answer = Html::new().strong(format!("{many} behind {what}."));
    let of_first = counted(
        first.count.unsigned_abs(),
        "failed job is",
        "failed jobs are",
    );
    let answer = answer.text(format!(" {of_first} of kind "));
    let answer = answer.user(&first.kind).text(" and the first cause.");
    let Some(of_each) = left_out else {
        return answer;
    };
    let of = grouped(u64::from(CAUSES_OF_JOBS));
    answer.text(format!(
        " Only the newest {of}{of_each} are grouped and counted here."
    ))
}

fn none_failed(retried: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Html {
    let answer = Html::new().strong("No job is failed.");
    match retried {
        Some(at) => answer.text(format!(" Somebody last retried one {}.", relative(at, now))),
        None => answer,
    }
}

/// Returns when somebody last retried a job, or began to retry many.
async fn last_retry(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let retries = AuditFilter {
        what: Some("retry".to_owned()),
        ..AuditFilter::default()
    };
    let one = audit::list(conn, schema, &retries, None, 1).await?;
    let many = operations::list(conn, schema, OPERATIONS).await?;
    let many = many.iter().filter(|operation| operation.action == "retry");
    let many = many.map(|operation| operation.created_at).max();
    Ok(one.first().map(|act| act.at).max(many))
}
