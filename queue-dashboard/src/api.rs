//! The data of the pages as JSON, below `/api/v1`: to read only.
//!
//! The router and the OpenAPI document are made of one table, and the schemas of the answers of their types.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use queue_core::counts::{Bar, bars};
use queue_core::depths::{Depth, depths};
use queue_core::inspect::doctor::Finding;
use queue_core::inspect::stats::Stats;
use queue_core::inspect::{
    AuditEntry, AuditFilter, BatchJob, BatchSummary, FailureGroup, JobDetails, JobSummary,
    LimitSummary, OperationDetails, ProcessSummary, QueueSummary, RecurringJobDetails,
    RecurringJobSummary, TenantDetails, TenantSummary, audit, batches, failures, jobs, limits,
    operations, processes, queues, recurring, stats, tenants,
};
use queue_core::{BatchId, JobId, REDACTED};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use crate::chart::Within;
use crate::links::API;
use crate::pages::failures::CAUSES_OF_JOBS;
use crate::pages::jobs::filters::Filters;
use crate::pages::tenants::From as TenantsFrom;
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::visit::Visit;

/// The most rows of one answer.
const ROWS: u32 = 100;

/// The due times of a recurring job that are shown.
const FIRINGS: u32 = 50;

type Answer<T> = Result<Json<T>, Refusal>;
type Reader = Extension<Visit>;

/// An address of the API.
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    summary: &'static str,
    /// The names of its parameters, and what they are; those of the path come first.
    parameters: &'static [(&'static str, &'static str)],
    schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) handler: fn() -> MethodRouter<Arc<Site>>,
}

fn endpoint<T: JsonSchema>(
    path: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    handler: fn() -> MethodRouter<Arc<Site>>,
) -> Endpoint {
    Endpoint {
        path,
        summary,
        parameters,
        schema: SchemaGenerator::subschema_for::<T>,
        handler,
    }
}

const BEFORE: (&str, &str) = (
    "before",
    "Rows with smaller ids than this one: the last of the previous page",
);

const CHARTED: [(&str, &str); 2] = [
    ("queue", "One queue; all together by default"),
    ("within", "`1h`, `24h` or `7d`"),
];

/// All addresses but that of the document.
pub(crate) fn table() -> Vec<Endpoint> {
    let mut table = about_jobs();
    table.extend(about_flow());
    table.extend(about_machinery());
    table
}

fn about_jobs() -> Vec<Endpoint> {
    vec![
        endpoint::<Vec<Finding>>(
            "/findings",
            "What needs a look, as `queue doctor` says it",
            &[],
            || get(findings),
        ),
        endpoint::<Stats>(
            "/stats",
            "Jobs in each state, and what has ended lately",
            &[],
            || get(all_stats),
        ),
        endpoint::<Vec<Bar>>(
            "/counts",
            "What has ended in each span of time",
            &CHARTED,
            || get(counts),
        ),
        endpoint::<Vec<Depth>>(
            "/depths",
            "The most jobs in each state in each span of time in which there was a sample",
            &CHARTED,
            || get(all_depths),
        ),
        endpoint::<Vec<JobSummary>>(
            "/jobs",
            "Jobs in one state, the newest first",
            &[
                (
                    "state",
                    "`ready`, `scheduled`, `running`, `blocked`, `failed`, `finished`, `discarded` or `cancelled`",
                ),
                ("queue", "Jobs of a queue"),
                ("kind", "Jobs of a kind"),
                ("tenant", "Jobs of a tenant"),
                ("tag", "Jobs with a tag"),
                ("error", "Jobs whose last error contains a text"),
                (
                    "arg",
                    "Jobs whose arguments contain a value, unless they are encrypted: `path:value`",
                ),
                BEFORE,
            ],
            || get(list_jobs),
        ),
        endpoint::<JobDetails>(
            "/jobs/{id}",
            "Everything about a job",
            &[("id", "Its id")],
            || get(one_job),
        ),
        endpoint::<Vec<FailureGroup>>(
            "/failures",
            "The causes of failed jobs, the most frequent first",
            &[],
            || get(causes),
        ),
    ]
}

