//! One write: records a group of completions, logs what the jobs became, and calls the hooks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::batches::Ended;
use queue_core::events::wake_if_emitted;
use queue_core::process::ProcessId;
use queue_core::transitions::claim::ClaimedJob;
use queue_core::transitions::end::{End, end, was_written};
use queue_core::transitions::finish::finish;
use queue_core::transitions::hand_over::{HandOver, Handed, hand_over};
use queue_core::transitions::{Became, Claim, Run};
use queue_core::{JobId, Outcome, Schema, is_transient};
use sqlx::PgConnection;
use tracing::field;

use super::counts::{EndCounts, EndedRun};
use super::ended_in_batches::EndedInBatches;
use super::freed_keys::FreedKeys;
use crate::app::hooks::{Hooks, JobEvent};
use crate::attempt::{Completion, Handover, InFlight, InFlightJob, Logged, Prefetch};
use crate::connection::{Connection, RetryDelay, logged};
use crate::metrics::{note_lost, note_record};

/// Why a group was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The database cannot be reached, or cannot write anything now.
    Unavailable(sqlx::Error),
    /// The database rejects this group: a lock is in the way of one completion, or a value is
    /// refused.
    Rejected(sqlx::Error),
}

impl WriteError {
    /// Classifies the error of a write on an open connection.
    pub(super) fn of(error: sqlx::Error) -> Self {
        if is_transient(&error) && !is_about_the_statement(&error) {
            Self::Unavailable(error)
        } else {
            Self::Rejected(error)
        }
    }
}

/// The tries of one write, which is repeated however long the database is unavailable.
#[derive(Default)]
pub(super) struct Tries(RetryDelay);

impl Tries {
    /// Waits until the write may be tried again. Reports the error of the first try.
    ///
    /// # Errors
    /// Returns the error of a write that was rejected.
    pub(super) async fn wait_after(
        &mut self,
        error: WriteError,
        report: impl Fn(&str),
    ) -> Result<(), sqlx::Error> {
        let error = match error {
            WriteError::Rejected(error) => return Err(error),
            WriteError::Unavailable(error) => error,
        };
        let wait = self.0.next();
        if self.0.is_first() {
            report(&logged(&error));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// What one write did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What each job became whose run this process has ended.
    pub(crate) became: HashMap<JobId, Became>,
    /// The jobs whose slots went to other jobs.
    handed_over: HashSet<JobId>,
    /// The jobs that were claimed for these slots, each with the job that had the slot.
    claimed: Vec<(JobId, ClaimedJob, Handed)>,
}

/// The jobs whose slots may be handed over, and where the next jobs wait.
type Series<'a> = HashMap<JobId, (&'a Handover, Arc<Prefetch>)>;

fn series_of(group: &[Completion]) -> Series<'_> {
    let now = Instant::now();
    let series = group
        .iter()
        .filter_map(|completion| Some((completion.run.claim.job_id(), completion.handover(now)?)));
    series.collect()
}

/// Records the outcomes of the runs of one process.
pub(crate) struct Recorder {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) process_name: String,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) hooks: Hooks,
    pub(crate) freed_keys: Arc<FreedKeys>,
    pub(crate) ended_in_batches: Arc<EndedInBatches>,
    pub(crate) counts: Arc<EndCounts>,
}

impl Recorder {
    /// Tries once to write a group, in which either all jobs finished or none did.
    pub(crate) async fn try_write(
        &self,
        connection: &mut Connection,
        group: &[Completion],
    ) -> Result<Written, WriteError> {
        let began = Instant::now();
        // An error of connecting has nothing to do with this group.
        connection
            .connect()
            .await
            .map_err(WriteError::Unavailable)?;
        // Between the claims and their entry in the jobs in flight, no reconciliation may be under way.
        let claiming = self.in_flight.claiming.try_read();
        let series = match claiming {
            Ok(_) => series_of(group),
            Err(_) => Series::default(),
        };
        let write = async |conn: &mut PgConnection| self.write(conn, group, &series).await;
        let writing = connection.run(write).await;
        if writing.is_err() && !series.is_empty() {
            let timer = &self.in_flight.reconcile_timer;
            timer.note_failed_claim(Instant::now());
        }
        let mut written = writing.map_err(WriteError::of)?;
        // Only now are the claims committed.
        self.start_handed(&series, &mut written);
        drop(claiming);
        let waits = group
            .iter()
            .filter_map(|completion| completion.end()?.event());
        let events: Vec<String> = waits.map(str::to_owned).collect();
        if !events.is_empty() {
            // One that was emitted meanwhile may have been closed before these waits were committed.
            let schema = &self.schema;
            let waking = connection.run(async |conn| wake_if_emitted(conn, schema, &events).await);
            waking.await.map_err(WriteError::of)?;
        }
        note_record(group.len(), began);
        Ok(written)
    }

