//! A shop with jobs in every state, and its dashboards, for the tests in a browser. It prints its address,
//! and ends at the end of its standard input:
//!
//! - `/ops/jobs`: user `mira`, password `open`, admin;
//! - `/viewer/jobs`: user `lena`, password `open`, viewer;
//! - `/host/jobs`: who came by `/host/login?name=NAME`, operator;
//! - `/closed/jobs`: closed, because no login is configured;
//! - `/all/jobs`: as `/ops/jobs`, of the shards `eu`, `us`, which is drained, and `au`, which is added, which are all the
//!   shop, and `asia`, which is away;
//! - `/new/jobs`: as `/ops/jobs`, of a database without jobs, on a server that `/stop` stops and `/start` starts.
//!
//! `/hold` keeps acts from changing failed jobs until `/release`.

mod jobs;
mod shop;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::Query;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::get;
use queue_core::{Queue, ShardState, Shards};
use queue_tests::postgres::DedicatedServer;
use queue_tests::world::World;
use queue_worker::LogLines;
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[derive(Deserialize)]
struct Login {
    name: String,
}

async fn log_in(Query(login): Query<Login>) -> Response {
    let cookie = format!(
        "staff={}; Path=/host; HttpOnly; SameSite=Strict",
        login.name
    );
    (
        AppendHeaders([(SET_COOKIE, cookie)]),
        Redirect::to("/host/jobs"),
    )
        .into_response()
}

/// The check of the host: its cookie names the viewer.
async fn staff(request: Parts) -> Option<Viewer> {
    let cookies = request.headers.get(COOKIE)?.to_str().ok()?;
    let mut cookies = cookies
        .split("; ")
        .filter_map(|cookie| cookie.strip_prefix("staff="));
    Some(Viewer::new(cookies.next()?, Role::Operator))
}

/// The connection that locks the failed jobs, while somebody holds them.
#[derive(Clone, Default)]
struct Hold(Arc<Mutex<Option<PgConnection>>>);

impl Hold {
    async fn take(self, options: PgConnectOptions) {
        let mut conn = options.connect().await.expect("a connection");
        let lock = "begin; lock table queue.failed in share row exclusive mode";
        conn.execute(lock).await.expect("the lock");
        *self.0.lock().await = Some(conn);
    }

    async fn release(self) {
        *self.0.lock().await = None;
    }
}

/// A server that may be away.
type Server = Arc<Mutex<DedicatedServer>>;

/// The dashboards of the shop.
fn shop(world: &World) -> Result<Router> {
    let dashboard = || {
        Dashboard::new(world.queue.clone())
            .place("production")
            .dead_after(Duration::from_secs(40))
    };
    let admin = dashboard().login("mira", "open")?;
    let viewer = dashboard().login("lena", "open")?.role(Role::Viewer);
    let host = dashboard().authorize(staff);
    let away = PgPool::connect_lazy("postgres://queue@127.0.0.1:1/queue")?;
    let shop = || world.queue.clone();
    let there = ["eu", "us", "au"].map(|name| (name, shop()));
    let shards = Shards::new(there.into_iter().chain([("asia", Queue::new(away))]))?
        .with_state("us", ShardState::Draining)?
        .with_state("au", ShardState::Adding)?;
    let all = Dashboard::of_shards(&shards).login("mira", "open")?;
    let (hold, options) = (Hold::default(), world.connect_options());
    let taken = hold.clone();
    let take = async move || taken.clone().take(options.clone()).await;
    Ok(Router::new()
        .nest_service("/ops/jobs", admin.router())
        .nest_service("/all/jobs", all.router())
        .nest_service("/viewer/jobs", viewer.router())
        .nest_service("/host/jobs", host.router())
        .nest_service("/closed/jobs", dashboard().router())
        .route("/host/login", get(log_in))
        .route("/hold", get(take))
        .route("/release", get(async move || hold.clone().release().await)))
}

/// The dashboard of the database without jobs.
async fn new_shop(server: Server) -> Result<Router> {
    let options = server.lock().await.connect_options();
    let queue = Queue::new(PgPool::connect_lazy_with(options));
    let dashboard = Dashboard::new(queue).login("mira", "open")?;
    let same = Arc::clone(&server);
    Ok(Router::new()
        .nest_service("/new/jobs", dashboard.router())
        .route(
            "/stop",
            get(async move || server.lock().await.stop_server().await),
        )
        .route(
            "/start",
            get(async move || same.lock().await.start_server().await),
        ))
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::registry().with(LogLines).init();
    let (world, server) = tokio::join!(World::named("shop"), DedicatedServer::start());
    let processes = shop::open(&world).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let router = shop(&world)?.merge(new_shop(Arc::new(Mutex::new(server))).await?);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let read = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    tokio::select! {
        served = axum::serve(listener, service) => served?,
        read = read => drop(read?),
    }
    for process in processes {
        process.stop_at_once().await;
    }
    Ok(())
}
