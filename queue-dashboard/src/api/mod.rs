//! The data of the pages as JSON, below `/api/v1`: to read only.
//!
//! The router and the OpenAPI document are made of one table, and the schemas of the answers of their types.

use std::sync::Arc;

use axum::extract::{FromRef, Path, Query, State};
use axum::response::AppendHeaders;
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
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use crate::chart::Within;
use crate::links::{API, Links};
use crate::pages::failures::CAUSES_OF_JOBS;
use crate::pages::jobs::filters::Filters;
use crate::pages::parts::Below;
use crate::pages::tenants::From as TenantsFrom;
use crate::refusal::Refusal;
use crate::site::{COUNTED_MAX, Site};
use crate::sites::{Found, Reading, Sites};
use crate::visit::Visit;

/// The most rows of one answer.
const ROWS: u32 = 100;

/// The due times of a recurring job that are shown.
const FIRINGS: u32 = 50;

type Answer<T> = Result<Json<T>, Refusal>;
type List<T> = Result<(Away, Json<Rows<T>>), Refusal>;
type Reader = Extension<Visit>;

/// The header that names the shards that are missing, because they are away: `x-queue-away: us`.
type Away = AppendHeaders<Vec<(&'static str, String)>>;

/// The rows of one queue, or of all shards, each of which has a field `shard`.
struct Rows<T>(Vec<(Links, T)>);

#[derive(Serialize)]
struct Row<'r, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<&'r Arc<str>>,
    #[serde(flatten)]
    row: &'r T,
}

impl<T: Serialize> Serialize for Rows<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.0.iter();
        serializer.collect_seq(rows.map(|(links, row)| Row {
            shard: links.shard(),
            row,
        }))
    }
}

/// An address of the API.
pub(crate) struct Endpoint<S> {
    pub(crate) path: &'static str,
    summary: &'static str,
    /// The names of its parameters, and what they are; those of the path come first.
    parameters: &'static [(&'static str, &'static str)],
    schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) handler: fn() -> MethodRouter<S>,
}

