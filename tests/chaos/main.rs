//! Breaks processes, connections and servers at random while jobs are enqueued and run, and checks the
//! history: `bin/chaos --for 3m`. The program also is the worker process that it breaks.

mod faults;
mod history;
mod jobs;
mod load;
mod patroni;
mod report;
mod servers;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use queue_tests::soundness::problems;
use tokio::signal::unix::{SignalKind, signal};

use crate::faults::{Deck, Fault};
use crate::history::History;
use crate::load::Load;
use crate::report::{Report, Strike};
use crate::stage::Stage;

/// Breaks everything that jobs depend on, and checks that none is lost or doubled.
#[derive(Parser)]
#[command(name = "bin/chaos")]
struct Arguments {
    /// How long to break things.
    #[arg(long = "for", value_parser = humantime::parse_duration, default_value = "3m")]
    time: Duration,
    /// Stop sooner, once so many jobs are enqueued.
    #[arg(long)]
    jobs: Option<usize>,
    /// The seed of another run, whose faults are repeated in their order.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these faults, such as `kill`.
    #[arg(long = "only", value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// With two servers that Patroni keeps available, and the faults that this concerns.
    #[arg(long)]
    patroni: bool,
    /// The orders of a worker process.
    #[arg(long, hide = true)]
    worker: Option<String>,
}

fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if let Some(orders) = &arguments.worker {
        runtime.block_on(jobs::work(orders))?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = runtime.block_on(run(&arguments))?;
    println!("{report}");
    Ok(ExitCode::from(u8::from(!report.problems.is_empty())))
}

async fn run(arguments: &Arguments) -> Result<Report> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut stage = Stage::build(arguments.patroni).await?;
    let report = tokio::select! {
        report = break_and_check(arguments, seed, &mut stage) => report,
        () = interrupted() => Err(anyhow!("interrupted")),
    };
    stage.servers.stop().await;
    report
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be received");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn break_and_check(arguments: &Arguments, seed: u64, stage: &mut Stage) -> Result<Report> {
    let load = Load::start(stage);
    let strikes = strike(arguments, seed, stage, &load).await?;
    load.stop().await;
    let mut report = Report::new(seed, strikes);
    if stage.until_ended(i64::MAX).await.is_none() {
        report.problem("some jobs have not ended");
    }
    report.problems.extend(stage.end_workers().await);
    let pool = stage.servers.pool();
    report.problems.extend(problems(&pool).await?);
    History::read(stage, &load, &pool).await?.check(&mut report);
    Ok(report)
}

/// Strikes with one fault after the other until the time is over.
async fn strike(
    arguments: &Arguments,
    seed: u64,
    stage: &mut Stage,
    load: &Load,
) -> Result<Vec<Strike>> {
    let began = Instant::now();
    let mut deck = Deck::new(seed, &arguments.faults, stage);
    let mut strikes = Vec::new();
    while began.elapsed() < arguments.time && arguments.jobs.is_none_or(|jobs| load.count() < jobs)
    {
        tokio::time::sleep(deck.calm()).await;
        let fault = deck.draw();
        let at = jobs::now();
        if fault == Fault::Delay {
            load.enqueue_backlog(stage).await?;
        }
        let healed = fault.strike(stage, deck.rng()).await?;
        let back = stage.until_ended(load.last()).await;
        eprintln!("{:>4} s {fault}", began.elapsed().as_secs());
        strikes.push(Strike {
            fault,
            at,
            back: back.map(|at| at.saturating_duration_since(healed)),
        });
    }
    Ok(strikes)
}
