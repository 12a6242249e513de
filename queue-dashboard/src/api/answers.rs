//! What the addresses answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::AppendHeaders;
use axum::{Extension, Json};
use queue_core::counts::{Bar, bars};
use queue_core::depths::{Depth, depths};
use queue_core::inspect::doctor::Finding;
use queue_core::inspect::merged::{self, Merged, merge};
use queue_core::inspect::stats::Stats;
use queue_core::inspect::{
    AuditEntry, AuditFilter, BatchJob, BatchSummary, FailureGroup, JobDetails, JobSummary,
    LimitSummary, OperationDetails, ProcessSummary, QueueSummary, RecurringJobDetails,
    RecurringJobSummary, TenantDetails, TenantSummary, audit, batches, failures, jobs, limits,
    operations, processes, queues, recurring, stats, tenants,
};
use queue_core::{BatchId, JobId, REDACTED};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use super::Reader;
use crate::chart::Within;
use crate::links::Links;
use crate::pages::failures::{CAUSES_OF_JOBS, largest};
use crate::pages::jobs::filters::Filters;
use crate::pages::parts::{Below, first_by_name};
use crate::pages::tenants::From as TenantsFrom;
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::sites::{Found, Reading, Sites};
use crate::visit::Visit;

/// The most rows of one answer.
const ROWS: u32 = 100;

/// The due times of a recurring job that are shown.
const FIRINGS: u32 = 50;

pub(super) type Answer<T> = Result<Json<T>, Refusal>;
pub(super) type List<T> = Result<(Away, Json<Vec<Row<T>>>), Refusal>;

