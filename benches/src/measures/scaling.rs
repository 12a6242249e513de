//! How one server grows: jobs that do nothing, drained by several processes, beside idle connections and from
//! many queues, and enqueued one by one through several connections. Each figure is compared with the first of
//! its kind.

use std::time::Duration;

use anyhow::Result;
use queue_core::NewJob;
use sqlx::PgConnection;
use tokio::time::sleep;

use super::{drain, enqueue};
use crate::compare::usage::Usage;
use crate::database::BenchDatabase;
use crate::jobs::Noop;
use crate::options::Options;
use crate::process::Running;
use crate::report::{Line, Report};
use crate::rounds::median;

const PROCESSES: [usize; 5] = [1, 2, 4, 8, 16];
const CONNECTIONS: [usize; 4] = [1, 4, 16, 64];
const IDLE_CONNECTIONS: [usize; 3] = [0, 100, 500];
const QUEUES: [usize; 4] = [1, 10, 100, 1_000];
/// Jobs of each task that enqueues one by one, and at most of all.
const SINGLE_JOBS: usize = 5_000;
const SINGLE_JOBS_MAX: usize = 40_000;

pub(crate) async fn run(
    options: &Options,
    database: &BenchDatabase,
    report: &mut Report,
) -> Result<()> {
    let mut processes = Series::new("drained by processes: ", &PROCESSES);
    let mut idle = Series::new("drained beside idle connections: ", &IDLE_CONNECTIONS);
    let mut queues = Series::new("drained from queues: ", &QUEUES);
    let mut connections = Series::new("enqueued one by one, connections: ", &CONNECTIONS);
    for _ in 0..options.rounds {
        for (place, count) in PROCESSES.into_iter().enumerate() {
            let figure = drained_by(options, database, count).await?;
            processes.add(place, figure);
        }
        for (place, count) in IDLE_CONNECTIONS.into_iter().enumerate() {
            let figure = drained_beside(options, database, count).await?;
            idle.add(place, figure);
        }
        for (place, count) in QUEUES.into_iter().enumerate() {
            let figure = drained_from(options, database, count).await?;
            queues.add(place, figure);
        }
        for (place, count) in CONNECTIONS.into_iter().enumerate() {
            let jobs = SINGLE_JOBS_MAX.min(SINGLE_JOBS * count);
            let enqueueing = enqueue::one_by_one(database, jobs, count);
            let figure = Figure::of(database, jobs, enqueueing).await?;
            connections.add(place, figure);
        }
    }
    for series in [processes, idle, queues, connections] {
        series.report(report);
    }
    Ok(())
}

/// Figures of the rounds, of one thing in several counts.
struct Series {
    name: &'static str,
    counts: &'static [usize],
    figures: Vec<Vec<Figure>>,
}

#[derive(Clone, Copy)]
struct Figure {
    jobs_per_second: f64,
    /// The processor time of a job in microseconds.
    used: Usage,
}

impl Series {
    fn new(name: &'static str, counts: &'static [usize]) -> Self {
        Self {
            name,
            counts,
            figures: vec![Vec::new(); counts.len()],
        }
    }

    fn add(&mut self, place: usize, figure: Figure) {
        self.figures[place].push(figure);
    }

    fn report(self, report: &mut Report) {
        for (count, figures) in self.counts.iter().zip(&self.figures) {
            let ratios = figures.iter().zip(&self.figures[0]);
            let of = |read: fn(&Figure) -> f64| Some(median(figures.iter().map(read)));
            report.add(Line {
                measure: format!("{}{count}", self.name),
                jobs_per_second: of(|figure| figure.jobs_per_second),
                ratio: Some(median(ratios.map(|(figure, first)| {
                    figure.jobs_per_second / first.jobs_per_second
                }))),
                ratio_of: Some("the first"),
                cpu_us_per_job: of(|figure| figure.used.server + figure.used.worker),
                server_us_per_job: of(|figure| figure.used.server),
                ..Line::default()
            });
        }
    }
}

impl Figure {
    /// Measures work on this many jobs.
    async fn of<T>(
        database: &BenchDatabase,
        jobs: usize,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Self> {
        let before = Usage::now(database.pool()).await?;
        let began = std::time::Instant::now();
        work.await?;
        let seconds = began.elapsed().as_secs_f64();
        let after = Usage::now(database.pool()).await?;
        let jobs = jobs as f64;
        Ok(Self {
            jobs_per_second: jobs / seconds,
            used: after.micros_per_job(before, jobs),
        })
    }
}

/// Drains with several processes, all of them within this one.
async fn drained_by(options: &Options, database: &BenchDatabase, count: usize) -> Result<Figure> {
    database.reset().await?;
    database.fill(options.jobs).await?;
    let mut processes = Vec::new();
    let figure = Figure::of(database, options.jobs, async {
        for _ in 0..count {
            processes.push(Running::counting(
                database,
                options.concurrency,
                options.jobs,
            )?);
        }
        while processes
            .iter()
            .map(Running::finished_so_far)
            .sum::<usize>()
            < options.jobs
        {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })
    .await?;
    for process in processes {
        process.stop().await?;
    }
    Ok(figure)
}

/// Drains with one process, while other connections are open and idle.
async fn drained_beside(
    options: &Options,
    database: &BenchDatabase,
    count: usize,
) -> Result<Figure> {
    database.reset().await?;
    database.fill(options.jobs).await?;
    let mut idle: Vec<PgConnection> = Vec::new();
    for _ in 0..count {
        idle.push(database.connect().await?);
    }
    drain_once(options, database).await
}

/// Drains jobs that lie in several queues, with one process that serves all of them.
async fn drained_from(options: &Options, database: &BenchDatabase, count: usize) -> Result<Figure> {
    database.reset().await?;
    let names: Vec<String> = (0..count).map(|number| format!("queue-{number}")).collect();
    let jobs = (0..options.jobs).map(|id| {
        let name = names[id % count].clone();
        Ok(NewJob::of(&Noop::new(id as i64))?.with(|options| options.queue(name)))
    });
    database.copy(jobs).await?;
    database.settle().await?;
    drain_once(options, database).await
}

async fn drain_once(options: &Options, database: &BenchDatabase) -> Result<Figure> {
    let draining = drain::drain(database, options.jobs, options.concurrency);
    Figure::of(database, options.jobs, draining).await
}
