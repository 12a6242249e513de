//! The rate of the first jobs of a long backlog, compared with a short backlog.

use anyhow::Result;

use super::limit;
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::median;

const SHORT: usize = 100_000;
const LIMIT_BATCH: usize = 100;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let (mut limits, mut short, mut long) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        limits.push(
            limit::drain(database, SHORT, LIMIT_BATCH)
                .await?
                .jobs_per_second,
        );
        short.push(first_jobs(database, SHORT, options.concurrency).await?);
        long.push(first_jobs(database, options.backlog, options.concurrency).await?);
    }
    let ratios = long.iter().zip(&short).map(|(long, short)| long / short);
    report.add(Line {
        measure: format!("backlog of {}", options.backlog),
        jobs_per_second: Some(median(long.clone())),
        limit_jobs_per_second: Some(median(limits)),
        ratio: Some(median(ratios)),
        ratio_of: Some("a backlog of 100000"),
        ..Line::default()
    });
    Ok(())
}

/// Returns how many jobs a second a process finishes at the head of a backlog. The backlog is on disk
/// and vacuumed, like one that grew over hours; otherwise the drain would pay for writing out and
/// vacuuming the new rows.
async fn first_jobs(database: &BenchDatabase, backlog: usize, concurrency: usize) -> Result<f64> {
    database.reset().await?;
    database.fill(backlog).await?;
    sqlx::query("vacuum (analyze)")
        .execute(database.pool())
        .await?;
    sqlx::query("checkpoint").execute(database.pool()).await?;
    let process = Running::counting(database, concurrency, SHORT)?;
    let took = process.finished(1).await?;
    process.stop().await?;
    Ok(SHORT as f64 / took.as_secs_f64())
}
