//! Steps: those of a thousand jobs at once, compared with the same rows in groups of a hundred; one alone,
//! compared with a bare commit; and jobs that one event wakes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use queue_core::{Job, NewJob};
use queue_worker::{App, BoxError, Cx, Perform, Stop};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};

use super::limit;
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::process::process;
use crate::rate::Rate;
use crate::report::{Line, Report};
use crate::rounds::percentile;

const JOBS: usize = 1_000;
const STEPS: usize = 5;
const RESULT_BYTES: usize = 100;
const LONE_STEPS: usize = 300;
const WAITING: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(600);

/// A job of some steps, each with a result of 100 bytes.
#[derive(Clone, Serialize, Deserialize)]
struct Stepped(usize);

impl Job for Stepped {
    const KIND: &'static str = "stepped";
}

/// How long each step took, in milliseconds.
#[derive(Default)]
struct Times(Mutex<Vec<f64>>);

impl Times {
    fn note(&self, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(took.as_secs_f64() * 1_000.0);
    }
}

impl Perform<&'static Times> for Stepped {
    type Error = BoxError;

    async fn perform(self, cx: Cx<&'static Times>) -> Result<(), BoxError> {
        for _ in 0..self.0 {
            let began = Instant::now();
            cx.step("step", async || {
                Ok::<_, BoxError>("x".repeat(RESULT_BYTES - 2))
            })
            .await?;
            cx.state().note(began.elapsed());
        }
        Ok(())
    }
}

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let limit = limit::steps(database, JOBS * STEPS * 4, RESULT_BYTES).await?;
        rounds.push((many(database, options.concurrency).await?, limit));
    }
    let measure = format!("{JOBS} jobs of {STEPS} steps, figures per step");
    report.add(Line::against_limit(measure, &rounds));
    lone(database, report).await?;
    woken(database, report).await
}

/// Runs a thousand jobs from the start of a process, and returns the rate of their steps.
async fn many(database: &BenchDatabase, concurrency: usize) -> Result<Rate> {
    database.reset().await?;
    let jobs = (0..JOBS).map(|_| NewJob::of(&Stepped(STEPS)));
    database.copy(jobs).await?;
    database.settle().await?;
    let times: &'static Times = Box::leak(Box::default());
    Rate::of(database.pool(), async {
        run_to_the_end(database, times, concurrency, JOBS).await?;
        Ok(JOBS * STEPS)
    })
    .await
}

async fn run_to_the_end(
    database: &BenchDatabase,
    times: &'static Times,
    concurrency: usize,
    jobs: usize,
) -> Result<()> {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let app = App::new(times).register::<Stepped>().on_finished(move |_| {
        let _no_receiver = ended.send(());
    });
    let stop = Stop::new();
    let process = process(database.queue(), app, concurrency)?;
    let running = tokio::spawn(process.run(stop.clone()));
    for _ in 0..jobs {
        let ended = tokio::time::timeout(PATIENCE, ends.recv()).await;
        ended.context("a job did not finish in ten minutes")?;
    }
    stop.at_once();
    running.await?;
    Ok(())
}

/// Compares one step at a time with a commit of one row.
async fn lone(database: &BenchDatabase, report: &mut Report) -> Result<()> {
    database.reset().await?;
    let mut conn = database.connect().await?;
    let commits = Times::default();
    commit(&mut conn, LONE_STEPS, &commits).await?;
    database.queue().enqueue(Stepped(LONE_STEPS)).await?;
    let steps: &'static Times = Box::leak(Box::default());
    run_to_the_end(database, steps, 1, 1).await?;
    commit(&mut conn, LONE_STEPS, &commits).await?;
    conn.close().await?;
    let commit = line("a bare commit", &commits);
    let step = Line {
        ratio: Some(step_ratio(steps, &commits)),
        ratio_of: Some("a bare commit"),
        ..line("a lone step", steps)
    };
    report.add(commit);
    report.add(step);
    Ok(())
}

fn step_ratio(steps: &Times, commits: &Times) -> f64 {
    p50(steps) / p50(commits)
}

fn p50(times: &Times) -> f64 {
    let times = times.0.lock().unwrap_or_else(PoisonError::into_inner);
    percentile(&times, 0.5)
}

fn line(measure: &str, times: &Times) -> Line {
    let times = times.0.lock().unwrap_or_else(PoisonError::into_inner);
    Line {
        measure: measure.to_owned(),
        p50_ms: Some(percentile(&times, 0.5)),
        p99_ms: Some(percentile(&times, 0.99)),
        ..Line::default()
    }
}

/// Inserts rows like those of steps, each in a transaction of its own.
async fn commit(conn: &mut PgConnection, rows: usize, times: &Times) -> Result<()> {
    for _ in 0..rows {
        let began = Instant::now();
        sqlx::query(
            "insert into queue_limit.steps (job_id, finished_at, occurrence, name, result)
             values (0, statement_timestamp(), nextval('queue_limit.step_seq') % 10000 + 1, 'step', $1::json)",
        )
        .bind(format!("\"{}\"", "x".repeat(RESULT_BYTES - 2)))
        .execute(&mut *conn)
        .await?;
        times.note(began.elapsed());
    }
    Ok(())
}

/// Wakes a hundred thousand jobs by one event, and runs them.
async fn woken(database: &BenchDatabase, report: &mut Report) -> Result<()> {
    database.reset().await?;
    let jobs = (0..WAITING).map(|_| NewJob::of(&Stepped(0)));
    database.copy(jobs).await?;
    sqlx::raw_sql(
        "insert into queue.scheduled (job_id, due_at, attempt, priority, queue, kind)
         select job_id, now() + interval '1 day', 1, priority, queue, kind from queue.ready;
         truncate queue.ready;
         insert into queue.waits (job_id, attempt, event) select job_id, 1, 'all' from queue.scheduled;",
    )
    .execute(database.pool())
    .await?;
    let times: &'static Times = Box::leak(Box::default());
    let rate = Rate::of(database.pool(), async {
        database.queue().emit("all", &()).await?;
        run_to_the_end(database, times, 200, WAITING).await?;
        Ok(WAITING)
    })
    .await?;
    report.add(Line {
        measure: format!("{WAITING} jobs that wait for one event"),
        jobs_per_second: Some(rate.jobs_per_second),
        wal_bytes_per_job: Some(rate.wal_bytes_per_job),
        ..Line::default()
    });
    Ok(())
}
