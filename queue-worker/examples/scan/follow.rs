//! Follows a run to its report, and prints it.

use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::{HumanBytes, HumanCount};
use queue_worker::inspect::batches;
use queue_worker::{JobId, Queue};
use tokio::time::sleep;

use crate::console::{Console, Progress};
use crate::path::one_line;
use crate::report::{Outcome, Report};
use crate::tables::{self, Run};

/// The time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for runs and prints their reports.
#[derive(Clone)]
pub(crate) struct Follower {
    pub(crate) queue: Queue,
    pub(crate) console: Console,
}

impl Follower {
    /// Waits for the run that a `scan_folder` job begins.
    pub(crate) async fn run_of(&self, job_id: JobId) -> Result<Run> {
        let pool = self.queue.pool();
        loop {
            if let Some(run) = self
                .ask(async || tables::run_of(pool, job_id).await)
                .await?
            {
                return Ok(run);
            }
            if let Some(error) = self.why_no_report(job_id).await? {
                bail!("the folder could not be scanned: {error}");
            }
            sleep(POLL_INTERVAL / 4).await;
        }
    }

    /// Returns the last run before which all runs have been reported.
    pub(crate) async fn last_reported_run(&self) -> Result<i64> {
        let pool = self.queue.pool();
        self.ask(async || tables::last_reported_run(pool).await)
            .await
    }

    /// Waits for the first run after another.
    pub(crate) async fn run_after(&self, run_id: i64) -> Result<Run> {
        let pool = self.queue.pool();
        loop {
            let next = self.ask(async || tables::run_after(pool, run_id).await);
            if let Some(run) = next.await? {
                return Ok(run);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits for the report of a run, and prints it.
    pub(crate) async fn follow(&self, run: &Run) -> Result<Report> {
        let (report, seconds) = self.report_of(run).await?;
        self.console.say(summary(run, &report, seconds));
        if report.outcome != Outcome::Success {
            let failed = count(report.failed, "file");
            self.console.say(format!("{failed} could not be stored:"));
            for named in &report.named {
                self.console.say(format!("  {named}"));
            }
        }
        if let more @ 1.. = report.failed - report.named.len() as u64 {
            let manifest = report.manifest.0.display();
            self.console
                .say(format!("  and {more} more: see {manifest}"));
        }
        Ok(report)
    }

    async fn report_of(&self, run: &Run) -> Result<(Report, f64)> {
        let (pool, mut progress) = (self.queue.pool(), self.console.progress());
        loop {
            let found = self.ask(async || tables::report_of(pool, run.id).await);
            if let Some(report) = found.await? {
                return Ok(report);
            }
            if let Some(error) = self.why_no_report(run.job_id).await? {
                bail!("the run has no report: {error}");
            }
            self.show(run, &mut progress).await?;
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Shows the counts of the batch.
    async fn show(&self, run: &Run, progress: &mut Progress) -> Result<()> {
        let shown = self.ask(async || {
            let mut conn = self.queue.pool().acquire().await?;
            batches::show(&mut conn, self.queue.schema(), run.batch).await
        });
        if let Some(batch) = shown.await? {
            progress.show(&batch);
        }
        Ok(())
    }

    async fn why_no_report(&self, job_id: JobId) -> Result<Option<String>> {
        let pool = self.queue.pool();
        let asked = self.ask(async || tables::why_no_report(pool, job_id).await);
        Ok(asked.await?.map(|error| one_line(&error)))
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

fn summary(run: &Run, report: &Report, seconds: f64) -> String {
    let stored = count(report.stored, "file");
    let bytes = HumanBytes(report.bytes);
    let outcome = match report.outcome {
        Outcome::Success => "success",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
    };
    let id = run.id;
    format!("Run {id}: {outcome}, {stored} stored ({bytes}) in {seconds:.1} s")
}

/// Writes a number of things: `1 file`, `20,000 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", HumanCount(number))
}
