//! Draining, and then waiting for jobs, while a snapshot that is older than all of it is open:
//! nothing that is deleted can be cleaned away.

use anyhow::Result;
use sqlx::{Connection as _, PgConnection};

use super::{latency, limit};
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::median;

const QUARTER: usize = 100_000;
const LIMIT_BATCH: usize = 100;

/// Jobs a second in each quarter.
type Quarters = Vec<f64>;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let (mut limits, mut drains) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        limits.push(
            limit::drain(database, QUARTER, LIMIT_BATCH)
                .await?
                .jobs_per_second,
        );
        let snapshot = hold_snapshot(database).await?;
        drains.push(drain(database, options.concurrency).await?);
        if drains.len() == options.rounds {
            report.add(quarters(&drains, &limits));
            idle_latency(database, options, report).await?;
        }
        snapshot.close().await?;
    }
    Ok(())
}

/// Opens a snapshot that touches no table of the queue's, so that it keeps dead rows but locks
/// nothing.
async fn hold_snapshot(database: &BenchDatabase) -> Result<PgConnection> {
    database.reset().await?;
    database.fill(4 * QUARTER).await?;
    let mut conn = database.connect().await?;
    sqlx::query("begin isolation level repeatable read")
        .execute(&mut conn)
        .await?;
    sqlx::query("select pg_current_snapshot()::text")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

async fn drain(database: &BenchDatabase, concurrency: usize) -> Result<Quarters> {
    let process = Running::counting(database, concurrency, QUARTER)?;
    let took = process.step_durations(4).await?;
    process.stop().await?;
    Ok(took
        .iter()
        .map(|took| QUARTER as f64 / took.as_secs_f64())
        .collect())
}

fn quarters(drains: &[Quarters], limits: &[f64]) -> Line {
    let last = |quarters: &Quarters| quarters[3];
    Line {
        measure: "horizon, last quarter of 400000".into(),
        jobs_per_second: Some(median(drains.iter().map(last))),
        limit_jobs_per_second: Some(median(limits.iter().copied())),
        ratio: Some(median(
            drains.iter().map(|quarters| last(quarters) / quarters[0]),
        )),
        ratio_of: Some("the first quarter"),
        ..Line::default()
    }
}

async fn idle_latency(
    database: &BenchDatabase,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let mut process = Running::telling_starts(database, options.concurrency)?;
    let latencies = latency::measure(database, &mut process).await?;
    process.stop().await?;
    latencies.report("horizon, idle latency", report);
    Ok(())
}
