//! Compares the queue with the least SQL that could do its work, on the same server, in turns.

mod compare;
mod measures;

mod database;
mod delay;
mod jobs;
mod options;
mod pgbench;
mod process;
mod rate;
mod report;
mod rounds;
mod server;
mod site;
mod wal;

use anyhow::Result;
use clap::Parser as _;

use crate::compare::sample::Sample;
use crate::database::BenchDatabase;
use crate::measures::{
    backlog, batches, drain, enqueue, horizon, idle, keys, late, latency, limit, live, memory,
    pages, scaling, shards, steps, tenants, trips, viewers,
};
use crate::options::{Measure, Options};
use crate::report::Report;
use crate::server::Server;

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if options.measure == Measure::IdleWorker {
        return memory::idle_worker(&options).await;
    }
    if let (Measure::Compare, Some(commit)) = (options.measure, options.with.as_deref()) {
        return compare::run(commit, options.rounds).await;
    }
    let mut report = Report::new(options.json);
    let server = Server::start(options.database_url.as_deref()).await?;
    let measured = match (options.measure, options.with.as_deref()) {
        (Measure::Sample, Some(name)) => match Sample::named(name) {
            Ok(sample) => compare::sample::run(sample, options.counted, &server).await,
            Err(unknown) => Err(unknown),
        },
        (Measure::Compare | Measure::Sample, None) => Err(anyhow::anyhow!("compare with what?")),
        _ => measure_on(&server, &options, &mut report).await,
    };
    server.stop().await?;
    report.finish();
    measured
}

async fn measure_on(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let database = BenchDatabase::create(server).await?;
    let mut measured = Ok(());
    for measure in options.measures() {
        if measured.is_ok() {
            measured = run(measure, options, &database, report).await;
        }
    }
    database.drop().await?;
    measured
}

async fn run(
    measure: Measure,
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    match measure {
        Measure::Limit => limit::run(options, database, report).await,
        Measure::Drain => drain::run(options, database, report).await,
        Measure::Enqueue => enqueue::run(options, database, report).await,
        Measure::Latency => latency::run(options, database, report).await,
        Measure::Live => live::run(options, database, report).await,
        Measure::Late => late::run(database, report).await,
        Measure::Trips => trips::run(options, database, report).await,
        Measure::Backlog => backlog::run(options, database, report).await,
        Measure::Horizon => horizon::run(options, database, report).await,
        Measure::Keys => keys::run(options, database, report).await,
        Measure::Steps => steps::run(options, database, report).await,
        Measure::Batches => batches::run(options, database, report).await,
        Measure::Tenants => tenants::run(options, database, report).await,
        Measure::Memory => memory::run(database, report).await,
        Measure::Idle => idle::run(database, report).await,
        Measure::Pages => pages::run(database, report).await,
        Measure::Scaling => scaling::run(options, database, report).await,
        Measure::Shards => shards::run(options, database, report).await,
        Measure::Viewers => viewers::run(options, database, report).await,
        Measure::All | Measure::Compare | Measure::IdleWorker | Measure::Sample => Ok(()),
    }
}
