//! A worker process that tests send signals to. Its only argument is its orders, as JSON.

use std::time::Duration;

use anyhow::{Context, Result};
use queue_tests::deeds;
use queue_tests::victim::Orders;
use queue_worker::{Process, Queue};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

fn main() -> Result<()> {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt::init();
    }
    let orders = std::env::args().nth(1).context("no orders were given")?;
    let orders: Orders = serde_json::from_str(&orders).context("could not read the orders")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work(&orders))?;
    // A plain end would wait for the threads of jobs that block for ever.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

async fn work(orders: &Orders) -> Result<()> {
    let pool = |url: &str| -> Result<PgPool> {
        let options: PgConnectOptions = url.parse()?;
        Ok(PgPoolOptions::new()
            .max_connections(5)
            .connect_lazy_with(options.extra_float_digits(None)))
    };
    let queue = Queue::new(pool(&orders.url)?);
    let app = deeds::app(pool(&orders.url_of_jobs)?);
    let process = Process::new(queue, app, orders.settings())?;
    process.run_until_signal().await;
    Ok(())
}