    async fn write(
        &self,
        conn: &mut PgConnection,
        group: &[Completion],
        series: &Series<'_>,
    ) -> Result<Written, sqlx::Error> {
        let (schema, process) = (&self.schema, self.process);
        let runs: Vec<Run> = group.iter().map(|completion| completion.run).collect();
        let ends: Vec<(Run, &End)> = group
            .iter()
            .filter_map(|completion| Some((completion.run, completion.end()?)))
            .collect();
        let mut written = if ends.is_empty() {
            self.finish(conn, &runs, series).await?
        } else {
            let ended = end(conn, schema, process, &self.process_name, &ends).await?;
            Written {
                became: ended.into_iter().collect(),
                ..Written::default()
            }
        };
        if written.became.len() < runs.len() {
            let is_gone = |run: &Run| !written.became.contains_key(&run.claim.job_id());
            let gone: Vec<Run> = runs.into_iter().filter(is_gone).collect();
            let others = was_written(conn, schema, &gone).await?;
            written.became.extend(others);
        }
        Ok(written)
    }

    /// Finishes jobs, and claims blocked jobs for the slots that they hand over.
    async fn finish(
        &self,
        conn: &mut PgConnection,
        runs: &[Run],
        series: &Series<'_>,
    ) -> Result<Written, sqlx::Error> {
        let (schema, process) = (&self.schema, self.process);
        let done = if series.is_empty() {
            let finished = finish(conn, schema, process, runs).await?;
            HandOver {
                finished,
                ..HandOver::default()
            }
        } else {
            let offers = series.iter();
            let offers = offers.map(|(job, (handover, _))| (*job, handover.last.as_ref()));
            let offers: Vec<(JobId, Option<&Handed>)> = offers.collect();
            hand_over(conn, schema, process, runs, &offers).await?
        };
        let became = Became::Finished(Outcome::Done);
        let finished = done.finished.into_iter().map(|job| (job, became));
        Ok(Written {
            became: finished.collect(),
            claimed: done.claimed,
            ..Written::default()
        })
    }

    /// Lets the jobs start that were claimed for slots that were handed over.
    fn start_handed(&self, series: &Series<'_>, written: &mut Written) {
        for (before, job, handed) in written.claimed.drain(..) {
            if let Some((handover, prefetch)) = series.get(&before) {
                let entry = self.in_flight.add_handed(&job, handover.continued(handed));
                prefetch.fill(vec![(job, entry)], true);
            }
            written.handed_over.insert(before);
        }
    }

    /// Removes a written group from the jobs in flight, logs what the jobs became, and calls the
    /// hooks.
    pub(crate) fn settle(&self, group: &[Completion], written: &Written) {
        let jobs = || group.iter().map(|completion| &completion.job);
        let freed = jobs().filter(|job| !written.handed_over.contains(&job.claim.job_id()));
        self.freed_keys.add(freed.flat_map(|job| &job.keys));
        self.in_flight.remove(jobs());
        let claims = jobs().map(|job| job.claim);
        self.ended_in_batches
            .add(ended_in_batches(claims, &written.became));
        self.counts.add(ended_runs(group, &written.became));
        for completion in group {
            match written.became.get(&completion.job.claim.job_id()) {
                Some(became) => self.report(completion, *became),
                None => report_lost(&completion.job, self.logged(completion)),
            }
        }
    }

