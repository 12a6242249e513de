//! What ten viewers of the Overview cost: the processor time per job while a process drains a backlog.

use anyhow::{Result, ensure};
use queue_core::Schema;
use queue_core::depths::sample;
use tokio::io::{AsyncReadExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::drain;
use crate::compare::usage::Usage;
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::report::{Line, Report};
use crate::rounds::median;
use crate::site::Site;

const VIEWERS: usize = 10;
const OVERVIEW: &str = "/live?view=%2F";

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let unseen = fill_and_drain(options, database, 0).await?;
        let seen = fill_and_drain(options, database, VIEWERS).await?;
        without.push(unseen);
        with.push(seen);
        ratios.push(seen / unseen);
    }
    report.add(Line {
        measure: "drain without viewers".into(),
        cpu_us_per_job: Some(median(without)),
        ..Line::default()
    });
    report.add(Line {
        measure: format!("drain with {VIEWERS} viewers"),
        cpu_us_per_job: Some(median(with)),
        ratio: Some(median(ratios)),
        ratio_of: Some("without viewers"),
        ..Line::default()
    });
    Ok(())
}

/// Returns how many microseconds of processor time a job takes, of the server, of the process and of the
/// dashboard within it.
async fn fill_and_drain(
    options: &Options,
    database: &BenchDatabase,
    viewers: usize,
) -> Result<f64> {
    database.reset().await?;
    database.fill(options.jobs).await?;
    // As a process that has run for a minute would have.
    sample(&mut *database.pool().acquire().await?, &Schema::default()).await?;
    let site = Site::serve(database.queue()).await?;
    let mut looking = JoinSet::new();
    for _ in 0..viewers {
        let mut stream = site.open(OVERVIEW).await?;
        until_event(&mut stream).await?;
        looking.spawn(async move { copy(&mut stream, &mut sink()).await });
    }
    let before = Usage::now(database.pool()).await?;
    drain::drain(database, options.jobs, options.concurrency).await?;
    let after = Usage::now(database.pool()).await?;
    let used = after.micros_per_job(before, options.jobs as f64);
    Ok(used.server + used.worker)
}

/// Reads until the first event.
async fn until_event(stream: &mut TcpStream) -> Result<()> {
    let mut text = Vec::new();
    while !text.windows(6).any(|bytes| bytes == b"data: ") {
        ensure!(stream.read_buf(&mut text).await? > 0, "the stream ended");
    }
    Ok(())
}
