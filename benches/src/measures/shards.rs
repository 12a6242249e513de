//! What the choice of a shard costs when jobs are enqueued, compared with the queue itself; and two servers as
//! shards, drained by a process each, compared with one server.

use std::time::{Duration, Instant};

use anyhow::Result;
use queue_core::{Context, Queue, Shards};

use super::drain;
use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::median;
use crate::server::Server;

/// Both sides take turns so often in a round that the machine is the same for both.
const TURNS: usize = 30;
/// Jobs of a turn, one by one and in one call.
const SINGLE_JOBS: usize = 200;
const CALL_JOBS: usize = 5_000;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let tenant = Context::new().tenant("acme");
    tenant.scope(choosing(options, database, report)).await?;
    let server = Server::own("-second").await?;
    let measured = draining(options, database, &server, report).await;
    server.stop().await?;
    measured
}

/// Enqueues jobs of one tenant. With a single shard there is nothing to hash, so one by one is also measured with
/// three shards, which are all the same queue.
async fn choosing(options: &Options, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    let pool = database.pool_of(1, true);
    let queue = Queue::new(pool.clone());
    let shards = |names: &[&str]| Shards::new(names.iter().map(|name| (name, queue.clone())));
    let (one, three) = (shards(&["a"])?, shards(&["a", "b", "c"])?);
    let (mut singles, mut singles_of_three, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (shards, rounds) in [(&one, &mut singles), (&three, &mut singles_of_three)] {
            database.reset().await?;
            let direct = async || enqueue_singly(&queue).await;
            rounds.push(in_turns(async || enqueue_singly_on(shards).await, direct).await?);
        }
        database.reset().await?;
        let jobs = || (0..CALL_JOBS as i64).map(Noop::new);
        let ours = async || Ok(one.enqueue_many(jobs()).await.map(drop)?);
        let direct = async || Ok(queue.enqueue_many(jobs()).await.map(drop)?);
        many.push(in_turns(ours, direct).await?);
    }
    pool.close().await;
    report.add(line("enqueue through one shard", SINGLE_JOBS, &singles));
    report.add(line(
        "enqueue through three names",
        SINGLE_JOBS,
        &singles_of_three,
    ));
    report.add(line("enqueue_many through one shard", CALL_JOBS, &many));
    Ok(())
}

async fn enqueue_singly(queue: &Queue) -> Result<()> {
    for id in 0..SINGLE_JOBS as i64 {
        let _new = queue.enqueue(Noop::new(id)).await?;
    }
    Ok(())
}

async fn enqueue_singly_on(shards: &Shards) -> Result<()> {
    for id in 0..SINGLE_JOBS as i64 {
        let _new = shards.enqueue(Noop::new(id)).await?;
    }
    Ok(())
}

/// Does two things in turns, and returns how long each took.
async fn in_turns(
    ours: impl AsyncFn() -> Result<()>,
    direct: impl AsyncFn() -> Result<()>,
) -> Result<[Duration; 2]> {
    let mut took = [Duration::ZERO; 2];
    for turn in 0..TURNS {
        for side in [turn % 2, (turn + 1) % 2] {
            let began = Instant::now();
            match side {
                0 => ours().await?,
                _ => direct().await?,
            }
            took[side] += began.elapsed();
        }
    }
    Ok(took)
}

fn line(measure: &str, jobs: usize, rounds: &[[Duration; 2]]) -> Line {
    let rate = |took: Duration| (TURNS * jobs) as f64 / took.as_secs_f64();
    let of = |ratio: fn(&[f64; 2]) -> f64| {
        Some(median(rounds.iter().map(|took| ratio(&took.map(rate)))))
    };
    Line {
        measure: measure.to_owned(),
        jobs_per_second: of(|[ours, _]| *ours),
        ratio: of(|[ours, direct]| ours / direct),
        ratio_of: Some("the queue"),
        ..Line::default()
    }
}

async fn draining(
    options: &Options,
    first: &BenchDatabase,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let second = BenchDatabase::create(server).await?;
    // A hot tenant, which has nine of ten jobs, is on one server.
    let shares = [options.jobs / 2, options.jobs / 10 * 9];
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        first.reset().await?;
        first.fill(options.jobs).await?;
        let alone = drain::drain(first, options.jobs, options.concurrency).await?;
        let [even, hot] = shares.map(|share| drain_both(options, [first, &second], share));
        rounds.push([even.await?, hot.await?, alone.jobs_per_second]);
    }
    second.drop().await?;
    let of = |figure: &dyn Fn(&[f64; 3]) -> f64| Some(median(rounds.iter().map(figure)));
    for (measure, at) in [
        ("drained from two servers", 0),
        ("the same with a hot tenant", 1),
    ] {
        report.add(Line {
            measure: measure.into(),
            jobs_per_second: of(&|round| round[at]),
            ratio: of(&|round| round[at] / round[2]),
            ratio_of: Some("one server"),
            ..Line::default()
        });
    }
    Ok(())
}

/// Drains a share of the jobs from the first and the rest from the second of two servers at the same time, and returns
/// all jobs per second.
async fn drain_both(options: &Options, servers: [&BenchDatabase; 2], share: usize) -> Result<f64> {
    let shares = [share, options.jobs - share];
    for (database, jobs) in servers.into_iter().zip(shares) {
        database.reset().await?;
        database.fill(jobs).await?;
    }
    let began = Instant::now();
    let start = |at: usize| Running::counting(servers[at], options.concurrency, shares[at]);
    let (one, other) = (start(0)?, start(1)?);
    tokio::try_join!(one.finished(1), other.finished(1))?;
    let seconds = began.elapsed().as_secs_f64();
    one.stop().await?;
    other.stop().await?;
    Ok(options.jobs as f64 / seconds)
}
