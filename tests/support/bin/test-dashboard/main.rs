//! A shop with jobs in every state, and its dashboards, for the tests in a browser. It prints its address,
//! and ends at the end of its standard input:
//!
//! - `/ops/jobs`: user `mira`, password `open`, admin;
//! - `/viewer/jobs`: user `lena`, password `open`, viewer;
//! - `/host/jobs`: who came by `/host/login?name=NAME`, operator;
//! - `/closed/jobs`: closed, because no login is configured.
//!
//! `/hold` keeps acts from changing failed jobs until `/release`.

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
use queue_core::operations::queues::pause;
use queue_core::{Limits, NewJob, Options};
use queue_tests::world::{Running, World, worker};
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use queue_worker::{App, BoxError, Cx, Job, Perform, RecurringJob};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// How many deliveries have failed.
const FAILED: usize = 10_000;
/// The processes have no time to be declared dead by each other.
const DEAD_AFTER: Duration = Duration::from_secs(3_600);

const QUICK: [&str; 3] = ["send_invoice", "resize_image", "reindex_product"];

/// A job that is done at once.
#[derive(Serialize, Deserialize)]
struct Quick<const N: usize>(Value);

impl<const N: usize> Job for Quick<N> {
    const KIND: &'static str = QUICK[N];
}

impl<const N: usize> Perform<()> for Quick<N> {
    type Error = BoxError;

