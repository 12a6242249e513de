//! One sample of one measure, which a comparison takes many times with both programs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::proxy::{self, Counts};
use super::usage::Usage;
use crate::database::BenchDatabase;
use crate::measures::keys::keyed;
use crate::measures::{drain, enqueue, latency};
use crate::process::Running;
use crate::server::Server;
use crate::wal;

const CONCURRENCY: usize = 200;
const DRAIN_JOBS: usize = 150_000;
const MANY_JOBS: usize = 150_000;
const SINGLE_JOBS: usize = 12_000;
const SINGLE_TASKS: usize = 16;
const KEYED_JOBS: usize = 60_000;
const KEYS: usize = 1_000;
const SLOTS_OF_A_KEY: u32 = 5;

/// The measures that are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample {
    Drain,
    EnqueueMany,
    Enqueue,
    Latency,
    Keys,
}

impl Sample {
    pub(crate) const ALL: [Self; 5] = [
        Self::Drain,
        Self::EnqueueMany,
        Self::Enqueue,
        Self::Latency,
        Self::Keys,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::EnqueueMany => "enqueue_many",
            Self::Enqueue => "enqueue",
            Self::Latency => "latency",
            Self::Keys => "keys",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|sample| sample.name() == name)
            .with_context(|| format!("unknown sample `{name}`"))
    }
}

/// The figures of one sample; all but the speed are per job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Jobs per second; for the latency, consecutive starts per second.
    pub(crate) speed: f64,
    pub(crate) log_bytes: f64,
    pub(crate) statements: f64,
    pub(crate) round_trips: f64,
    pub(crate) server_us: f64,
    pub(crate) worker_us: f64,
}

/// Takes a sample and prints it as JSON. If statements are counted, all connections use a proxy.
pub(crate) async fn run(sample: Sample, counted: bool, server: &Server) -> Result<()> {
    let direct = BenchDatabase::create(server).await?;
    let counts = Arc::new(Counts::default());
    let database = if counted {
        let socket = direct
            .socket()
            .context("only a server with a socket can be counted")?;
        let port = proxy::start(socket, Arc::clone(&counts)).await?;
        &direct.through(port)
    } else {
        &direct
    };
    prepare(sample, database).await?;
    let usage = Usage::now(direct.pool()).await?;
    let log = wal::position(direct.pool()).await?;
    let statements = counts.statements.load(Ordering::Relaxed);
    let round_trips = counts.round_trips.load(Ordering::Relaxed);
    let (jobs, speed) = measure(sample, database).await?;
    let statements = counts.statements.load(Ordering::Relaxed) - statements;
    let round_trips = counts.round_trips.load(Ordering::Relaxed) - round_trips;
    let log = wal::position(direct.pool()).await? - log;
    let jobs = jobs as f64;
    let used = Usage::now(direct.pool()).await?.micros_per_job(usage, jobs);
    let figures = Figures {
        speed,
        log_bytes: log as f64 / jobs,
        statements: statements as f64 / jobs,
        round_trips: round_trips as f64 / jobs,
        server_us: used.server,
        worker_us: used.worker,
    };
    println!("{}", serde_json::to_string(&figures)?);
    if counted {
        database.pool().close().await;
    }
    direct.drop().await
}

async fn prepare(sample: Sample, database: &BenchDatabase) -> Result<()> {
    database.reset().await?;
    match sample {
        Sample::Drain => database.fill(DRAIN_JOBS).await,
        Sample::Keys => {
            let jobs = 0..KEYED_JOBS as i64;
            database
                .copy(jobs.map(|id| keyed(id, KEYS, SLOTS_OF_A_KEY)))
                .await?;
            database.settle().await
        }
        Sample::EnqueueMany | Sample::Enqueue | Sample::Latency => Ok(()),
    }
}

/// Returns how many jobs were measured, and their speed.
async fn measure(sample: Sample, database: &BenchDatabase) -> Result<(usize, f64)> {
    match sample {
        Sample::Drain => drained(database, DRAIN_JOBS).await,
        Sample::Keys => drained(database, KEYED_JOBS).await,
        Sample::EnqueueMany => {
            let rate = enqueue::many(database, MANY_JOBS, 2).await?;
            Ok((MANY_JOBS, rate.jobs_per_second))
        }
        Sample::Enqueue => {
            let rate = enqueue::one_by_one(database, SINGLE_JOBS, SINGLE_TASKS).await?;
            Ok((SINGLE_JOBS, rate.jobs_per_second))
        }
        Sample::Latency => {
            let mut process = Running::telling_starts(database, CONCURRENCY)?;
            let latencies = latency::measure(database, &mut process).await?;
            process.stop().await?;
            Ok((latencies.len(), 1_000.0 / latencies.p50_ms()))
        }
    }
}

async fn drained(database: &BenchDatabase, jobs: usize) -> Result<(usize, f64)> {
    let rate = drain::drain(database, jobs, CONCURRENCY).await?;
    Ok((jobs, rate.jobs_per_second))
}