    fn logged<'a>(&self, completion: &'a Completion) -> Logged<'a> {
        Logged::of(&completion.job.context, self.hooks.privacy.shows_user)
    }

    /// Logs what a job became, and calls the hooks.
    fn report(&self, completion: &Completion, became: Became) {
        let end = match became {
            Became::Finished(Outcome::Done) => None,
            _ => completion.end(),
        };
        let privacy = &*self.hooks.privacy;
        let failure = end.and_then(End::error);
        let error = failure.map(|error| &*error.message);
        let delay = end.and_then(End::delay);
        let logged = error.map(|error| privacy.redaction.logged(&completion.job.kind, error));
        let origin = self.logged(completion);
        log(&completion.job, origin, became, logged.as_deref(), delay);
        let Some(job) = completion.for_hooks.as_deref() else {
            return;
        };
        let event = JobEvent {
            job_id: job.claim.job_id(),
            shard: self.hooks.shard.as_deref(),
            kind: &job.kind,
            queue: &job.queue,
            tags: &job.tags,
            context: &completion.job.context,
            args: &job.args,
            attempt: job.claim.attempt(),
            failures: job
                .failures
                .saturating_add(end.is_some_and(End::is_failure).into()),
            attempts_max: job.attempts_max,
            error,
            backtrace: failure.and_then(|error| error.backtrace.as_deref()),
            retry_after: delay,
            waited: Some(completion.waited),
            ran: Some(completion.run.ran),
            privacy,
        };
        self.hooks.call(became, &event);
    }
}

/// Returns whether a transient error concerns this statement rather than the database: it waited
/// too long for a lock, or took too long.
fn is_about_the_statement(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "55P03" || code == "57014")
}

/// Returns the runs whose ends this process has recorded.
fn ended_runs<'a>(
    group: &'a [Completion],
    became: &HashMap<JobId, Became>,
) -> impl Iterator<Item = EndedRun<'a>> {
    group.iter().filter_map(|completion| {
        let job = &completion.job;
        Some(EndedRun {
            queue: &job.queue,
            kind: &job.kind,
            became: *became.get(&job.claim.job_id())?,
            is_error: completion.end().is_some_and(|end| end.error().is_some()),
            times: (!completion.run.ran.is_zero())
                .then_some((completion.waited, completion.run.ran)),
        })
    })
}

/// Returns the jobs of batches that have ended.
fn ended_in_batches(claims: impl Iterator<Item = Claim>, became: &HashMap<JobId, Became>) -> Ended {
    let mut ended = Ended::default();
    for claim in claims {
        let became = became.get(&claim.job_id());
        if let (Some(batch), Some(Became::Finished(_) | Became::Failed)) = (claim.batch(), became) {
            ended.batches.insert(batch);
            ended.jobs.insert(claim.job_id());
        }
    }
    ended
}

/// Logs an event about a job, with where it comes from.
macro_rules! log_job {
    ($level:ident, $job:ident, $origin:ident, $($rest:tt)*) => {
        tracing::$level!(
            job_id = %$job.claim.job_id(),
            kind = $job.kind,
            queue = $job.queue,
            attempt = $job.claim.attempt(),
            tenant = $origin.tenant,
            request_id = $origin.request_id,
            trace_id = $origin.trace_id,
            user = $origin.user,
            $($rest)*
        )
    };
}

fn log(
    job: &InFlightJob,
    origin: Logged<'_>,
    became: Became,
    error: Option<&str>,
    delay: Option<Duration>,
) {
    let delay = delay.map(field::debug);
    match became {
        Became::Finished(Outcome::Done) => log_job!(debug, job, origin, "finished"),
        Became::Finished(outcome) => {
            log_job!(info, job, origin, error, "{}", outcome.as_str());
        }
        Became::Failed => log_job!(error, job, origin, error, "failed for good"),
        Became::Scheduled if error.is_some() => {
            log_job!(warn, job, origin, error, delay, "failed; retrying");
        }
        Became::Scheduled => log_job!(debug, job, origin, delay, "snoozed"),
        Became::Ready => log_job!(debug, job, origin, "given back"),
    }
}

fn report_lost(job: &InFlightJob, origin: Logged<'_>) {
    note_lost(&job.queue, &job.kind);
    let message = "outcome ignored: the job now belongs to another process";
    log_job!(warn, job, origin, "{message}");
}