/// The header that names the shards that are missing, because they are away: `x-queue-away: us`.
pub(super) type Away = AppendHeaders<Vec<(&'static str, String)>>;

/// A row of one queue or of shards.
#[derive(Serialize)]
pub(super) struct Row<T> {
    /// The shard that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<Arc<str>>,
    /// The shards that it adds up, and what each has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shards: BTreeMap<Arc<str>, T>,
    #[serde(flatten)]
    row: T,
}

/// Reads a list of all, each with its own rows.
async fn rows<T, F>(sites: &Sites, visit: &Visit, read: impl Fn(Reading) -> F) -> List<T>
where
    F: Future<Output = Result<(Reading, Vec<T>), Refusal>>,
{
    let (found, lists) = sites.read(&visit.links, read).await?.taken();
    let rows = lists.into_iter().flat_map(|(links, rows)| {
        let rows = rows.into_iter();
        rows.map(move |row| Row {
            shard: links.shard().cloned(),
            shards: BTreeMap::new(),
            row,
        })
    });
    Ok((away(&found), Json(rows.collect())))
}

/// Reads a list of all, and returns its first rows in the order of their names.
async fn rows_by_name<T, F>(
    sites: &Sites,
    visit: &Visit,
    read: impl Fn(Reading) -> F,
    name: impl Fn(&T) -> &str,
) -> List<T>
where
    T: Clone,
    F: Future<Output = Result<(Reading, Vec<T>), Refusal>>,
{
    let found = sites.read(&visit.links, read).await?;
    let rows = first_by_name(found.each(), name, ROWS as usize).into_iter();
    let rows = rows.map(|(links, row)| Row {
        shard: links.shard().cloned(),
        shards: BTreeMap::new(),
        row: row.clone(),
    });
    Ok((away(&found), Json(rows.collect())))
}

/// Reads a list of all, and adds up the rows of shards.
async fn sums<T, F>(
    sites: &Sites,
    visit: &Visit,
    read: impl Fn(Reading) -> F,
    add_up: impl FnOnce(Vec<(Links, Vec<T>)>) -> Vec<Merged<Links, T>>,
) -> List<T>
where
    F: Future<Output = Result<(Reading, Vec<T>), Refusal>>,
{
    let (found, lists) = sites.read(&visit.links, read).await?.taken();
    let sums = add_up(lists).into_iter().map(|sum| {
        let parts = sum.parts.into_iter();
        Row {
            shard: None,
            shards: parts
                .filter_map(|(links, part)| Some((links.shard().cloned()?, part)))
                .collect(),
            row: sum.whole,
        }
    });
    Ok((away(&found), Json(sums.collect())))
}

fn away<T>(found: &Found<T>) -> Away {
    let names: Vec<&str> = found.away.iter().map(|(shard, _)| &**shard).collect();
    let header = (!names.is_empty()).then(|| ("x-queue-away", names.join(",")));
    AppendHeaders(header.into_iter().collect())
}

pub(super) async fn findings(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<Finding> {
    let read = async |mut of: Reading| {
        let findings = of.site.findings(&mut of.tx).await?;
        Ok((of, findings))
    };
    rows(&sites, &visit, read).await
}

pub(super) async fn all_stats(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> Result<(Away, Json<Stats>), Refusal> {
    let read = async |mut of: Reading| {
        let stats = stats::gather(&mut of.tx, of.site.queue.schema(), COUNTED_MAX).await?;
        Ok((of, stats))
    };
    let found = sites.read(&visit.links, read).await?;
    let mut sum = Stats::default();
    for (_, stats) in found.each() {
        sum += stats;
    }
    Ok((away(&found), Json(sum)))
}

#[derive(Deserialize)]
pub(super) struct OfQueue {
    queue: Option<String>,
}

pub(super) async fn counts(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(of): Query<OfQueue>,
    Query(within): Query<Within>,
) -> List<Bar> {
    let (queue, range) = (of.queue.as_deref(), within.checked()?);
    let read = async |mut of: Reading| {
        let (schema, now) = (of.site.queue.schema(), of.signs.now);
        let bars = bars(&mut of.tx, schema, queue, range, now).await?;
        Ok((of, bars))
    };
    let add_up = |bars| merge(bars, |bar: &Bar| bar.at);
    sums(&sites, &visit, read, add_up).await
}

pub(super) async fn all_depths(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(of): Query<OfQueue>,
    Query(within): Query<Within>,
) -> List<Depth> {
    let (queue, range) = (of.queue.as_deref(), within.checked()?);
    let read = async |mut of: Reading| {
        let (schema, now) = (of.site.queue.schema(), of.signs.now);
        let depths = depths(&mut of.tx, schema, queue, range, now).await?;
        Ok((of, depths))
    };
    let add_up = |depths| merge(depths, |depth: &Depth| depth.at);
    sums(&sites, &visit, read, add_up).await
}

pub(super) async fn list_jobs(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(pairs): Query<Vec<(String, String)>>,
) -> List<JobSummary> {
    let filters = Filters::read(&pairs);
    filters.before.check(&visit)?;
    if let Some(problem) = filters.problems.first() {
        return Err(Refusal::Invalid(problem.clone()));
    }
    let (sees_args, redaction) = (visit.may_see_args(), &visit.settings.redaction);
    let filter = filters.filter(sees_args, redaction);
    let filter = filter.map_err(Refusal::Invalid)?;
    let read = async |mut of: Reading| {
        let before = filters.before.of(&of.links).map(JobId);
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let mut found = match sees_args {
            true => jobs::list_with_args(conn, schema, &filter, before, ROWS).await?,
            false => jobs::list(conn, schema, &filter, before, ROWS).await?,
        };
        for job in &mut found {
            job.redact(redaction);
        }
        Ok((of, found))
    };
    rows(&sites, &visit, read).await
}

pub(super) async fn one_job(
    State(site): State<Arc<Site>>,
    Extension(visit): Reader,
    Path(id): Path<i64>,
) -> Answer<JobDetails> {
    let mut tx = site.read().await?;
    let found = jobs::show(&mut tx, site.queue.schema(), JobId(id)).await?;
    let mut job = found.ok_or(Refusal::NoJob(JobId(id)))?;
    job.redact(&site.settings.redaction);
    if !visit.may_see_args() {
        job.args = to_raw_value(REDACTED).unwrap_or_default();
    }
    Ok(Json(job))
}

pub(super) async fn causes(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<FailureGroup> {
    let redaction = &visit.settings.redaction;
    let read = async |mut of: Reading| {
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let mut causes = failures::list(conn, schema, CAUSES_OF_JOBS).await?;
        for cause in &mut causes {
            cause.error = redaction.error(&cause.kind, &cause.error).into_owned();
            cause.cause = redaction.error(&cause.kind, &cause.cause).into_owned();
        }
        Ok((of, causes))
    };
    let add_up = |causes| largest(causes, None);
    sums(&sites, &visit, read, add_up).await
}

pub(super) async fn list_queues(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<QueueSummary> {
    let read = async |mut of: Reading| {
        let queues = queues::list_bounded(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, queues))
    };
    sums(&sites, &visit, read, merged::queues).await
}

/// Where a list goes on.
#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    before: Below,
    after: Option<i64>,
    key: Option<String>,
    who: Option<String>,
    what: Option<String>,
}

pub(super) async fn list_limits(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<From>,
) -> List<LimitSummary> {
    let after = from.key.unwrap_or_default();
    let read = async |mut of: Reading| {
        let limits = limits::list(&mut of.tx, of.site.queue.schema(), &after, ROWS).await?;
        Ok((of, limits))
    };
    rows_by_name(&sites, &visit, read, |limit| &limit.key).await
}

pub(super) async fn list_recurring(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<RecurringJobSummary> {
    let read = async |mut of: Reading| {
        let jobs = recurring::list(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, jobs))
    };
    rows(&sites, &visit, read).await
}

pub(super) async fn one_recurring(
    State(site): State<Arc<Site>>,
    Extension(visit): Reader,
    Path(name): Path<String>,
) -> Answer<RecurringJobDetails> {
    let mut tx = site.read().await?;
    let found = recurring::show(&mut tx, site.queue.schema(), &name, FIRINGS).await?;
    let mut job = found.ok_or_else(|| Refusal::NoThing(format!("recurring job {name}")))?;
    job.args = match visit.may_see_args() {
        true => site.settings.redaction.args(&job.kind, &job.args),
        false => to_raw_value(REDACTED).unwrap_or_default(),
    };
    Ok(Json(job))
}

pub(super) async fn list_batches(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<From>,
) -> List<BatchSummary> {
    from.before.check(&visit)?;
    let read = async |mut of: Reading| {
        let before = from.before.of(&of.links).map(BatchId);
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let mut found = batches::list(conn, schema, None, before, ROWS).await?;
        for batch in &mut found {
            batch.redact(&visit.settings.redaction);
        }
        Ok((of, found))
    };
    rows(&sites, &visit, read).await
}

pub(super) async fn one_batch(
    State(site): State<Arc<Site>>,
    Path(id): Path<i64>,
) -> Answer<BatchSummary> {
    let mut tx = site.read().await?;
    let found = batches::show(&mut tx, site.queue.schema(), BatchId(id)).await?;
    let mut batch = found.ok_or_else(|| Refusal::NoThing(format!("batch {id}")))?;
    batch.redact(&site.settings.redaction);
    Ok(Json(batch))
}

pub(super) async fn batch_jobs(
    State(site): State<Arc<Site>>,
    Path(id): Path<i64>,
    Query(from): Query<From>,
) -> Answer<Vec<BatchJob>> {
    let (mut tx, after) = (site.read().await?, JobId(from.after.unwrap_or(0)));
    let jobs = batches::jobs(&mut tx, site.queue.schema(), BatchId(id), after, ROWS);
    Ok(Json(jobs.await?))
}

pub(super) async fn list_tenants(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<TenantsFrom>,
) -> List<TenantSummary> {
    let read = async |mut of: Reading| {
        let tenants = tenants::list(&mut of.tx, of.site.queue.schema(), &from.after, ROWS).await?;
        Ok((of, tenants))
    };
    rows_by_name(&sites, &visit, read, |tenant| &tenant.name).await
}

pub(super) async fn one_tenant(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
) -> Answer<TenantDetails> {
    let mut tx = site.read().await?;
    let found = tenants::show(&mut tx, site.queue.schema(), &name).await?;
    Ok(Json(found.ok_or_else(|| Refusal::no_tenant(&name))?))
}

pub(super) async fn list_processes(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<ProcessSummary> {
    let read = async |mut of: Reading| {
        let processes = processes::list(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, processes))
    };
    rows(&sites, &visit, read).await
}

pub(super) async fn list_operations(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<OperationDetails> {
    let read = async |mut of: Reading| {
        let operations = operations::list(&mut of.tx, of.site.queue.schema(), ROWS).await?;
        Ok((of, operations))
    };
    rows(&sites, &visit, read).await
}

pub(super) async fn list_audit(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<From>,
) -> List<AuditEntry> {
    from.before.check(&visit)?;
    let filter = AuditFilter {
        who: from.who,
        what: from.what,
    };
    let read = async |mut of: Reading| {
        let (schema, before) = (of.site.queue.schema(), from.before.of(&of.links));
        let acts = audit::list(&mut of.tx, schema, &filter, before, ROWS).await?;
        Ok((of, acts))
    };
    rows(&sites, &visit, read).await
}