fn about_flow() -> Vec<Endpoint> {
    vec![
        endpoint::<Vec<QueueSummary>>("/queues", "All queues", &[], || get(list_queues)),
        endpoint::<Vec<LimitSummary>>(
            "/limits",
            "The keys for which jobs wait, and the limits that are set",
            &[("key", "Keys after this one, in their order")],
            || get(list_limits),
        ),
        endpoint::<Vec<RecurringJobSummary>>("/recurring", "All recurring jobs", &[], || {
            get(list_recurring)
        }),
        endpoint::<RecurringJobDetails>(
            "/recurring/{name}",
            "Everything about a recurring job",
            &[("name", "Its name")],
            || get(one_recurring),
        ),
        endpoint::<Vec<BatchSummary>>("/batches", "Batches, the newest first", &[BEFORE], || {
            get(list_batches)
        }),
        endpoint::<BatchSummary>("/batches/{id}", "A batch", &[("id", "Its id")], || {
            get(one_batch)
        }),
        endpoint::<Vec<BatchJob>>(
            "/batches/{id}/jobs",
            "The jobs of a batch, the oldest first",
            &[
                ("id", "Its id"),
                (
                    "after",
                    "Rows with greater ids than this one: the last of the previous page",
                ),
            ],
            || get(batch_jobs),
        ),
        endpoint::<Vec<TenantSummary>>(
            "/tenants",
            "The tenants that have jobs in fair queues, or for which something is set",
            &[(
                "after",
                "Tenants after this one, in the order of their names",
            )],
            || get(list_tenants),
        ),
        endpoint::<TenantDetails>(
            "/tenants/{name}",
            "A tenant and its newest jobs by state",
            &[("name", "Its name")],
            || get(one_tenant),
        ),
    ]
}

fn about_machinery() -> Vec<Endpoint> {
    vec![
        endpoint::<Vec<ProcessSummary>>("/processes", "All processes", &[], || get(list_processes)),
        endpoint::<Vec<OperationDetails>>(
            "/operations",
            "Acts on many jobs, the newest first",
            &[],
            || get(list_operations),
        ),
        endpoint::<Vec<AuditEntry>>(
            "/audit",
            "Who did what, the newest first",
            &[
                ("who", "Acts of a person"),
                ("what", "Acts with a verb"),
                BEFORE,
            ],
            || get(list_audit),
        ),
    ]
}

