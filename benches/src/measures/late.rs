//! The time from the commit of a job to its start, when its transaction stayed open while others
//! committed.
//!
//! Sixteen tasks enqueue jobs one at a time at a steady rate. Four more tasks enqueue one job each in
//! a transaction that they keep open. All jobs do nothing, and slots are always free.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use queue_core::Queue;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::percentile;

const PROMPT_TASKS: u32 = 16;
const LATE_TASKS: u32 = 4;
const SLOTS: usize = 64;

struct Load {
    /// The rate of the tasks that commit at once, in jobs per second.
    rate: u32,
    /// How long a late transaction stays open.
    open: Duration,
    processes: usize,
}

const fn load(rate: u32, open_ms: u64, processes: usize) -> Load {
    Load {
        rate,
        open: Duration::from_millis(open_ms),
        processes,
    }
}

const LOADS: [Load; 8] = [
    load(200, 5, 1),
    load(200, 50, 1),
    load(200, 1_000, 1),
    load(200, 10_000, 1),
    load(20, 1_000, 1),
    load(480, 50, 1),
    load(200, 50, 4),
    load(200, 1_000, 4),
];

pub(crate) async fn run(database: &BenchDatabase, report: &mut Report) -> Result<()> {
    for load in LOADS {
        measure(&load, database, report).await?;
    }
    Ok(())
}

async fn measure(load: &Load, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    database.reset().await?;
    let mut processes = (0..load.processes)
        .map(|_| Running::telling_starts(database, SLOTS))
        .collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let commits = enqueue(load, database).await?;
    let starts = starts(&mut processes, commits.prompt.len() + commits.late.len()).await?;
    for process in processes {
        process.stop().await?;
    }
    let name = format!("late, {} jobs/s, {} process(es)", load.rate, load.processes);
    report.add(line(format!("{name}: prompt"), &commits.prompt, &starts)?);
    let late = format!("{name}: open for {:?}", load.open);
    report.add(line(late, &commits.late, &starts)?);
    Ok(())
}

/// The time of each commit.
#[derive(Default)]
struct Commits {
    prompt: Vec<(i64, Instant)>,
    late: Vec<(i64, Instant)>,
}

async fn enqueue(load: &Load, database: &BenchDatabase) -> Result<Commits> {
    let ids = Arc::new(AtomicI64::new(0));
    let until = Instant::now() + (5 * load.open).max(Duration::from_secs(8));
    let pool = database.pool_of((PROMPT_TASKS + LATE_TASKS) as usize, true);
    let (mut prompt, mut late) = (JoinSet::new(), JoinSet::new());
    for _ in 0..PROMPT_TASKS {
        let pause = Duration::from_secs(1) * PROMPT_TASKS / load.rate;
        prompt.spawn(enqueue_promptly(pool.clone(), ids.clone(), pause, until));
    }
    for _ in 0..LATE_TASKS {
        late.spawn(enqueue_late(pool.clone(), ids.clone(), load.open, until));
    }
    let mut commits = Commits::default();
    while let Some(done) = prompt.join_next().await {
        commits.prompt.extend(done??);
    }
    while let Some(done) = late.join_next().await {
        commits.late.extend(done??);
    }
    pool.close().await;
    Ok(commits)
}

async fn enqueue_promptly(
    pool: PgPool,
    ids: Arc<AtomicI64>,
    pause: Duration,
    until: Instant,
) -> Result<Vec<(i64, Instant)>> {
    let queue = Queue::new(pool);
    let mut commits = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(pause.mul_f64(2.0 * fastrand::f64())).await;
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let _new = queue.enqueue(Noop::new(id)).await?;
        commits.push((id, Instant::now()));
    }
    Ok(commits)
}

async fn enqueue_late(
    pool: PgPool,
    ids: Arc<AtomicI64>,
    open: Duration,
    until: Instant,
) -> Result<Vec<(i64, Instant)>> {
    let queue = Queue::new(pool.clone());
    let mut commits = Vec::new();
    while Instant::now() < until {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let mut tx = pool.begin().await?;
        let _new = queue.enqueue(Noop::new(id)).tx(&mut tx).await?;
        tokio::time::sleep(open.mul_f64(0.5 + fastrand::f64())).await;
        tx.commit().await?;
        commits.push((id, Instant::now()));
    }
    Ok(commits)
}

/// Returns when each job was started, by any process.
pub(super) async fn starts(
    processes: &mut [Running],
    jobs: usize,
) -> Result<HashMap<i64, Instant>> {
    let mut starts = HashMap::new();
    let all = async {
        while starts.len() < jobs {
            for process in &mut *processes {
                starts.extend(process.starts_so_far());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .context("the workers did not start all jobs within a minute")?;
    Ok(starts)
}

fn line(
    measure: String,
    commits: &[(i64, Instant)],
    starts: &HashMap<i64, Instant>,
) -> Result<Line> {
    let waits = commits
        .iter()
        .map(|(id, commit)| {
            let start = starts.get(id).context("a job was never started")?;
            // A job may start before its commit returns.
            Ok(start.saturating_duration_since(*commit).as_secs_f64() * 1_000.0)
        })
        .collect::<Result<Vec<f64>>>()?;
    Ok(Line {
        measure,
        p50_ms: Some(percentile(&waits, 0.5)),
        p99_ms: Some(percentile(&waits, 0.99)),
        max_ms: Some(percentile(&waits, 1.0)),
        ..Line::default()
    })
}
