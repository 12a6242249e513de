//! Follows a run to its end, and reports it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{HumanBytes, HumanCount};
use queue_worker::JobId;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::console::Console;
use crate::manifest;
use crate::path::{one_line, shown};
use crate::tables::{self, Failure, Run, Tally};

/// The shortest time between two queries, and how many times as long as a query the rest after it
/// is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const POLL_REST: u32 = 10;

/// The most failures that are printed; the manifest lists them all.
const LISTED_MAX: usize = 20;

/// A run that is over.
pub(crate) struct FinishedRun {
    pub(crate) run: Run,
    pub(crate) manifest: PathBuf,
    pub(crate) hashed: u64,
    pub(crate) failed: usize,
}

/// Waits for runs and reports them.
#[derive(Clone)]
pub(crate) struct Follower {
    pub(crate) pool: PgPool,
    pub(crate) console: Console,
    pub(crate) manifests: PathBuf,
}

impl Follower {
    /// Waits for the run that a `scan_folder` job adds.
    pub(crate) async fn run_of(&self, job_id: JobId) -> Result<Run> {
        loop {
            if let Some(run) = self
                .ask(async || tables::run_of(&self.pool, job_id).await)
                .await?
            {
                return Ok(run);
            }
            if let Some(error) = self
                .ask(async || tables::why_no_run(&self.pool, job_id).await)
                .await?
            {
                bail!("the folder could not be scanned: {}", one_line(&error));
            }
            sleep(POLL_INTERVAL / 4).await;
        }
    }

    /// Waits for a run, and returns the oldest that has not been reported.
    pub(crate) async fn next_run(&self) -> Result<Run> {
        loop {
            if let Some(run) = self
                .ask(async || tables::oldest_open_run(&self.pool).await)
                .await?
            {
                return Ok(run);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until each file of a run is hashed or given up, writes the manifest, and reports the
    /// run.
    pub(crate) async fn follow(&self, run: Run) -> Result<FinishedRun> {
        let tally = self.until_over(&run).await?;
        let digests = self
            .ask(async || tables::digests(&self.pool, run.id).await)
            .await?;
        let failures = self
            .ask(async || tables::failures(&self.pool, run.id).await)
            .await?;
        let manifest = manifest::write(&self.manifests, &run, &digests, &failures)?;
        self.ask(async || tables::end_run(&self.pool, run.id).await)
            .await?;

        self.console.say(summary(&run, &tally));
        self.print_failures(&failures, &manifest);
        Ok(FinishedRun {
            run,
            manifest,
            hashed: tally.hashed,
            failed: failures.len(),
        })
    }

    async fn until_over(&self, run: &Run) -> Result<Tally> {
        let mut progress = self.console.progress();
        loop {
            let began = Instant::now();
            let tally = self
                .ask(async || tables::tally(&self.pool, run.id).await)
                .await?;
            progress.show(&tally);
            if tally.is_over() {
                return Ok(tally);
            }
            sleep(POLL_INTERVAL.max(began.elapsed() * POLL_REST)).await;
        }
    }

    fn print_failures(&self, failures: &[Failure], manifest: &Path) {
        if failures.is_empty() {
            return;
        }
        self.console.say(format!(
            "{} could not be hashed:",
            count(failures.len() as u64, "file")
        ));
        for failure in failures.iter().take(LISTED_MAX) {
            self.console.say(listed(failure));
        }
        if let Some(more @ 1..) = failures.len().checked_sub(LISTED_MAX) {
            self.console
                .say(format!("  and {more} more: see {}", manifest.display()));
        }
    }

    /// Runs a query, and repeats it until the database is available.
    async fn ask<T>(&self, mut query: impl AsyncFnMut() -> sqlx::Result<T>) -> Result<T> {
        let mut has_waited = false;
        loop {
            match query().await {
                Err(error) if queue_core::is_transient(&error) => {
                    if !has_waited {
                        self.console
                            .say(format!("Waiting for the database: {error}"));
                        has_waited = true;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
                answer => return Ok(answer?),
            }
        }
    }
}

fn summary(run: &Run, tally: &Tally) -> String {
    let hashed = count(tally.hashed, "file");
    let bytes = HumanBytes(tally.bytes);
    let seconds = tally.took.as_secs_f64();
    let pace = HumanCount(tally.per_second());
    let id = run.id;
    format!("Run {id}: {hashed} hashed ({bytes}) in {seconds:.1} s, {pace} files/s")
}

fn listed(failure: &Failure) -> String {
    let path = if failure.path.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        shown(&failure.path)
    };
    let job = match failure.job_id {
        Some(id) => format!(" (job {id})"),
        None => String::new(),
    };
    format!("  {path}: {}{job}", one_line(&failure.error))
}

/// Writes a number of things: `1 file`, `20,000 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", HumanCount(number))
}
