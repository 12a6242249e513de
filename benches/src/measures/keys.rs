//! The cost of limits per key: with room, without room, and for jobs without limits.

use std::time::{Duration, Instant};

use anyhow::Result;
use queue_core::{EnqueueError, Limits, NewJob, Queue};

use super::{drain, limit};
use crate::database::BenchDatabase;
use crate::jobs::{Hold, Noop};
use crate::options::Options;
use crate::process::Running;
use crate::rate::Rate;
use crate::report::{Line, Report};
use crate::rounds::{median, percentile};

const JOBS: usize = 100_000;
const LIMIT_BATCH: usize = 100;
/// The number of keys, and how many jobs of each may run at once.
const SHAPES: [(usize, u32); 3] = [(100_000, 1), (1_000, 5), (100, 1)];
const HOT_JOBS: usize = 3_000;
const WAITING: usize = 1_000_000;
const LATENCIES: i64 = 300;
const CALL_JOBS: usize = 5_000;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    drains(options, database, report).await?;
    enqueues(options, database, report).await?;
    waiting(options, database, report).await
}

pub(crate) fn keyed(id: i64, keys: usize, to: u32) -> Result<NewJob, EnqueueError> {
    let limits = Limits::key(format!("account/{}", id % keys as i64)).to(to);
    Ok(NewJob::of(&Noop::new(id))?.with(|options| options.limits(limits)))
}

fn unlimited(id: i64) -> Result<NewJob, EnqueueError> {
    NewJob::of(&Noop::new(id))
}

async fn drains(options: &Options, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    let mut limits = Vec::new();
    let mut baseline = Vec::new();
    let mut shapes = vec![Vec::new(); SHAPES.len()];
    let mut hot = Vec::new();
    for _ in 0..options.rounds {
        let limit = limit::drain(database, JOBS, LIMIT_BATCH).await?;
        limits.push(limit.jobs_per_second);
        baseline.push(fill_and_drain(database, options, JOBS, unlimited).await?);
        for ((keys, to), rates) in SHAPES.into_iter().zip(&mut shapes) {
            rates.push(fill_and_drain(database, options, JOBS, |id| keyed(id, keys, to)).await?);
        }
        hot.push(fill_and_drain(database, options, HOT_JOBS, |id| keyed(id, 1, 1)).await?);
    }
    let of_unlimited = |measure: String, rates: &[Rate]| {
        let ratios = rates.iter().zip(&baseline);
        Line {
            measure,
            jobs_per_second: Some(median(rates.iter().map(|rate| rate.jobs_per_second))),
            limit_jobs_per_second: Some(median(limits.iter().copied())),
            ratio: Some(median(
                ratios.map(|(ours, all)| ours.jobs_per_second / all.jobs_per_second),
            )),
            ratio_of: Some("the unlimited drain"),
            wal_bytes_per_job: Some(median(rates.iter().map(|rate| rate.wal_bytes_per_job))),
            ..Line::default()
        }
    };
    report.add(of_unlimited("keys, unlimited drain".into(), &baseline));
    for ((keys, to), rates) in SHAPES.into_iter().zip(&shapes) {
        report.add(of_unlimited(format!("keys, {keys} of limit {to}"), rates));
    }
    report.add(of_unlimited("keys, one of limit 1".into(), &hot));
    Ok(())
}

/// Fills the queue, and runs a process until the last job is finished.
async fn fill_and_drain(
    database: &BenchDatabase,
    options: &Options,
    jobs: usize,
    job: impl Fn(i64) -> Result<NewJob, EnqueueError> + Send + Sync,
) -> Result<Rate> {
    database.reset().await?;
    database.copy((0..jobs as i64).map(job)).await?;
    database.settle().await?;
    drain::drain(database, jobs, options.concurrency).await
}

async fn enqueues(options: &Options, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    let mut bulk = Vec::new();
    let mut copied = Vec::new();
    let mut single = Vec::new();
    for _ in 0..options.rounds {
        let limited = |id| keyed(id, 1_000, 5);
        bulk.push((
            enqueue(database, JOBS, limited, enqueue_all).await?,
            enqueue(database, JOBS, unlimited, enqueue_all).await?,
        ));
        copied.push((
            enqueue(database, JOBS, limited, copy).await?,
            enqueue(database, JOBS, unlimited, copy).await?,
        ));
        let jobs = JOBS / 30;
        single.push((
            enqueue(database, jobs, limited, enqueue_singly).await?,
            enqueue(database, jobs, unlimited, enqueue_singly).await?,
        ));
    }
    for (measure, rounds) in [
        ("keys, enqueue_all", bulk),
        ("keys, copy_jobs", copied),
        ("keys, enqueue one at a time", single),
    ] {
        report.add(Line {
            ratio_of: Some("unlimited jobs"),
            ..Line::against_limit(measure.into(), &rounds)
        });
    }
    Ok(())
}

