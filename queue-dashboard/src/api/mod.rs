//! The data of the pages as JSON, below `/api/v1`: to read only.
//!
//! The router and the OpenAPI document are made of one table, and the schemas of the answers of their types.

mod answers;

use std::sync::Arc;

use axum::extract::FromRef;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use queue_core::counts::Bar;
use queue_core::depths::Depth;
use queue_core::inspect::doctor::Finding;
use queue_core::inspect::stats::Stats;
use queue_core::inspect::{
    AuditEntry, BatchJob, BatchSummary, FailureGroup, JobDetails, JobSummary, LimitSummary,
    OperationDetails, ProcessSummary, QueueSummary, RecurringJobDetails, RecurringJobSummary,
    TenantDetails, TenantSummary,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::links::API;
use crate::site::Site;
use crate::sites::Sites;
use crate::visit::Visit;
use answers::{
    all_depths, all_stats, batch_jobs, causes, counts, findings, list_audit, list_batches,
    list_jobs, list_limits, list_operations, list_processes, list_queues, list_recurring,
    list_tenants, one_batch, one_job, one_recurring, one_tenant,
};

type Reader = Extension<Visit>;

/// An address of the API.
pub(crate) struct Endpoint<S> {
    pub(crate) path: &'static str,
    summary: &'static str,
    /// The names of its parameters, and what they are; those of the path come first.
    parameters: &'static [(&'static str, &'static str)],
    schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether the rows of shards are added up.
    adds_up: bool,
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
        adds_up: false,
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
        )
        .adding_up(),
        endpoint::<Vec<Depth>, _>(
            "/depths",
            "The most jobs in each state in each span of time in which there was a sample",
            &CHARTED,
            || get(all_depths),
        )
        .adding_up(),
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
        )
        .adding_up(),
    ]
}

fn about_flow<S>() -> Vec<Endpoint<S>>
where
    S: Clone + Send + Sync + 'static,
    Sites: FromRef<S>,
{
    vec![
        endpoint::<Vec<QueueSummary>, _>("/queues", "All queues", &[], || get(list_queues))
            .adding_up(),
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
        true => paths(&lists::<Sites>(), &mut schemas, Endpoint::with_shards),
        false => paths(&table(), &mut schemas, |_, schema| schema),
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
            " Queues, causes of failures, counts and depths of all shards add up: `shards` has the part of each, and \
             the `sample` of a cause is on the shard with the same `last_at`. Other rows name their `shard`: limits and \
             tenants come in one order, at least 100 if there are more, so that the last is where the next page \
             begins; others one shard after the other, up to 100 of each. `before` takes the last row of each, as in \
             `eu:4711,us:300`. Shards that are away are missing: the header `x-queue-away` names them."
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
    change: fn(&Endpoint<S>, Schema) -> Schema,
) -> Map<String, Value> {
    let path = |endpoint: &Endpoint<S>| {
        let schema = change(endpoint, (endpoint.schema)(schemas));
        let described = json!({"get": endpoint.described(&schema)});
        (endpoint.path.to_owned(), described)
    };
    table.iter().map(path).collect()
}

impl<S> Endpoint<S> {
    fn adding_up(self) -> Self {
        Self {
            adds_up: true,
            ..self
        }
    }

    /// Adds the field `shard` to the rows of a list, or `shards` if it adds up.
    fn with_shards(&self, schema: Schema) -> Schema {
        let Some(row) = schema.get("items").cloned() else {
            return schema;
        };
        let (name, field) = match self.adds_up {
            true => (
                "shards",
                json!({"type": "object", "additionalProperties": row}),
            ),
            false => ("shard", json!({"type": "string"})),
        };
        json_schema!({
            "type": "array",
            "items": {"allOf": [row, {
                "type": "object",
                "properties": {name: field},
                "required": [name],
            }]},
        })
    }

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
