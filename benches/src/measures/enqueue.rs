//! new → ready: in bulk and one at a time, compared with bare inserts of the same rows.

use anyhow::Result;
use queue_core::{NewJob, Queue};
use tokio::task::JoinSet;

use super::limit;
use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::rate::Rate;
use crate::report::{Line, Report};

/// The numbers of connections that enqueue in bulk. The best number counts, on both sides.
const BULK_TASKS: [usize; 3] = [1, 2, 4];
const SINGLE_TASKS: [usize; 2] = [1, 16];
/// With one task, a round of single jobs is this many times shorter than one in bulk.
const SINGLE_SHARE: usize = 60;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    bulk(options, database, report).await?;
    for tasks in SINGLE_TASKS {
        singly(options, database, report, tasks).await?;
    }
    Ok(())
}

async fn bulk(options: &Options, database: &BenchDatabase, report: &mut Report) -> Result<()> {
    let mut many = Vec::new();
    let mut copy = Vec::new();
    for _ in 0..options.rounds {
        let round = bulk_round(database, options.jobs).await?;
        many.push((round.many, round.limit));
        copy.push((round.copy, round.limit));
    }
    report.add(Line::against_limit("enqueue_many".into(), &many));
    report.add(Line::against_limit("copy_jobs".into(), &copy));
    Ok(())
}

struct BulkRound {
    limit: Rate,
    many: Rate,
    copy: Rate,
}

async fn bulk_round(database: &BenchDatabase, jobs: usize) -> Result<BulkRound> {
    let queue = database.queue();
    let (mut limit, mut many, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    for tasks in BULK_TASKS {
        limit.push(limit::enqueue_bulk(database, jobs, tasks).await?);
        many.push(in_tasks(database, &queue, jobs, tasks, enqueue_many).await?);
        copy.push(in_tasks(database, &queue, jobs, tasks, copy_jobs).await?);
    }
    Ok(BulkRound {
        limit: best(limit),
        many: best(many),
        copy: best(copy),
    })
}

fn best(rates: Vec<Rate>) -> Rate {
    rates
        .into_iter()
        .max_by(|a, b| a.jobs_per_second.total_cmp(&b.jobs_per_second))
        .expect("there is a rate for each number of tasks")
}

/// Enqueues through a pool with a connection per task, with and without the round trip by which sqlx
/// tests a connection before each use.
async fn singly(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
    tasks: usize,
) -> Result<()> {
    let jobs = options.jobs / SINGLE_SHARE * tasks.min(4);
    let (mut tested, mut untested) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let limit = limit::enqueue_singly(database, jobs, tasks).await?;
        for (is_tested, rounds) in [(true, &mut tested), (false, &mut untested)] {
            let pool = database.pool_of(tasks, is_tested);
            let queue = Queue::new(pool.clone());
            let ours = in_tasks(database, &queue, jobs, tasks, enqueue_singly).await?;
            rounds.push((ours, limit));
            pool.close().await;
        }
    }
    let measure = format!("enqueue, {tasks} at once");
    report.add(Line::against_limit(measure.clone(), &tested));
    report.add(Line::against_limit(
        format!("{measure}, untested pool"),
        &untested,
    ));
    Ok(())
}

/// Enqueues in bulk.
pub(crate) async fn many(database: &BenchDatabase, jobs: usize, tasks: usize) -> Result<Rate> {
    in_tasks(database, &database.queue(), jobs, tasks, enqueue_many).await
}

/// Enqueues one job after another in each task.
pub(crate) async fn one_by_one(
    database: &BenchDatabase,
    jobs: usize,
    tasks: usize,
) -> Result<Rate> {
    let pool = database.pool_of(tasks, true);
    let queue = Queue::new(pool.clone());
    let rate = in_tasks(database, &queue, jobs, tasks, enqueue_singly).await;
    pool.close().await;
    rate
}

/// Distributes jobs over concurrent tasks.
async fn in_tasks<F>(
    database: &BenchDatabase,
    queue: &Queue,
    jobs: usize,
    tasks: usize,
    enqueue: impl Fn(Queue, std::ops::Range<i64>) -> F,
) -> Result<Rate>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    database.reset().await?;
    let share = i64::try_from(jobs / tasks)?;
    Rate::of(database.pool(), async {
        let mut running = JoinSet::new();
        for task in 0..tasks as i64 {
            running.spawn(enqueue(queue.clone(), task * share..(task + 1) * share));
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(jobs / tasks * tasks)
    })
    .await
}

/// The number of jobs per call.
const CALL_JOBS: usize = 5_000;

async fn enqueue_many(queue: Queue, ids: std::ops::Range<i64>) -> Result<()> {
    for start in ids.clone().step_by(CALL_JOBS) {
        let end = ids.end.min(start + CALL_JOBS as i64);
        queue.enqueue_many((start..end).map(Noop::new)).await?;
    }
    Ok(())
}

async fn copy_jobs(queue: Queue, ids: std::ops::Range<i64>) -> Result<()> {
    queue
        .copy_jobs(ids.map(|id| NewJob::of(&Noop::new(id))))
        .await?;
    Ok(())
}

async fn enqueue_singly(queue: Queue, ids: std::ops::Range<i64>) -> Result<()> {
    for id in ids {
        let _new = queue.enqueue(Noop::new(id)).await?;
    }
    Ok(())
}
