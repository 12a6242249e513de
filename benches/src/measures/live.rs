//! Live traffic: jobs that are enqueued one by one while processes run them.
//!
//! First sixteen tasks enqueue as fast as they can, compared with the same tasks without a process.
//! Then jobs come at a steady rate, and the time from the call of `enqueue` to the first line of the
//! job is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use queue_core::Queue;
use tokio::task::JoinSet;

use super::late::starts;
use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::{median, percentile};

const TASKS: usize = 16;
const FLOOD_JOBS: usize = 20_000;
const SLOTS: usize = 100;
const PROCESSES: [usize; 3] = [1, 4, 10];
const PACES: [u32; 2] = [100, 1_000];
const PACED_FOR: Duration = Duration::from_secs(8);

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let mut floods: [Vec<(f64, f64)>; 3] = Default::default();
    for _ in 0..options.rounds {
        let alone = flood(database, 0).await?;
        for (processes, rounds) in PROCESSES.into_iter().zip(&mut floods) {
            rounds.push((flood(database, processes).await?, alone));
        }
    }
    for (processes, rounds) in PROCESSES.into_iter().zip(&floods) {
        report.add(Line {
            measure: format!("live, {processes} process(es)"),
            jobs_per_second: Some(median(rounds.iter().map(|(live, _)| *live))),
            ratio: Some(median(rounds.iter().map(|(live, alone)| live / alone))),
            ratio_of: Some("enqueueing alone"),
            ..Line::default()
        });
    }
    for pace in PACES {
        for processes in [1, 4] {
            report.add(paced(database, pace, processes).await?);
        }
    }
    Ok(())
}

/// Enqueues and runs jobs as fast as possible, and returns how many a second.
async fn flood(database: &BenchDatabase, processes: usize) -> Result<f64> {
    database.reset().await?;
    let mut processes = start(database, processes).await?;
    let pool = database.pool_of(TASKS, true);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let queue = Queue::new(pool.clone());
        tasks.spawn(async move {
            for id in (task..FLOOD_JOBS).step_by(TASKS) {
                let _new = queue.enqueue(Noop::new(id as i64)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    if !processes.is_empty() {
        starts(&mut processes, FLOOD_JOBS).await?;
    }
    let took = began.elapsed();
    stop(processes).await?;
    pool.close().await;
    Ok(FLOOD_JOBS as f64 / took.as_secs_f64())
}

async fn start(database: &BenchDatabase, processes: usize) -> Result<Vec<Running>> {
    let processes = (0..processes)
        .map(|_| Running::telling_starts(database, SLOTS))
        .collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(processes)
}

async fn stop(processes: Vec<Running>) -> Result<()> {
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}

/// Enqueues jobs at a steady rate, from as many tasks as needed, with random pauses.
async fn paced(database: &BenchDatabase, pace: u32, processes: usize) -> Result<Line> {
    database.reset().await?;
    let mut running = start(database, processes).await?;
    let pool = database.pool_of(TASKS, true);
    let ids = Arc::new(AtomicI64::new(0));
    let until = Instant::now() + PACED_FOR;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (queue, ids) = (Queue::new(pool.clone()), Arc::clone(&ids));
        let pause = Duration::from_secs(1) * TASKS as u32 / pace;
        tasks.spawn(async move {
            let mut calls = Vec::new();
            while Instant::now() < until {
                tokio::time::sleep(pause.mul_f64(2.0 * fastrand::f64())).await;
                let id = ids.fetch_add(1, Ordering::Relaxed);
                calls.push((id, Instant::now()));
                let _new = queue.enqueue(Noop::new(id)).await?;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = Vec::new();
    while let Some(done) = tasks.join_next().await {
        calls.extend(done??);
    }
    let starts = starts(&mut running, calls.len()).await?;
    stop(running).await?;
    pool.close().await;
    let waits: Vec<f64> = calls
        .iter()
        .map(|(id, called)| (starts[id] - *called).as_secs_f64() * 1_000.0)
        .collect();
    Ok(Line {
        measure: format!("live, {pace} jobs/s, {processes} process(es), from the call"),
        jobs_per_second: Some(calls.len() as f64 / PACED_FOR.as_secs_f64()),
        p50_ms: Some(percentile(&waits, 0.5)),
        p99_ms: Some(percentile(&waits, 0.99)),
        max_ms: Some(percentile(&waits, 1.0)),
        ..Line::default()
    })
}