fn endpoint<T: JsonSchema, S>(
    path: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    handler: fn() -> MethodRouter<S>,
) -> Endpoint<S> {
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

/// All addresses of the dashboard of one queue but that of the document.
pub(crate) fn table() -> Vec<Endpoint<Arc<Site>>> {
    let mut table = lists();
    table.extend(things());
    table
}

/// The addresses of what all shards have as well.
pub(crate) fn lists<S>() -> Vec<Endpoint<S>>
where
    S: Clone + Send + Sync + 'static,
    Sites: FromRef<S>,
{
    let mut lists = about_jobs();
    lists.extend(about_flow());
    lists.extend(about_machinery());
    lists
}

fn about_jobs<S>() -> Vec<Endpoint<S>>
where
    S: Clone + Send + Sync + 'static,
    Sites: FromRef<S>,
{
    vec![
        endpoint::<Vec<Finding>, _>(
            "/findings",
            "What needs a look, as `queue doctor` says it",
            &[],
            || get(findings),
        ),
        endpoint::<Stats, _>(
            "/stats",
            "Jobs in each state, and what has ended lately",
            &[],
            || get(all_stats),
        ),
        endpoint::<Vec<Bar>, _>(
            "/counts",
            "What has ended in each span of time",
            &CHARTED,
            || get(counts),
        ),
        endpoint::<Vec<Depth>, _>(
            "/depths",
            "The most jobs in each state in each span of time in which there was a sample",
            &CHARTED,
            || get(all_depths),
        ),
        endpoint::<Vec<JobSummary>, _>(
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
        endpoint::<Vec<FailureGroup>, _>(
            "/failures",
            "The causes of failed jobs, the most frequent first",
            &[],
            || get(causes),
        ),
    ]
}

fn about_flow<S>() -> Vec<Endpoint<S>>
where
    S: Clone + Send + Sync + 'static,
    Sites: FromRef<S>,
{
    vec![
        endpoint::<Vec<QueueSummary>, _>("/queues", "All queues", &[], || get(list_queues)),
        endpoint::<Vec<LimitSummary>, _>(
            "/limits",
            "The keys for which jobs wait, and the limits that are set",
            &[("key", "Keys after this one, in their order")],
            || get(list_limits),
        ),
        endpoint::<Vec<RecurringJobSummary>, _>("/recurring", "All recurring jobs", &[], || {
            get(list_recurring)
        }),
        endpoint::<Vec<BatchSummary>, _>(
            "/batches",
            "Batches, the newest first",
            &[BEFORE],
            || get(list_batches),
        ),
        endpoint::<Vec<TenantSummary>, _>(
            "/tenants",
            "The tenants that have jobs in fair queues, or for which something is set",
            &[(
                "after",
                "Tenants after this one, in the order of their names",
            )],
            || get(list_tenants),
        ),
    ]
}

fn about_machinery<S>() -> Vec<Endpoint<S>>
where
    S: Clone + Send + Sync + 'static,
    Sites: FromRef<S>,
{
    vec![
        endpoint::<Vec<ProcessSummary>, _>("/processes", "All processes", &[], || {
            get(list_processes)
        }),
        endpoint::<Vec<OperationDetails>, _>(
            "/operations",
            "Acts on many jobs, the newest first",
            &[],
            || get(list_operations),
        ),
        endpoint::<Vec<AuditEntry>, _>(
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

/// The addresses of single things, which are on one shard.
fn things() -> Vec<Endpoint<Arc<Site>>> {
    vec![
        endpoint::<JobDetails, _>(
            "/jobs/{id}",
            "Everything about a job",
            &[("id", "Its id")],
            || get(one_job),
        ),
        endpoint::<RecurringJobDetails, _>(
            "/recurring/{name}",
            "Everything about a recurring job",
            &[("name", "Its name")],
            || get(one_recurring),
        ),
        endpoint::<BatchSummary, _>("/batches/{id}", "A batch", &[("id", "Its id")], || {
            get(one_batch)
        }),
        endpoint::<Vec<BatchJob>, _>(
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
        endpoint::<TenantDetails, _>(
            "/tenants/{name}",
            "A tenant and its newest jobs by state",
            &[("name", "Its name")],
            || get(one_tenant),
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
    let paths = match visit.is_merged {
        true => paths(&lists::<Sites>(), &mut schemas, with_shard),
        false => paths(&table(), &mut schemas, |schema| schema),
    };
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "queue",
            "version": env!("CARGO_PKG_VERSION"),
            "description": description(&visit),
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

fn description(visit: &Visit) -> String {
    let shards = match visit.is_merged {
        true => {
            " Rows of all shards come one shard after the other, up to 100 of each, and those that are away are \
             missing: the header `x-queue-away` names them. `before` takes a row of each, as in `eu:4711,us:300`."
        }
        false => "",
    };
    format!(
        "Background jobs on Postgres. Lists have 100 rows at most, but queues, recurring jobs and processes come \
         whole; an error has a text in `error`.{shards}"
    )
}

fn paths<S>(
    table: &[Endpoint<S>],
    schemas: &mut SchemaGenerator,
    change: fn(Schema) -> Schema,
) -> Map<String, Value> {
    let path = |endpoint: &Endpoint<S>| {
        let schema = change((endpoint.schema)(schemas));
        let described = json!({"get": endpoint.described(&schema)});
        (endpoint.path.to_owned(), described)
    };
    table.iter().map(path).collect()
}

/// Adds the field `shard` to the rows of a list.
fn with_shard(schema: Schema) -> Schema {
    let Some(row) = schema.get("items").cloned() else {
        return schema;
    };
    json_schema!({
        "type": "array",
        "items": {"allOf": [row, {
            "type": "object",
            "properties": {"shard": {"type": "string"}},
            "required": ["shard"],
        }]},
    })
}

impl<S> Endpoint<S> {
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

/// Reads a list of all, each with its own rows.
async fn rows<T, F>(
    sites: &Sites,
    visit: &Visit,
    read: impl Fn(Reading) -> F,
) -> Result<(Away, Json<Rows<T>>), Refusal>
where
    F: Future<Output = Result<(Reading, Vec<T>), Refusal>>,
{
    let (found, lists) = sites.read(&visit.links, read).await?.taken();
    let rows = lists.into_iter().flat_map(|(links, rows)| {
        let rows = rows.into_iter();
        rows.map(move |row| (links.clone(), row))
    });
    Ok((away(&found), Json(Rows(rows.collect()))))
}

fn away<T>(found: &Found<T>) -> Away {
    let names: Vec<&str> = found.away.iter().map(|(shard, _)| &**shard).collect();
    let header = (!names.is_empty()).then(|| ("x-queue-away", names.join(",")));
    AppendHeaders(header.into_iter().collect())
}

async fn findings(State(sites): State<Sites>, Extension(visit): Reader) -> List<Finding> {
    let read = async |mut of: Reading| {
        let findings = of.site.findings(&mut of.tx).await?;
        Ok((of, findings))
    };
    rows(&sites, &visit, read).await
}

async fn all_stats(
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
struct OfQueue {
    queue: Option<String>,
}

async fn counts(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(of): Query<OfQueue>,
    Query(within): Query<Within>,
) -> List<Bar> {
    let (queue, range, now) = (of.queue.as_deref(), within.range(), chrono::Utc::now());
    let read = async |mut of: Reading| {
        let bars = bars(&mut of.tx, of.site.queue.schema(), queue, range, now).await?;
        Ok((of, bars))
    };
    rows(&sites, &visit, read).await
}

async fn all_depths(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(of): Query<OfQueue>,
    Query(within): Query<Within>,
) -> List<Depth> {
    let (queue, range, now) = (of.queue.as_deref(), within.range(), chrono::Utc::now());
    let read = async |mut of: Reading| {
        let depths = depths(&mut of.tx, of.site.queue.schema(), queue, range, now).await?;
        Ok((of, depths))
    };
    rows(&sites, &visit, read).await
}

async fn list_jobs(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(pairs): Query<Vec<(String, String)>>,
) -> List<JobSummary> {
    let filters = Filters::read(&pairs);
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

async fn causes(State(sites): State<Sites>, Extension(visit): Reader) -> List<FailureGroup> {
    let redaction = &visit.settings.redaction;
    let read = async |mut of: Reading| {
        let (conn, schema) = (&mut *of.tx, of.site.queue.schema());
        let mut causes = failures::list(conn, schema, CAUSES_OF_JOBS, ROWS, None).await?;
        for cause in &mut causes {
            cause.error = redaction.error(&cause.kind, &cause.error).into_owned();
            cause.cause = redaction.error(&cause.kind, &cause.cause).into_owned();
        }
        Ok((of, causes))
    };
    rows(&sites, &visit, read).await
}

async fn list_queues(State(sites): State<Sites>, Extension(visit): Reader) -> List<QueueSummary> {
    let read = async |mut of: Reading| {
        let queues = queues::list_bounded(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, queues))
    };
    rows(&sites, &visit, read).await
}

/// Where a list goes on.
#[derive(Deserialize)]
struct From {
    #[serde(default)]
    before: Below,
    after: Option<i64>,
    key: Option<String>,
    who: Option<String>,
    what: Option<String>,
}

async fn list_limits(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<From>,
) -> List<LimitSummary> {
    let after = from.key.unwrap_or_default();
    let read = async |mut of: Reading| {
        let limits = limits::list(&mut of.tx, of.site.queue.schema(), &after, ROWS).await?;
        Ok((of, limits))
    };
    rows(&sites, &visit, read).await
}

async fn list_recurring(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<RecurringJobSummary> {
    let read = async |mut of: Reading| {
        let jobs = recurring::list(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, jobs))
    };
    rows(&sites, &visit, read).await
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
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<From>,
) -> List<BatchSummary> {
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
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<TenantsFrom>,
) -> List<TenantSummary> {
    let read = async |mut of: Reading| {
        let tenants = tenants::list(&mut of.tx, of.site.queue.schema(), &from.after, ROWS).await?;
        Ok((of, tenants))
    };
    rows(&sites, &visit, read).await
}

async fn one_tenant(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
) -> Answer<TenantDetails> {
    let mut tx = site.read().await?;
    let found = tenants::show(&mut tx, site.queue.schema(), &name).await?;
    Ok(Json(found.ok_or_else(|| Refusal::no_tenant(&name))?))
}

async fn list_processes(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<ProcessSummary> {
    let read = async |mut of: Reading| {
        let processes = processes::list(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, processes))
    };
    rows(&sites, &visit, read).await
}

async fn list_operations(
    State(sites): State<Sites>,
    Extension(visit): Reader,
) -> List<OperationDetails> {
    let read = async |mut of: Reading| {
        let operations = operations::list(&mut of.tx, of.site.queue.schema(), ROWS).await?;
        Ok((of, operations))
    };
    rows(&sites, &visit, read).await
}

async fn list_audit(
    State(sites): State<Sites>,
    Extension(visit): Reader,
    Query(from): Query<From>,
) -> List<AuditEntry> {
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
