//! ready → claimed → finished from a distance: a proxy delays everything between the process and the
//! server. Compared with the same process without the delay, behind such a proxy too.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::database::BenchDatabase;
use crate::delay;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::median;

/// The time that everything takes, each way.
const DISTANCES_MS: [u64; 4] = [0, 1, 5, 50];
const CONCURRENCIES: [usize; 2] = [32, 256];

/// A process takes a while to connect from afar: the rate is that of the jobs after the first tenth.
const STEPS: usize = 10;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let jobs = options.jobs / 3;
    let socket = database
        .socket()
        .context("`trips` needs a server on a Unix socket")?;
    let mut distances = Vec::new();
    for ms in DISTANCES_MS {
        let port = delay::start(socket.clone(), Duration::from_millis(ms)).await?;
        distances.push((ms, database.through(port)));
    }
    for concurrency in CONCURRENCIES {
        let mut rates = vec![Vec::new(); distances.len()];
        for _ in 0..options.rounds {
            for ((_, distant), rates) in distances.iter().zip(&mut rates) {
                rates.push(drain(database, distant, jobs, concurrency).await?);
            }
        }
        let near = rates[0].clone();
        for ((ms, _), rates) in distances.iter().zip(rates) {
            let shares = rates.iter().zip(&near).map(|(rate, near)| rate / near);
            report.add(Line {
                measure: format!("{ms} ms each way, concurrency {concurrency}"),
                ratio: Some(median(shares)),
                ratio_of: Some("no distance"),
                jobs_per_second: Some(median(rates)),
                ..Line::default()
            });
        }
    }
    Ok(())
}

/// Returns the jobs per second that a process reaches.
async fn drain(
    database: &BenchDatabase,
    distant: &BenchDatabase,
    jobs: usize,
    concurrency: usize,
) -> Result<f64> {
    database.reset().await?;
    database.fill(jobs).await?;
    let step = jobs / STEPS;
    let process = Running::counting(distant, concurrency, step)?;
    let steps = process.step_durations(STEPS).await?;
    process.stop().await?;
    let after_the_first: Duration = steps[1..].iter().sum();
    Ok((step * (STEPS - 1)) as f64 / after_the_first.as_secs_f64())
}
