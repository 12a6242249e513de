//! The time an idle worker takes to start a job, from the call of `enqueue` and from its return.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::percentile;

const JOBS: i64 = 500;
const WARM_UP: i64 = 50;
const PAUSE_MS: std::ops::Range<u64> = 10..30;

/// The latency of each job, in milliseconds.
#[derive(Default)]
pub(crate) struct Latencies {
    from_call: Vec<f64>,
    from_return: Vec<f64>,
}

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    database.reset().await?;
    let mut process = Running::telling_starts(database, options.concurrency)?;
    let latencies = measure(database, &mut process).await?;
    process.stop().await?;
    latencies.report("latency", report);
    Ok(())
}

/// Enqueues single jobs with pauses, for an idle process.
pub(crate) async fn measure(database: &BenchDatabase, process: &mut Running) -> Result<Latencies> {
    until_idle(database).await?;
    let queue = database.queue();
    let mut latencies = Latencies::default();
    for id in 0..WARM_UP + JOBS {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
        let called = Instant::now();
        let _new = queue.enqueue(Noop::new(id)).await?;
        let returned = Instant::now();
        let started = process.start_of(id).await?;
        if id >= WARM_UP {
            latencies.from_call.push(millis(started - called));
            // A job may start before the call that enqueued it returns.
            let after = started.saturating_duration_since(returned);
            latencies.from_return.push(millis(after));
        }
    }
    Ok(latencies)
}

/// Waits until the process has recorded that it is idle.
async fn until_idle(database: &BenchDatabase) -> Result<()> {
    let idle = async {
        while !is_idle(database).await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), idle)
        .await
        .context("the worker did not become idle in a minute")?
}

async fn is_idle(database: &BenchDatabase) -> Result<bool> {
    let is_idle = sqlx::query_scalar("select exists (select from queue.idle_processes)")
        .fetch_one(database.pool())
        .await?;
    Ok(is_idle)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Latencies {
    pub(crate) fn len(&self) -> usize {
        self.from_call.len()
    }

    pub(crate) fn p50_ms(&self) -> f64 {
        percentile(&self.from_call, 0.5)
    }

    pub(crate) fn report(&self, measure: &str, report: &mut Report) {
        report.add(line(format!("{measure}, from the call"), &self.from_call));
        report.add(line(
            format!("{measure}, from its return"),
            &self.from_return,
        ));
    }
}

fn line(measure: String, latencies: &[f64]) -> Line {
    Line {
        measure,
        p50_ms: Some(percentile(latencies, 0.5)),
        p99_ms: Some(percentile(latencies, 0.99)),
        ..Line::default()
    }
}