    async fn perform(self, _cx: Cx<()>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A job that runs until it is asked to stop.
#[derive(Serialize, Deserialize)]
struct ImportAccount(Value);

impl Job for ImportAccount {
    const KIND: &'static str = "import_account";
}

impl Perform<()> for ImportAccount {
    type Error = BoxError;

    async fn perform(self, cx: Cx<()>) -> Result<(), BoxError> {
        cx.cancelled().await;
        Ok(())
    }
}

/// A job whose first attempt fails.
#[derive(Serialize, Deserialize)]
struct ChargeCard(Value);

impl Job for ChargeCard {
    const KIND: &'static str = "charge_card";
}

impl Perform<()> for ChargeCard {
    type Error = BoxError;

    async fn perform(self, cx: Cx<()>) -> Result<(), BoxError> {
        match cx.attempt().number {
            1 => Err("payments.example answered 503 Service Unavailable: \
                      the gateway is down for maintenance until 04:00 UTC"
                .into()),
            _ => Ok(()),
        }
    }
}

fn app() -> Result<App<()>> {
    let nightly = RecurringJob::new(
        "nightly_ledger",
        "every day at 2am",
        Quick::<0>(json!({"ledger": "main"})),
    )?;
    let digest = RecurringJob::new("hourly_digest", "every hour", Quick::<1>(json!({})))?;
    let report = RecurringJob::new(
        "weekly_report",
        "every monday at 9am",
        Quick::<2>(json!({"format": "pdf"})),
    )?;
    Ok(App::new(())
        .register::<Quick<0>>()
        .register::<Quick<1>>()
        .register::<Quick<2>>()
        .register::<ImportAccount>()
        .register::<ChargeCard>()
        .recurring(nightly)
        .recurring(digest)
        .recurring(report))
}

fn start(world: &World, name: &str, queues: &str, concurrency: usize) -> Result<Running> {
    let mut settings = worker(queues, concurrency);
    settings.process.name = Some(name.to_owned());
    settings.process.dead_after = DEAD_AFTER;
    settings.process.heartbeat_interval = Duration::from_secs(1);
    Ok(world.start(app()?, settings))
}

async fn enqueue(
    world: &World,
    kind: &'static str,
    many: usize,
    job: impl Fn(usize) -> (Value, Options),
) -> Result<()> {
    let jobs = (0..many).map(|number| {
        let (args, options) = job(number);
        NewJob::untyped(kind, &args, options)
    });
    world.queue.enqueue_all(jobs).await?;
    Ok(())
}

/// Fills the queues. Those that stand still are filled before the processes start.
async fn fill(world: &World) -> Result<()> {
    let on = |queue: &'static str| Options::new().queue(queue);
    let account = |number: usize| Limits::key(format!("account/{}", number % 3)).to(1);
    enqueue(world, "import_account", 12, |number| {
        let args = json!({"account_id": number % 3, "since": "2026-11-01", "token": "x"});
        (args, on("imports").limits(account(number)).tag("crm"))
    })
    .await?;
    enqueue(world, "send_invoice", 40, |number| {
        let args = json!({"invoice": format!("INV-{number}"), "to": "accounts@acme.example"});
        (args, on("billing"))
    })
    .await?;
    enqueue(world, "resize_image", 180, |number| {
        (json!({"image": number, "width": 640}), on("media"))
    })
    .await?;
    enqueue(world, "send_invoice", 25, |number| {
        let delay = Duration::from_secs(60 * (number as u64 + 1));
        (json!({"reminder": number}), on("billing").delay(delay))
    })
    .await?;
    enqueue(world, "sync_ledger_v2", 7, |number| {
        (json!({"ledger": number}), on("billing"))
    })
    .await?;
    enqueue(world, "build_report", 31, |number| {
        (json!({"report": number}), on("reports"))
    })
    .await?;
    enqueue(world, "charge_card", 3, |number| {
        let args = json!({"invoice": format!("INV-{}", 7000 + number), "amount": "49.90",
                          "card": "4242424242424242"});
        (args, on("billing").attempts(1).tag("checkout"))
    })
    .await?;
    fail_deliveries(world).await
}

/// Makes thousands of failed deliveries, as if they had failed during the last hours.
async fn fail_deliveries(world: &World) -> Result<()> {
    enqueue(world, "deliver_webhook", FAILED, |number| {
        let args = json!({"delivery": number, "url": "https://hooks.acme.example/in"});
        (args, Options::new().queue("webhooks").attempts(3))
    })
    .await?;
    world
        .sql(
            "with gone as (
                 delete from queue.ready where kind = 'deliver_webhook' returning *
             )
             insert into queue.failed (job_id, failed_at, attempt, failures, crashes, queue, kind)
             select job_id, now() - job_id % 9000 * interval '1 s', 3, 3, 0, queue, kind from gone",
        )
        .await;
    world
        .sql(
            "insert into queue.attempts
                 (job_id, attempt, started_at, ended_at, process, ending, error, backtrace)
             select job_id, 3, failed_at - interval '2 s', failed_at, 'worker-eu-1.311', 'error',
                 case when job_id % 4 = 0
                     then 'no answer from 10.0.7.' || job_id % 200 || ':443 within 30s'
                     else 'hooks.acme.example answered 503 to delivery ' || job_id * 7919
                 end || E'\\n\\nCaused by:\\n    connection reset by peer',
                 E'   0: shop::webhooks::deliver\\n             at ./src/webhooks.rs:88\\n'
                 '   1: tokio::runtime::task::core::poll'
             from queue.failed where kind = 'deliver_webhook'",
        )
        .await;
    Ok(())
}

/// Makes the past of jobs that stand still, and a process that is silent.
async fn age(world: &World) {
    for statement in [
        "update queue.ready set ready_at = now() - interval '40 minutes' where queue = 'reports'",
        "update queue.ready set ready_at = now() - interval '4 minutes' where queue = 'billing'",
        "insert into queue.processes (id, name, host, pid, version, details, started_at, heartbeat_at)
         values ('00000000-0000-7000-8000-000000000001', 'worker-eu-3.77', 'eu-3', 77, '2.14.1',
             '{\"queues\": [\"billing\", \"media\"], \"kinds\": [\"send_invoice\"], \"concurrency\": 8,
               \"services\": []}', now() - interval '3 hours', now() - interval '24 s')",
    ] {
        world.sql(statement).await;
    }
}

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

fn router(world: &World) -> Result<Router> {
    let dashboard = || {
        Dashboard::new(world.queue.clone())
            .place("production")
            .dead_after(Duration::from_secs(40))
    };
    let (hold, options) = (Hold::default(), world.connect_options());
    let taken = hold.clone();
    let admin = dashboard().login("mira", "open")?;
    let viewer = dashboard().login("lena", "open")?.role(Role::Viewer);
    let host = dashboard().authorize(staff);
    Ok(Router::new()
        .nest_service("/ops/jobs", admin.router())
        .nest_service("/viewer/jobs", viewer.router())
        .nest_service("/host/jobs", host.router())
        .nest_service("/closed/jobs", dashboard().router())
        .route("/host/login", get(log_in))
        .route(
            "/hold",
            get(async move || taken.clone().take(options.clone()).await),
        )
        .route("/release", get(async move || hold.clone().release().await)))
}

#[tokio::main]
async fn main() -> Result<()> {
    let world = World::new().await;
    fill(&world).await?;
    let mut conn = world.connect().await;
    pause(&mut conn, world.queue.schema(), "imports-old").await?;
    let processes = [
        start(&world, "worker-eu-1.311", "billing,media,webhooks", 8)?,
        start(&world, "worker-eu-2.912", "imports,default", 8)?,
    ];
    world.until("failed where kind = 'charge_card'", 3).await;
    world.until("claimed", 3).await;
    world.until("blocked", 9).await;
    age(&world).await;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let service = router(&world)?.into_make_service_with_connect_info::<SocketAddr>();
    let read = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    tokio::select! {
        served = axum::serve(listener, service) => served?,
        read = read => drop(read?),
    }
    for process in processes {
        process.stop().await;
    }
    Ok(())
}
