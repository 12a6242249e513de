//! Fair queues: draining the jobs of some tenants, compared with the same jobs in a queue that is not fair,
//! and how soon ten jobs of one tenant start while another has 100,000 waiting.

use std::time::Instant;

use anyhow::Result;
use queue_core::operations::queues::set_fair;
use queue_core::{Context, EnqueueError, NewJob, Schema};

use super::drain;
use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::process::Running;
use crate::rate::Rate;
use crate::report::{Line, Report};
use crate::rounds::percentile;

const JOBS: usize = 100_000;
const TENANTS: [usize; 3] = [1, 10, 1_000];
/// How many jobs of the other tenant arrive, and how many have started before.
const ARRIVING: i64 = 10;
const STARTED: usize = 5_000;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    for tenants in TENANTS {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let without = fill_and_drain(options, database, tenants, false).await?;
            let with = fill_and_drain(options, database, tenants, true).await?;
            rounds.push((with, without));
        }
        report.add(Line {
            ratio_of: Some("not fair"),
            ..Line::against_limit(format!("tenants, {JOBS} jobs of {tenants}"), &rounds)
        });
    }
    let mut latencies = Vec::new();
    for _ in 0..options.rounds {
        latencies.extend(arrivals(options, database).await?);
    }
    report.add(Line {
        measure: format!("tenants, start of {ARRIVING} beside {JOBS} of another"),
        p50_ms: Some(percentile(&latencies, 0.5)),
        p99_ms: Some(percentile(&latencies, 0.99)),
        max_ms: latencies.iter().copied().reduce(f64::max),
        ..Line::default()
    });
    Ok(())
}

async fn fill_and_drain(
    options: &Options,
    database: &BenchDatabase,
    tenants: usize,
    is_fair: bool,
) -> Result<Rate> {
    fill(database, tenants, is_fair).await?;
    drain::drain(database, JOBS, options.concurrency).await
}

async fn fill(database: &BenchDatabase, tenants: usize, is_fair: bool) -> Result<()> {
    database.reset().await?;
    let mut conn = database.connect().await?;
    set_fair(&mut conn, &Schema::default(), "default", is_fair).await?;
    let jobs = (0..JOBS as i64).map(|id| job(id, &format!("tenant {}", id % tenants as i64)));
    database.copy(jobs).await?;
    database.settle().await
}

fn job(id: i64, tenant: &str) -> Result<NewJob, EnqueueError> {
    let context = Context::new().tenant(tenant);
    Ok(NewJob::of(&Noop::new(id))?.with(|options| options.context(context)))
}

/// Returns how many milliseconds after the call each job started that arrived while another tenant's jobs ran.
async fn arrivals(options: &Options, database: &BenchDatabase) -> Result<Vec<f64>> {
    fill(database, 1, true).await?;
    let mut process = Running::telling_starts(database, options.concurrency)?;
    process.start_of(STARTED as i64).await?;
    let first = JOBS as i64;
    let jobs = (first..first + ARRIVING).map(|id| job(id, "another"));
    let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    let called = Instant::now();
    database.queue().enqueue_all(jobs).await?;
    let mut latencies = Vec::new();
    for id in first..first + ARRIVING {
        let started = process.start_of(id).await?;
        latencies.push((started - called).as_secs_f64() * 1_000.0);
    }
    process.stop_at_once().await?;
    Ok(latencies)
}