async fn enqueue<F>(
    database: &BenchDatabase,
    jobs: usize,
    job: impl Fn(i64) -> Result<NewJob, EnqueueError>,
    how: impl Fn(Queue, Vec<NewJob>) -> F,
) -> Result<Rate>
where
    F: Future<Output = Result<()>>,
{
    database.reset().await?;
    let list = (0..jobs as i64).map(job).collect::<Result<Vec<_>, _>>()?;
    Rate::of(database.pool(), async {
        how(database.queue(), list).await?;
        Ok(jobs)
    })
    .await
}

async fn enqueue_all(queue: Queue, jobs: Vec<NewJob>) -> Result<()> {
    for jobs in jobs.chunks(CALL_JOBS) {
        queue.enqueue_all(jobs.to_vec()).await?;
    }
    Ok(())
}

async fn copy(queue: Queue, jobs: Vec<NewJob>) -> Result<()> {
    queue.copy_jobs(jobs.into_iter().map(Ok)).await?;
    Ok(())
}

async fn enqueue_singly(queue: Queue, jobs: Vec<NewJob>) -> Result<()> {
    for job in jobs {
        queue.enqueue_all([job]).await?;
    }
    Ok(())
}

/// Measures how soon a job of another key starts, and how fast jobs without limits run, while a million
/// jobs wait for one key.
async fn waiting(options: &Options, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        database.reset().await?;
        without.push(drain_beside(database, options).await?);
        hold_the_key(database).await?;
        with.push(drain_beside(database, options).await?);
    }
    report.add(Line {
        measure: format!("keys, unlimited drain beside {WAITING} waiting"),
        jobs_per_second: Some(median(with.iter().copied())),
        ratio: Some(median(
            with.iter()
                .zip(&without)
                .map(|(with, without)| with / without),
        )),
        ratio_of: Some("the same with none waiting"),
        ..Line::default()
    });
    hold_the_key(database).await?;
    let latencies = latencies(database, options).await?;
    report.add(Line {
        measure: format!("keys, start of another beside {WAITING} waiting"),
        p50_ms: Some(percentile(&latencies, 0.5)),
        p99_ms: Some(percentile(&latencies, 0.99)),
        ..Line::default()
    });
    Ok(())
}

async fn hold_the_key(database: &BenchDatabase) -> Result<()> {
    database.reset().await?;
    let limits = || Limits::key("hot").group("account").to(1);
    let holder = NewJob::of(&Hold)?.with(|options| options.limits(limits()));
    database.queue().enqueue_all([holder]).await?;
    let waiting = |id| Ok(NewJob::of(&Noop::new(id))?.with(|options| options.limits(limits())));
    database.copy((0..WAITING as i64).map(waiting)).await?;
    Ok(())
}

/// Runs jobs without limits beside the present rows. These are on disk and vacuumed, like rows that
/// came in over hours.
async fn drain_beside(database: &BenchDatabase, options: &Options) -> Result<f64> {
    database
        .copy((0..options.jobs as i64).map(unlimited))
        .await?;
    sqlx::query("vacuum (analyze)")
        .execute(database.pool())
        .await?;
    sqlx::query("checkpoint").execute(database.pool()).await?;
    let process = Running::counting(database, options.concurrency, options.jobs)?;
    let took = process.finished(1).await?;
    process.stop_at_once().await?;
    Ok(options.jobs as f64 / took.as_secs_f64())
}

async fn latencies(database: &BenchDatabase, options: &Options) -> Result<Vec<f64>> {
    let mut process = Running::telling_starts(database, options.concurrency)?;
    let queue = database.queue();
    let mut latencies = Vec::new();
    for id in 0..LATENCIES {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(10..30))).await;
        let job = keyed(WAITING as i64 + id, 10_000_000, 1)?;
        let called = Instant::now();
        queue.enqueue_all([job]).await?;
        let started = process.start_of(WAITING as i64 + id).await?;
        latencies.push((started - called).as_secs_f64() * 1_000.0);
    }
    process.stop_at_once().await?;
    Ok(latencies)
}
