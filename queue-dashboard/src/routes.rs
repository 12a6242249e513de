//! All addresses. The router is made of this table, and a test compares it with what it expects of each.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, middleware};
use futures_util::future::join_all;
use queue_core::inspect::begin_read;
use queue_core::migrate;

use crate::acts;
use crate::api;
use crate::assets;
use crate::auth::Role;
use crate::guard::{guard, secure};
use crate::links::{API, shard_path};
use crate::live::{self, Hub};
use crate::pages::{
    audit, batches, cause, confirm, failures, help, job, jobs, limits, many, operation, overview,
    processes, queues, recurring, schedule, tenants,
};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::sites::Sites;

/// How long `/ready` waits for the database.
const READY_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// An address below the mount, and the role that it needs.
pub(crate) struct Route<S> {
    method: &'static str,
    path: Cow<'static, str>,
    role: Role,
    handler: MethodRouter<S>,
}

impl<S> Route<S> {
    pub(crate) fn described(self) -> (&'static str, String, Role) {
        (self.method, self.path.into_owned(), self.role)
    }
}

fn page<S>(path: impl Into<Cow<'static, str>>, role: Role, handler: MethodRouter<S>) -> Route<S> {
    Route {
        method: "GET",
        path: path.into(),
        role,
        handler,
    }
}

fn act(path: &'static str, handler: MethodRouter<Arc<Site>>) -> Route<Arc<Site>> {
    Route {
        method: "POST",
        path: path.into(),
        role: Role::Operator,
        handler,
    }
}

fn admin(path: &'static str, handler: MethodRouter<Arc<Site>>) -> Route<Arc<Site>> {
    Route {
        role: Role::Admin,
        ..act(path, handler)
    }
}

/// The addresses of the dashboard of one queue that need a viewer.
pub(crate) fn table() -> Vec<Route<Arc<Site>>> {
    use Role::{Admin, Operator, Viewer};
    let mut routes = vec![
        page("/jobs/retry", Operator, get(many::confirm)),
        act("/jobs/retry", post(acts::many::act_on_many)),
        page("/jobs/discard", Operator, get(many::confirm)),
        act("/jobs/discard", post(acts::many::act_on_many)),
        page("/jobs/cancel", Operator, get(many::confirm)),
        act("/jobs/cancel", post(acts::many::act_on_many)),
        page("/jobs/run", Operator, get(many::confirm)),
        act("/jobs/run", post(acts::many::act_on_many)),
        page("/jobs/reschedule", Operator, get(many::confirm)),
        act("/jobs/reschedule", post(acts::many::act_on_many)),
        page("/jobs/priority", Operator, get(many::confirm)),
        act("/jobs/priority", post(acts::many::act_on_many)),
        page("/jobs/{id}", Viewer, get(job::show)),
        page("/jobs/{id}/{verb}", Operator, get(confirm::job)),
        act("/jobs/{id}/{verb}", post(acts::jobs::act)),
        page("/operations/{id}", Viewer, get(operation::show)),
        act("/operations/{id}/stop", post(acts::many::stop)),
        page("/failures/{kind}/{fingerprint}", Viewer, get(cause::show)),
        page("/queues/{name}", Viewer, get(queues::one)),
        page("/queues/{name}/{verb}", Operator, get(confirm::pause)),
        act("/queues/{name}/{verb}", post(acts::queues::act)),
        act("/limits/{key}/{verb}", post(acts::limits::act)),
        page("/batches/{id}", Viewer, get(batches::one)),
        page("/batches/{id}/{verb}", Operator, get(confirm::batch)),
        act("/batches/{id}/{verb}", post(acts::batches::act)),
        page("/tenants/{name}", Viewer, get(tenants::one)),
        page("/tenants/{name}/{verb}", Operator, get(confirm::tenant)),
        act("/tenants/{name}/{verb}", post(acts::tenants::act)),
        page("/processes/{id}", Viewer, get(processes::one)),
        page("/processes/{id}/stop", Admin, get(confirm::stop_process)),
        admin("/processes/{id}/stop", post(acts::processes::stop)),
        act("/processes/{id}/{verb}", post(acts::processes::act)),
    ];
    routes.extend(common_table());
    routes.extend(recurring_table());
    routes.extend(api_table(api::table()));
    routes
}

/// The addresses of the pages that show all shards as one.
pub(crate) fn table_of_shards() -> Vec<Route<Sites>> {
    let mut routes = common_table();
    routes.push(page("/jobs/{id}", Role::Viewer, get(jobs::on_shard)));
    routes.extend(api_table(api::lists()));
    routes
}

