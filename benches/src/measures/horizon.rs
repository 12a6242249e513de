//! Draining, and then idling, while an older snapshot is open, so that vacuum cannot remove deleted
//! rows.

use anyhow::Result;
use sqlx::{Connection as _, PgConnection};

use super::keys::keyed;
use super::{latency, limit};
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::median;

const QUARTER: usize = 100_000;
/// The number of jobs of one key with limit 1.
const HOT_QUARTER: usize = 2_500;
const LIMIT_BATCH: usize = 100;

/// The jobs per second of each quarter.
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
        database.reset().await?;
        database.fill(4 * QUARTER).await?;
        let snapshot = hold_snapshot(database).await?;
        drains.push(drain(database, options.concurrency, QUARTER).await?);
        if drains.len() == options.rounds {
            let measure = format!("horizon, last quarter of {}", 4 * QUARTER);
            report.add(Line {
                limit_jobs_per_second: Some(median(limits.iter().copied())),
                ..last_quarter(measure, &drains)
            });
            idle_latency(database, options, report).await?;
        }
        snapshot.close().await?;
    }
    due_at_once(options, database, report).await?;
    one_key(options, database, report).await
}

/// All jobs are due at the same time. They are promoted and finished with and without the snapshot, in
/// turns.
async fn due_at_once(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        database.reset().await?;
        database.fill_due(options.due).await?;
        let without = rate(database, options.concurrency, options.due).await?;
        database.reset().await?;
        database.fill_due(options.due).await?;
        let snapshot = hold_snapshot(database).await?;
        let with = rate(database, options.concurrency, options.due).await?;
        snapshot.close().await?;
        rates.push(with);
        ratios.push(with / without);
    }
    report.add(Line {
        measure: format!("horizon, {} due at once", options.due),
        jobs_per_second: Some(median(rates)),
        ratio: Some(median(ratios)),
        ratio_of: Some("the same without a snapshot"),
        ..Line::default()
    });
    Ok(())
}

async fn rate(database: &BenchDatabase, concurrency: usize, jobs: usize) -> Result<f64> {
    let process = Running::counting(database, concurrency, jobs)?;
    let took = process.finished(1).await?;
    process.stop().await?;
    Ok(jobs as f64 / took.as_secs_f64())
}

/// All jobs have one key with limit 1, so each takes and frees the same slot.
async fn one_key(options: &Options, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    let mut drains = Vec::new();
    for _ in 0..options.rounds {
        database.reset().await?;
        database
            .copy((0..4 * HOT_QUARTER as i64).map(|id| keyed(id, 1, 1)))
            .await?;
        database.settle().await?;
        let snapshot = hold_snapshot(database).await?;
        drains.push(drain(database, options.concurrency, HOT_QUARTER).await?);
        snapshot.close().await?;
    }
    let measure = format!(
        "horizon, one key of limit 1, last quarter of {}",
        4 * HOT_QUARTER
    );
    report.add(last_quarter(measure, &drains));
    Ok(())
}

/// Opens a snapshot that reads no table of the queue: it keeps dead rows, but locks nothing.
async fn hold_snapshot(database: &BenchDatabase) -> Result<PgConnection> {
    let mut conn = database.connect().await?;
    sqlx::query("begin isolation level repeatable read")
        .execute(&mut conn)
        .await?;
    sqlx::query("select pg_current_snapshot()::text")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

async fn drain(database: &BenchDatabase, concurrency: usize, quarter: usize) -> Result<Quarters> {
    let process = Running::counting(database, concurrency, quarter)?;
    let took = process.step_durations(4).await?;
    process.stop().await?;
    Ok(took
        .iter()
        .map(|took| quarter as f64 / took.as_secs_f64())
        .collect())
}

fn last_quarter(measure: String, drains: &[Quarters]) -> Line {
    let last = |quarters: &Quarters| quarters[3];
    Line {
        measure,
        jobs_per_second: Some(median(drains.iter().map(last))),
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