/// The document that describes the API.
pub(crate) async fn document(Extension(visit): Reader) -> Json<Value> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in table() {
        let schema = (endpoint.schema)(&mut schemas);
        paths.insert(
            endpoint.path.to_owned(),
            json!({"get": endpoint.described(&schema)}),
        );
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "queue",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Background jobs on Postgres. Lists have 100 rows at most, but queues, recurring jobs and processes come whole; an error has a text in `error`.",
        },
        "servers": [{"url": visit.links.to(API)}],
        "security": [{"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }))
}

impl Endpoint {
    fn described(&self, schema: &Schema) -> Value {
        let parameters = self.parameters.iter().map(|(name, description)| {
            let is_in_path = self.path.contains(&format!("{{{name}}}"));
            json!({
                "name": name,
                "in": if is_in_path { "path" } else { "query" },
                "required": is_in_path,
                "description": description,
                "schema": {"type": "string"},
            })
        });
        json!({
            "summary": self.summary,
            "parameters": parameters.collect::<Vec<Value>>(),
            "responses": {
                "200": {
                    "description": self.summary,
                    "content": {"application/json": {"schema": schema}},
                },
            },
        })
    }
}

async fn findings(State(site): State<Arc<Site>>) -> Answer<Vec<Finding>> {
    Ok(Json(site.findings().await?))
}

async fn all_stats(State(site): State<Arc<Site>>) -> Answer<Stats> {
    let mut tx = site.read().await?;
    let stats = stats::gather(&mut tx, site.queue.schema(), COUNTED_MAX);
    Ok(Json(stats.await?))
}

#[derive(Deserialize)]
struct OfQueue {
    queue: Option<String>,
}

async fn counts(
    State(site): State<Arc<Site>>,
    Query(of): Query<OfQueue>,
    Query(within): Query<Within>,
) -> Answer<Vec<Bar>> {
    let mut tx = site.read().await?;
    let (schema, now) = (site.queue.schema(), chrono::Utc::now());
    let bars = bars(&mut tx, schema, of.queue.as_deref(), within.range(), now);
    Ok(Json(bars.await?))
}

async fn all_depths(
    State(site): State<Arc<Site>>,
    Query(of): Query<OfQueue>,
    Query(within): Query<Within>,
) -> Answer<Vec<Depth>> {
    let mut tx = site.read().await?;
    let (schema, now) = (site.queue.schema(), chrono::Utc::now());
    let depths = depths(&mut tx, schema, of.queue.as_deref(), within.range(), now);
    Ok(Json(depths.await?))
}

async fn list_jobs(
    State(site): State<Arc<Site>>,
    Extension(visit): Reader,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Answer<Vec<JobSummary>> {
    let filters = Filters::read(&pairs);
    if let Some(problem) = filters.problems.first() {
        return Err(Refusal::Invalid(problem.clone()));
    }
    let sees_args = visit.may_see_args();
    let filter = filters.filter(sees_args, &site.settings.redaction);
    let filter = filter.map_err(Refusal::Invalid)?;
    let (mut tx, schema) = (site.read().await?, site.queue.schema());
    let before = filters.before.of(&visit.links).map(JobId);
    let mut found = match sees_args {
        true => jobs::list_with_args(&mut tx, schema, &filter, before, ROWS).await?,
        false => jobs::list(&mut tx, schema, &filter, before, ROWS).await?,
    };
    for job in &mut found {
        job.redact(&site.settings.redaction);
    }
    Ok(Json(found))
}

async fn one_job(
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

async fn causes(State(site): State<Arc<Site>>) -> Answer<Vec<FailureGroup>> {
    let mut tx = site.read().await?;
    let causes = failures::list(&mut tx, site.queue.schema(), CAUSES_OF_JOBS, ROWS, None);
    let mut causes = causes.await?;
    for cause in &mut causes {
        cause.error = site
            .settings
            .redaction
            .error(&cause.kind, &cause.error)
            .into_owned();
        cause.cause = site
            .settings
            .redaction
            .error(&cause.kind, &cause.cause)
            .into_owned();
    }
    Ok(Json(causes))
}

async fn list_queues(State(site): State<Arc<Site>>) -> Answer<Vec<QueueSummary>> {
    let mut tx = site.read().await?;
    let queues = queues::list_bounded(&mut tx, site.queue.schema());
    Ok(Json(queues.await?))
}

/// Where a list goes on.
#[derive(Deserialize)]
struct From {
    before: Option<i64>,
    after: Option<i64>,
    key: Option<String>,
    who: Option<String>,
    what: Option<String>,
}

async fn list_limits(
    State(site): State<Arc<Site>>,
    Query(from): Query<From>,
) -> Answer<Vec<LimitSummary>> {
    let mut tx = site.read().await?;
    let after = from.key.unwrap_or_default();
    let limits = limits::list(&mut tx, site.queue.schema(), &after, ROWS);
    Ok(Json(limits.await?))
}

async fn list_recurring(State(site): State<Arc<Site>>) -> Answer<Vec<RecurringJobSummary>> {
    let mut tx = site.read().await?;
    Ok(Json(recurring::list(&mut tx, site.queue.schema()).await?))
}

async fn one_recurring(
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

async fn list_batches(
    State(site): State<Arc<Site>>,
    Query(from): Query<From>,
) -> Answer<Vec<BatchSummary>> {
    let (mut tx, before) = (site.read().await?, from.before.map(BatchId));
    let mut found = batches::list(&mut tx, site.queue.schema(), None, before, ROWS).await?;
    for batch in &mut found {
        batch.redact(&site.settings.redaction);
    }
    Ok(Json(found))
}

async fn one_batch(State(site): State<Arc<Site>>, Path(id): Path<i64>) -> Answer<BatchSummary> {
    let mut tx = site.read().await?;
    let found = batches::show(&mut tx, site.queue.schema(), BatchId(id)).await?;
    let mut batch = found.ok_or_else(|| Refusal::NoThing(format!("batch {id}")))?;
    batch.redact(&site.settings.redaction);
    Ok(Json(batch))
}

async fn batch_jobs(
    State(site): State<Arc<Site>>,
    Path(id): Path<i64>,
    Query(from): Query<From>,
) -> Answer<Vec<BatchJob>> {
    let (mut tx, after) = (site.read().await?, JobId(from.after.unwrap_or(0)));
    let jobs = batches::jobs(&mut tx, site.queue.schema(), BatchId(id), after, ROWS);
    Ok(Json(jobs.await?))
}

async fn list_tenants(
    State(site): State<Arc<Site>>,
    Query(from): Query<TenantsFrom>,
) -> Answer<Vec<TenantSummary>> {
    let mut tx = site.read().await?;
    let tenants = tenants::list(&mut tx, site.queue.schema(), &from.after, ROWS);
    Ok(Json(tenants.await?))
}

async fn one_tenant(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
) -> Answer<TenantDetails> {
    let mut tx = site.read().await?;
    let found = tenants::show(&mut tx, site.queue.schema(), &name).await?;
    Ok(Json(found.ok_or_else(|| Refusal::no_tenant(&name))?))
}

async fn list_processes(State(site): State<Arc<Site>>) -> Answer<Vec<ProcessSummary>> {
    let mut tx = site.read().await?;
    Ok(Json(processes::list(&mut tx, site.queue.schema()).await?))
}

async fn list_operations(State(site): State<Arc<Site>>) -> Answer<Vec<OperationDetails>> {
    let mut tx = site.read().await?;
    let operations = operations::list(&mut tx, site.queue.schema(), ROWS);
    Ok(Json(operations.await?))
}

async fn list_audit(
    State(site): State<Arc<Site>>,
    Query(from): Query<From>,
) -> Answer<Vec<AuditEntry>> {
    let mut tx = site.read().await?;
    let filter = AuditFilter {
        who: from.who,
        what: from.what,
    };
    let acts = audit::list(&mut tx, site.queue.schema(), &filter, from.before, ROWS);
    Ok(Json(acts.await?))
}
