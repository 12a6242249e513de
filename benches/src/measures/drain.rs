//! ready → claimed → finished: a process runs jobs that do nothing, compared with the limit.

use anyhow::Result;

use super::limit;
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::process::Running;
use crate::rate::Rate;
use crate::report::{Line, Report};
use crate::rounds::median;

const LIMIT_BATCH: usize = 100;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let mut rounds = Vec::new();
    let mut whole_life = Vec::new();
    for _ in 0..options.rounds {
        let limit = limit::drain(database, options.jobs, LIMIT_BATCH).await?;
        let enqueue = enqueue(database, options.jobs).await?;
        let drain = drain(database, options.jobs, options.concurrency).await?;
        rounds.push((drain, limit));
        whole_life.push(enqueue.wal_bytes_per_job + drain.wal_bytes_per_job);
    }
    report.add(Line::against_limit("drain".into(), &rounds));
    report.add(Line {
        measure: "enqueue to finished".into(),
        wal_bytes_per_job: Some(median(whole_life)),
        ..Line::default()
    });
    Ok(())
}

async fn enqueue(database: &BenchDatabase, jobs: usize) -> Result<Rate> {
    database.reset().await?;
    let rate = Rate::of(database.pool(), async {
        database.copy_jobs(jobs).await?;
        Ok(jobs)
    })
    .await?;
    database.settle().await?;
    Ok(rate)
}

/// Runs a process from its start until the last job is finished.
pub(crate) async fn drain(
    database: &BenchDatabase,
    jobs: usize,
    concurrency: usize,
) -> Result<Rate> {
    let mut process = None;
    let rate = Rate::of(database.pool(), async {
        let running = process.insert(Running::counting(database, concurrency, jobs)?);
        running.finished(1).await?;
        Ok(jobs)
    })
    .await?;
    if let Some(running) = process {
        running.stop().await?;
    }
    Ok(rate)
}
