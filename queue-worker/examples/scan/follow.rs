//! Follows a run to its end, and tells how it ended.

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

/// How often a look is taken, and how much longer than a look the rest after it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const LOOK_REST: u32 = 10;

/// The failures that are listed one by one; the manifest has them all.
const LISTED_MAX: usize = 20;

/// A run that is over.
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) manifest: PathBuf,
    pub(crate) hashed: u64,
    pub(crate) failed: usize,
}

/// Whoever waits for runs.
#[derive(Clone)]
pub(crate) struct Follower {
    pub(crate) pool: PgPool,
    pub(crate) console: Console,
    pub(crate) manifests: PathBuf,
}

impl Follower {
    /// Waits for the run that a `scan_folder` job makes.
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
            sleep(LOOK_INTERVAL / 4).await;
        }
    }

    /// Waits for the oldest run whose end has not been told.
    pub(crate) async fn next_run(&self) -> Result<Run> {
        loop {
            if let Some(run) = self
                .ask(async || tables::oldest_open_run(&self.pool).await)
                .await?
            {
                return Ok(run);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Follows a run until each file is hashed or given up, writes its manifest, and tells of it.
    pub(crate) async fn follow(&self, run: Run) -> Result<Ended> {
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
        self.tell_failures(&failures, &manifest);
        Ok(Ended {
            run,
            manifest,
            hashed: tally.hashed,
            failed: failures.len(),
        })
    }

    async fn until_over(&self, run: &Run) -> Result<Tally> {
        let mut progress = self.console.progress();
        loop {
            let asked = Instant::now();
            let tally = self
                .ask(async || tables::tally(&self.pool, run.id).await)
                .await?;
            progress.show(&tally);
            if tally.is_over() {
                return Ok(tally);
            }
            sleep(LOOK_INTERVAL.max(asked.elapsed() * LOOK_REST)).await;
        }
    }

    fn tell_failures(&self, failures: &[Failure], manifest: &Path) {
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

    /// Asks the database, however long it takes to be there.
    async fn ask<T>(&self, mut question: impl AsyncFnMut() -> sqlx::Result<T>) -> Result<T> {
        let mut is_told = false;
        loop {
            match question().await {
                Err(error) if queue_core::is_transient(&error) => {
                    if !is_told {
                        self.console
                            .say(format!("Waiting for the database: {error}"));
                        is_told = true;
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

/// Counts things in words: `1 file`, `20,000 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", HumanCount(number))
}
