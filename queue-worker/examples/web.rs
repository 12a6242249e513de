//! A web service with a worker in its process: a request enqueues a job in its own transaction, and one
//! signal stops both.
//!
//! ```sh
//! export QUEUE_DASHBOARD_USER=mira QUEUE_DASHBOARD_PASSWORD=open    # for http://127.0.0.1:3000/ops/jobs
//! DATABASE_URL=postgres://localhost/app cargo run --package queue-worker --example web
//! curl -d '{"item": "cup"}' -H 'content-type: application/json' http://127.0.0.1:3000/orders
//! ```

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use queue_worker::dashboard::Dashboard;
use queue_worker::{App, BoxError, Cx, Job, Perform, Process, Queue, Settings, pool_options};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const TABLES: &str = "
    create table if not exists stock (item text primary key, pieces integer not null);
    create table if not exists orders (
        id bigint generated always as identity primary key,
        item text not null,
        receipt_sent_at timestamptz
    );
    insert into stock values ('cup', 1) on conflict do nothing;";

#[derive(Serialize, Deserialize)]
struct SendReceipt {
    order_id: i64,
}

impl Job for SendReceipt {
    const KIND: &'static str = "send_receipt";
}

impl Perform<PgPool> for SendReceipt {
    type Error = BoxError;

    async fn perform(self, cx: Cx<PgPool>) -> Result<(), BoxError> {
        let mut tx = cx.state().begin().await?;
        sqlx::query("update orders set receipt_sent_at = now() where id = $1")
            .bind(self.order_id)
            .execute(&mut *tx)
            .await?;
        // The work and the end of the job are committed together.
        cx.complete_in(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

#[derive(Deserialize)]
struct Order {
    item: String,
}

/// Takes an order. If its transaction is not committed, no receipt is sent.
async fn order(
    State(queue): State<Queue>,
    Json(order): Json<Order>,
) -> Result<(StatusCode, String), (StatusCode, String)> {
    let mut tx = queue.pool().begin().await.map_err(broken)?;
    let order_id = sqlx::query_scalar("insert into orders (item) values ($1) returning id")
        .bind(&order.item)
        .fetch_one(&mut *tx)
        .await
        .map_err(broken)?;
    queue
        .enqueue(SendReceipt { order_id })
        .tx(&mut tx)
        .await
        .map_err(broken)?;
    let taken = "update stock set pieces = pieces - 1 where item = $1 and pieces > 0";
    let taken = sqlx::query(taken).bind(&order.item).execute(&mut *tx).await;
    if taken.map_err(broken)?.rows_affected() == 0 {
        return Err((StatusCode::CONFLICT, "sold out\n".to_owned()));
    }
    tx.commit().await.map_err(broken)?;
    Ok((StatusCode::CREATED, format!("order {order_id}\n")))
}

fn broken(error: impl std::error::Error) -> (StatusCode, String) {
    tracing::error!(%error, "could not take the order");
    (StatusCode::INTERNAL_SERVER_ERROR, "sorry\n".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signals(stop.clone()));

    let pool = pool_options()
        .connect(&std::env::var("DATABASE_URL")?)
        .await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let queue = Queue::new(pool.clone());
    queue.migrate().await?;

    let app = App::new(pool).register::<SendReceipt>();
    let kinds = app.known_kinds();
    let process = Process::new(queue.clone(), app, Settings::load()?)?;
    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);

    let working = tokio::spawn(process.run_until(stop.clone().cancelled_owned()));
    // The pages at /ops/jobs are closed until QUEUE_DASHBOARD_USER and QUEUE_DASHBOARD_PASSWORD are set.
    let dashboard = Dashboard::from_environment(queue.clone())?
        .kinds(kinds)
        .closing(stop.clone().cancelled_owned());
    let router = Router::new()
        .route("/orders", post(order))
        .with_state(queue)
        .nest_service("/ops/jobs", dashboard.router())
        .into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .await;
    // Also when the server failed: running jobs finish within the shutdown timeout.
    stop.cancel();
    working.await?;
    Ok(served?)
}

/// Asks the server and the worker to stop.
async fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    stop.cancel();
    Ok(())
}
