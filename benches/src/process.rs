//! A worker process inside the benchmark, and its progress.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use queue_core::Queue;
use queue_worker::config::WorkerSettings;
use queue_worker::{App, Cx, Perform, Process, Settings, Stop};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::database::BenchDatabase;
use crate::jobs::{Hold, Noop};

const PATIENCE: Duration = Duration::from_secs(600);

/// A process that runs jobs until it is stopped.
pub(crate) struct Running {
    stop: Stop,
    task: JoinHandle<()>,
    started_at: Instant,
    finishes: Arc<Finishes>,
    starts: mpsc::UnboundedReceiver<(i64, Instant)>,
}

/// How many jobs are durably finished, and the time of each step.
struct Finishes {
    count: AtomicUsize,
    step: usize,
    times: Mutex<Vec<Instant>>,
    news: Notify,
}

/// The application's state: a channel for the start of each job, if the starts are measured.
pub(crate) struct Starts(Option<mpsc::UnboundedSender<(i64, Instant)>>);

impl Perform<Starts> for Noop {
    type Error = std::convert::Infallible;

    async fn perform(self, cx: Cx<Starts>) -> Result<(), Self::Error> {
        if let Some(starts) = &cx.state().0 {
            let _no_receiver = starts.send((self.id(), Instant::now()));
        }
        Ok(())
    }
}

/// Runs until it is asked to stop.
impl Perform<Starts> for Hold {
    type Error = std::convert::Infallible;

    async fn perform(self, cx: Cx<Starts>) -> Result<(), Self::Error> {
        cx.cancelled().await;
        Ok(())
    }
}

impl Running {
    /// Starts a process that counts finished jobs, and records the time of every `step` jobs.
    pub(crate) fn counting(
        database: &BenchDatabase,
        concurrency: usize,
        step: usize,
    ) -> Result<Self> {
        Self::start(database, concurrency, step, false)
    }

    /// Starts a process that reports the start of each job.
    pub(crate) fn telling_starts(database: &BenchDatabase, concurrency: usize) -> Result<Self> {
        Self::start(database, concurrency, 1, true)
    }

    fn start(
        database: &BenchDatabase,
        concurrency: usize,
        step: usize,
        tells_starts: bool,
    ) -> Result<Self> {
        let (sender, starts) = mpsc::unbounded_channel();
        let finishes = Arc::new(Finishes::every(step));
        let noting = Arc::clone(&finishes);
        let app = App::new(Starts(tells_starts.then_some(sender)))
            .register::<Noop>()
            .register::<Hold>()
            .on_finished(move |_| noting.note());
        let started_at = Instant::now();
        let process = process(database.queue(), app, concurrency)?;
        let stop = Stop::new();
        let task = tokio::spawn(process.run(stop.clone()));
        Ok(Self {
            stop,
            task,
            started_at,
            finishes,
            starts,
        })
    }

    /// Waits until `steps` steps are finished, and returns the time from the process's start.
    pub(crate) async fn finished(&self, steps: usize) -> Result<Duration> {
        let times = self.finish_times(steps).await?;
        Ok(times[steps - 1] - self.started_at)
    }

    /// Waits for this many steps, and returns the time of each, the first from the process's start.
    pub(crate) async fn step_durations(&self, steps: usize) -> Result<Vec<Duration>> {
        let times = self.finish_times(steps).await?;
        let before = std::iter::once(self.started_at).chain(times.iter().copied());
        Ok(times
            .iter()
            .zip(before)
            .map(|(end, start)| *end - start)
            .collect())
    }

    async fn finish_times(&self, steps: usize) -> Result<Vec<Instant>> {
        tokio::time::timeout(PATIENCE, self.finishes.reach(steps))
            .await
            .context("the worker did not finish its jobs in ten minutes")
    }

    /// Returns how many jobs this process has finished.
    pub(crate) fn finished_so_far(&self) -> usize {
        self.finishes.count.load(Ordering::Relaxed)
    }

    /// Waits for the start of a job, and returns its time.
    pub(crate) async fn start_of(&mut self, id: i64) -> Result<Instant> {
        loop {
            match tokio::time::timeout(PATIENCE, self.starts.recv()).await {
                Ok(Some((started, at))) if started == id => return Ok(at),
                Ok(Some(_another)) => {}
                Ok(None) | Err(_) => bail!("job {id} was not started"),
            }
        }
    }

    /// Returns the jobs started since the last call, and when.
    pub(crate) fn starts_so_far(&mut self) -> impl Iterator<Item = (i64, Instant)> {
        std::iter::from_fn(|| self.starts.try_recv().ok())
    }

    /// Stops the process without waiting for long jobs.
    pub(crate) async fn stop_at_once(self) -> Result<()> {
        self.stop.at_once();
        self.task.await?;
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.gracefully();
        self.task.await?;
        Ok(())
    }
}

impl Finishes {
    fn every(step: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            step,
            times: Mutex::default(),
            news: Notify::new(),
        }
    }

    fn note(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(self.step) {
            self.times
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Instant::now());
            self.news.notify_one();
        }
    }

    async fn reach(&self, steps: usize) -> Vec<Instant> {
        loop {
            {
                let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
                if times.len() >= steps {
                    return times[..steps].to_vec();
                }
            }
            self.news.notified().await;
        }
    }
}

/// Creates a process with default settings apart from the concurrency.
pub(crate) fn process<S: Send + Sync + 'static>(
    queue: Queue,
    app: App<S>,
    concurrency: usize,
) -> Result<Process<S>> {
    let settings = Settings {
        workers: vec![WorkerSettings {
            concurrency,
            ..WorkerSettings::default()
        }],
        ..Settings::default()
    };
    Ok(Process::new(queue, app, settings)?)
}

/// The application of a process whose starts are not measured.
pub(crate) fn quiet_app() -> App<Starts> {
    App::new(Starts(None)).register::<Noop>()
}