/// The addresses of both.
fn common_table<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Sites: FromRef<S>,
{
    use Role::Viewer;
    vec![
        page("/", Viewer, get(overview::show)),
        page("/jobs", Viewer, get(jobs::list)),
        page("/failures", Viewer, get(failures::show)),
        page("/queues", Viewer, get(queues::list)),
        page("/limits", Viewer, get(limits::list)),
        page("/recurring", Viewer, get(recurring::list)),
        page("/batches", Viewer, get(batches::list)),
        page("/tenants", Viewer, get(tenants::list)),
        page("/processes", Viewer, get(processes::list)),
        page("/audit", Viewer, get(audit::list)),
        page("/audit.csv", Viewer, get(audit::export)),
        page("/help", Viewer, get(help::show)),
        page("/display", Viewer, get(help::display)),
        page("/metrics", Viewer, get(metrics)),
        page("/api/v1/openapi.json", Viewer, get(api::document)),
    ]
}

fn api_table<S>(table: Vec<api::Endpoint<S>>) -> impl Iterator<Item = Route<S>> {
    table.into_iter().map(|endpoint| {
        let path = format!("{}{}", API, endpoint.path);
        page(path, Role::Viewer, (endpoint.handler)())
    })
}

fn recurring_table() -> Vec<Route<Arc<Site>>> {
    use Role::{Admin, Viewer};
    vec![
        page("/recurring/{name}", Viewer, get(recurring::one)),
        page("/recurring/{name}/change", Admin, get(schedule::change)),
        admin("/recurring/{name}/change", post(acts::recurring::change)),
        page(
            "/recurring/{name}/remove",
            Admin,
            get(confirm::remove_recurring),
        ),
        admin("/recurring/{name}/remove", post(acts::recurring::remove)),
        act("/recurring/{name}/{verb}", post(acts::recurring::act)),
        page("/add-recurring", Admin, get(schedule::add)),
        admin("/add-recurring", post(acts::recurring::add)),
    ]
}

/// Makes the router of everything below the mount.
pub(crate) fn router(sites: &Sites) -> Router {
    let Some(site) = sites.only() else {
        let all = mounted(table_of_shards(), sites, sites.clone());
        let shards = sites.all.iter();
        let shards = shards.filter_map(|site| Some((site.shard.as_ref()?, Sites::from_ref(site))));
        return shards.fold(all, |all, (shard, site)| {
            all.nest_service(&shard_path(shard), router(&site))
        });
    };
    mounted(table(), sites, Arc::clone(site))
}

fn mounted<S>(table: Vec<Route<S>>, sites: &Sites, state: S) -> Router
where
    S: Clone + Send + Sync + 'static,
{
    let pages = table.into_iter().fold(Router::new(), |router, route| {
        router.route(&route.path, route.handler)
    });
    let pages = pages
        .fallback(async || Refusal::NoPage)
        .method_not_allowed_fallback(async || Refusal::NoMethod);
    let guarded = |router: Router<S>| {
        let guard = middleware::from_fn_with_state(sites.clone(), guard);
        router.layer(guard).with_state(state.clone())
    };
    let hub = Arc::new(Hub::new(guarded(pages.clone()), &sites.settings));
    let live = Router::new()
        .route("/live", get(live::events))
        .layer(Extension(hub));
    guarded(pages.merge(live))
        .merge(probes(sites))
        .route("/assets/{name}", get(assets::serve))
        .layer(middleware::from_fn(secure))
}

/// The addresses that answer everybody with a word.
pub(crate) fn probes(sites: &Sites) -> Router {
    Router::new()
        .route("/up", get(async || word(StatusCode::OK, "up")))
        .route("/ready", get(ready))
        .with_state(sites.clone())
}

/// Of shards, one that is ready is enough: its pages can be shown.
async fn ready(State(sites): State<Sites>) -> Response {
    let looks = join_all(sites.all.iter().map(|site| is_migrated(site))).await;
    match looks.into_iter().flatten().max() {
        Some(true) => word(StatusCode::OK, "ready"),
        Some(false) => word(StatusCode::SERVICE_UNAVAILABLE, "outdated"),
        None => word(StatusCode::SERVICE_UNAVAILABLE, "away"),
    }
}

/// Returns whether a queue has its tables; nothing if it does not answer.
async fn is_migrated(site: &Site) -> Option<bool> {
    let read = async {
        let mut tx = begin_read(site.queue.pool(), READY_WITHIN).await?;
        migrate::status(&mut tx, site.queue.schema()).await
    };
    let status = tokio::time::timeout(READY_WITHIN, read).await.ok()?.ok()?;
    Some(status.missing() == 0)
}

async fn metrics(State(sites): State<Sites>) -> Result<Response, Refusal> {
    let text = sites.settings.metrics.as_ref().ok_or(Refusal::NoPage)?;
    let prometheus = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((prometheus, text()).into_response())
}

fn word(status: StatusCode, word: &'static str) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, plain, format!("{word}\n")).into_response()
}
