//! The limit: the least SQL that a queue with per-job state can do.

use anyhow::Result;

use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::pgbench::Script;
use crate::rate::Rate;
use crate::report::{Line, Report};
use crate::rounds::median;
use crate::wal;

const DRAIN: &str = include_str!("../../sql/limit_drain.sql");
const ENQUEUE: &str = include_str!("../../sql/limit_enqueue.sql");
const DRAIN_CLIENTS: usize = 4;
const BULK_BATCH: usize = 1_000;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    for batch in [100, 1_000] {
        let mut rates = Vec::new();
        for _ in 0..options.rounds {
            rates.push(drain(database, options.jobs, batch).await?);
        }
        report.add(line(format!("limit drain, batches of {batch}"), &rates));
    }
    Ok(())
}

fn line(measure: String, rates: &[Rate]) -> Line {
    Line {
        measure,
        jobs_per_second: Some(median(rates.iter().map(|rate| rate.jobs_per_second))),
        wal_bytes_per_job: Some(median(rates.iter().map(|rate| rate.wal_bytes_per_job))),
        ..Line::default()
    }
}

/// Moves jobs from ready to claimed to finished, in batches.
pub(crate) async fn drain(database: &BenchDatabase, jobs: usize, batch: usize) -> Result<Rate> {
    database.reset().await?;
    fill(database, jobs).await?;
    let script = Script {
        sql: DRAIN.replace("BATCH", &batch.to_string()),
        clients: DRAIN_CLIENTS,
        transactions_per_client: jobs / batch / DRAIN_CLIENTS,
    };
    run_script(database, &script, batch).await
}

async fn fill(database: &BenchDatabase, jobs: usize) -> Result<()> {
    sqlx::query("insert into queue_limit.ready select generate_series(1, $1::bigint)")
        .bind(i64::try_from(jobs)?)
        .execute(database.pool())
        .await?;
    sqlx::query("vacuum queue_limit.ready")
        .execute(database.pool())
        .await?;
    Ok(())
}

/// Inserts the rows of jobs in bulk, made by the server itself.
pub(crate) async fn enqueue_bulk(
    database: &BenchDatabase,
    jobs: usize,
    clients: usize,
) -> Result<Rate> {
    enqueue(database, jobs, clients, BULK_BATCH).await
}

/// Inserts the rows of jobs one job at a time, each in a transaction of its own.
pub(crate) async fn enqueue_singly(
    database: &BenchDatabase,
    jobs: usize,
    clients: usize,
) -> Result<Rate> {
    enqueue(database, jobs, clients, 1).await
}

async fn enqueue(
    database: &BenchDatabase,
    jobs: usize,
    clients: usize,
    batch: usize,
) -> Result<Rate> {
    database.reset().await?;
    let args = Noop::args();
    let script = Script {
        sql: ENQUEUE
            .replace("BATCH", &batch.to_string())
            .replace("ARGS", &args),
        clients,
        transactions_per_client: jobs / batch / clients,
    };
    run_script(database, &script, batch).await
}

async fn run_script(database: &BenchDatabase, script: &Script, batch: usize) -> Result<Rate> {
    let before = wal::position(database.pool()).await?;
    let transactions_per_second = script.run(database.options()).await?;
    let written = wal::position(database.pool()).await? - before;
    let jobs = script.transactions_per_client * script.clients * batch;
    Ok(Rate {
        jobs_per_second: transactions_per_second * batch as f64,
        wal_bytes_per_job: written as f64 / jobs as f64,
    })
}
