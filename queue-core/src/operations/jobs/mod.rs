//! Retrying, discarding, cancelling, running anyway, rescheduling and changing the priority: one job, several,
//! or all that match a filter.
//!
//! A job that the action does not apply to is not changed, and is returned with the reason. Many jobs
//! are changed in batches. Each batch is committed by itself unless the connection is in a transaction.

mod action;

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use action::{JobAction, Refusal, StateRefused};

use crate::batches::{of_jobs, settle_all};
use crate::inspect::{COUNT_MAX, Count, JobFilter, JobSummary, jobs as inspect};
use crate::job::{JobId, Outcome};
use crate::queue::Queue;
use crate::sql::Schema;
use crate::transitions::cancel::{cancel, cancel_waiting};
use crate::transitions::millis;
use crate::transitions::prioritize::prioritize;
use crate::transitions::reschedule::reschedule;
use crate::transitions::retry_now::retry_now;
use crate::transitions::unblock::run_anyway;

/// The most jobs in one batch.
pub const BATCH_JOBS_MAX: u32 = 1_000;

/// Why one job was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The action does not apply to the job, or another transaction was changing it.
    #[error("job {job} was not changed: {reason}")]
    Refused {
        /// The job.
        job: JobId,
        /// Why it was not changed.
        reason: Refusal,
    },
    /// The database returned an error, or could not be reached.
    #[error("could not change the job")]
    Database(#[from] sqlx::Error),
}

/// Why matching jobs were not counted or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The filter names a state that the action does not apply to.
    #[error(transparent)]
    State(#[from] StateRefused),
    /// The database returned an error, or could not be reached.
    #[error("could not change the jobs")]
    Database(#[from] sqlx::Error),
}

/// Which jobs were changed, and which were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The jobs that were changed.
    pub changed: Vec<JobId>,
    /// The running jobs that were asked to stop.
    pub asked_to_stop: Vec<JobId>,
    /// The jobs that were not changed, with the reason.
    pub refused: Vec<(JobId, Refusal)>,
}

impl Changes {
    /// Returns the number of jobs, changed or not.
    pub fn jobs(&self) -> usize {
        self.changed.len() + self.asked_to_stop.len() + self.refused.len()
    }

    /// Adds further jobs.
    pub fn extend(&mut self, further: Self) {
        self.changed.extend(further.changed);
        self.asked_to_stop.extend(further.asked_to_stop);
        self.refused.extend(further.refused);
    }
}

/// The result of one batch of matching jobs.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which jobs of the batch were changed, and which were not.
    pub changes: Changes,
    /// The next batch has the jobs with smaller ids than this one; none after the last batch.
    pub next: Option<JobId>,
}

/// What cancelling did to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The job was waiting, and is cancelled.
    Ended,
    /// The job is running, and was asked to stop. It is cancelled when it stops.
    AskedToStop,
}

impl Queue {
    /// Makes a failed job ready with its failures set to zero, or a job that is scheduled for another
    /// attempt ready at once.
    ///
    /// # Errors
    /// Refuses a job in another state, and one whose unique key another job holds.
    pub async fn retry(&self, job: JobId) -> Result<(), JobError> {
        self.change_one(JobAction::Retry, job).await.map(drop)
    }

    /// Ends a waiting or failed job: it becomes finished (discarded).
    ///
    /// # Errors
    /// Refuses a job that is running or finished.
    pub async fn discard(&self, job: JobId) -> Result<(), JobError> {
        self.change_one(JobAction::Discard, job).await.map(drop)
    }

    /// Cancels a waiting job, or asks a running one to stop.
    ///
    /// # Errors
    /// Refuses a job that has failed, is finished, or was asked to stop before.
    pub async fn cancel(&self, job: JobId) -> Result<Cancelled, JobError> {
        let changes = self.change_one(JobAction::Cancel, job).await?;
        Ok(match changes.asked_to_stop.is_empty() {
            true => Cancelled::Ended,
            false => Cancelled::AskedToStop,
        })
    }

    /// Makes a blocked job ready although its limits have no room.
    ///
    /// # Errors
    /// Refuses a job that is not blocked.
    pub async fn run_anyway(&self, job: JobId) -> Result<(), JobError> {
        self.change_one(JobAction::RunAnyway, job).await.map(drop)
    }

    /// Lets a waiting job wait until a time. If that has come, a scheduled job becomes ready.
    ///
    /// # Errors
    /// Refuses a job that does not wait, or waits for other jobs.
    pub async fn reschedule(&self, job: JobId, at: DateTime<Utc>) -> Result<(), JobError> {
        let action = JobAction::Reschedule(at);
        self.change_one(action, job).await.map(drop)
    }

    /// Gives a waiting job another priority, now and for further attempts. A ready job is then behind the
    /// others of that priority.
    ///
    /// # Errors
    /// Refuses a job that does not wait, or has this priority.
    pub async fn prioritize(&self, job: JobId, priority: i16) -> Result<(), JobError> {
        let action = JobAction::Prioritize(priority);
        self.change_one(action, job).await.map(drop)
    }

    /// Counts the jobs that match, up to [`COUNT_MAX`], before
    /// [`change_matching`](Self::change_matching) changes them.
    ///
    /// # Errors
    /// Refuses a filter that names a state the action does not apply to.
    pub async fn count_matching(
        &self,
        action: JobAction,
        filter: &JobFilter,
    ) -> Result<Count, BulkError> {
        self.in_transaction(async |conn| count(conn, &self.schema, action, filter).await)
            .await
    }

    /// Changes all jobs that match, in batches that are committed one by one. A filter without states
    /// means [`JobAction::default_states`].
    ///
    /// ```no_run
    /// use queue_core::inspect::JobFilter;
    /// use queue_core::operations::jobs::{BulkError, JobAction};
    ///
    /// # async fn example(queue: queue_core::Queue) -> Result<(), BulkError> {
    /// let failed_mail = JobFilter {
    ///     queue: Some("mail".to_owned()),
    ///     ..JobFilter::default()
    /// };
    /// println!("{} jobs", queue.count_matching(JobAction::Retry, &failed_mail).await?);
    /// let changes = queue.change_matching(JobAction::Retry, &failed_mail).await?;
    /// println!("retried {}, left {}", changes.changed.len(), changes.refused.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Refuses a filter that names a state the action does not apply to. When the database returns an
    /// error, the batches before it stay committed.
    pub async fn change_matching(
        &self,
        action: JobAction,
        filter: &JobFilter,
    ) -> Result<Changes, BulkError> {
        let mut all = Changes::default();
        let mut below = None;
        loop {
            let batch = self
                .in_transaction(async |conn| {
                    change_batch(conn, &self.schema, action, filter, below).await
                })
                .await?;
            self.settle_batches_of(&batch.changes.changed).await?;
            all.extend(batch.changes);
            below = batch.next;
            if below.is_none() {
                return Ok(all);
            }
        }
    }

    /// Settles what jobs were the last of, after the commit of their ends: another job may have ended at the
    /// same moment.
    async fn settle_batches_of(&self, jobs: &[JobId]) -> Result<(), sqlx::Error> {
        self.in_transaction(async |conn| settle_batches_of(conn, &self.schema, jobs).await)
            .await
    }

    async fn change_one(&self, action: JobAction, job: JobId) -> Result<Changes, JobError> {
        let change = async |conn: &mut _| change(conn, &self.schema, action, &[job]).await;
        let mut changes = self.in_transaction(change).await?;
        self.settle_batches_of(&changes.changed).await?;
        match changes.refused.pop() {
            Some((job, reason)) => Err(JobError::Refused { job, reason }),
            None => Ok(changes),
        }
    }
}

/// Returns the time at which a wait from now is over, by the clock of the database.
pub async fn time_in(
    conn: &mut PgConnection,
    wait: Duration,
) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar("select statement_timestamp() + $1 * interval '1 millisecond'")
        .bind(millis(wait))
        .fetch_one(conn)
        .await
}

/// Changes jobs by id, in batches. When the database returns an error, the batches before it stay
/// committed.
pub async fn change(
    conn: &mut PgConnection,
    schema: &Schema,
    action: JobAction,
    jobs: &[JobId],
) -> Result<Changes, sqlx::Error> {
    let mut jobs = jobs.to_vec();
    jobs.sort_unstable();
    jobs.dedup();
    let mut changes = Changes::default();
    for batch in jobs.chunks(BATCH_JOBS_MAX as usize) {
        let found = find(conn, schema, batch).await?;
        let (fit, unfit): (Vec<JobSummary>, Vec<JobSummary>) =
            found.into_iter().partition(|job| action.applies_to(job));
        let ids: Vec<JobId> = fit.iter().map(|job| job.id).collect();
        changes.refuse(action, &without(batch, &ids), &unfit);
        changes.extend(apply(conn, schema, action, &ids).await?);
    }
    Ok(changes)
}

/// Counts the jobs that match a filter for an action, up to [`COUNT_MAX`].
///
/// # Errors
/// Refuses a filter that names a state the action does not apply to.
pub async fn count(
    conn: &mut PgConnection,
    schema: &Schema,
    action: JobAction,
    filter: &JobFilter,
) -> Result<Count, BulkError> {
    let filter = action.complete(filter.clone())?;
    Ok(inspect::count(conn, schema, &filter, COUNT_MAX).await?)
}

/// Changes one batch of matching jobs, newest first: those with smaller ids than `below`. Returns where
/// the next batch begins.
///
/// # Errors
/// Refuses a filter that names a state the action does not apply to.
pub async fn change_batch(
    conn: &mut PgConnection,
    schema: &Schema,
    action: JobAction,
    filter: &JobFilter,
    below: Option<JobId>,
) -> Result<Batch, BulkError> {
    let filter = action.complete(filter.clone())?;
    let jobs = inspect::ids(conn, schema, &filter, below, BATCH_JOBS_MAX).await?;
    Ok(Batch {
        changes: apply(conn, schema, action, &jobs).await?,
        next: jobs.last().copied(),
    })
}

/// Changes the jobs of a batch, and looks up why others were not changed.
pub(super) async fn apply(
    conn: &mut PgConnection,
    schema: &Schema,
    action: JobAction,
    jobs: &[JobId],
) -> Result<Changes, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(Changes::default());
    }
    let mut changes = transition(conn, schema, action, jobs).await?;
    settle_batches_of(conn, schema, &changes.changed).await?;
    let left = without(jobs, changes.changed.iter().chain(&changes.asked_to_stop));
    if !left.is_empty() {
        let found = find(conn, schema, &left).await?;
        changes.refuse(action, &left, &found);
    }
    Ok(changes)
}

async fn transition(
    conn: &mut PgConnection,
    schema: &Schema,
    action: JobAction,
    jobs: &[JobId],
) -> Result<Changes, sqlx::Error> {
    let mut changes = Changes::default();
    match action {
        JobAction::Retry => changes.changed = retry_now(conn, schema, jobs).await?,
        JobAction::Discard => {
            changes.changed = cancel_waiting(conn, schema, jobs, Outcome::Discarded).await?;
        }
        JobAction::Cancel => {
            let cancelled = cancel(conn, schema, jobs).await?;
            changes.changed = cancelled.ended;
            changes.asked_to_stop = cancelled.asked;
        }
        JobAction::RunAnyway => changes.changed = run_anyway(conn, schema, jobs).await?,
        JobAction::Reschedule(at) => changes.changed = reschedule(conn, schema, jobs, at).await?,
        JobAction::Prioritize(priority) => {
            changes.changed = prioritize(conn, schema, jobs, priority).await?;
        }
    }
    Ok(changes)
}

/// Settles what jobs were the last of.
async fn settle_batches_of(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<(), sqlx::Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ended = of_jobs(conn, schema, jobs).await?;
    settle_all(conn, schema, ended).await
}

async fn find(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobSummary>, sqlx::Error> {
    let named = JobFilter {
        ids: Some(jobs.to_vec()),
        ..JobFilter::default()
    };
    inspect::list(conn, schema, &named, None, BATCH_JOBS_MAX).await
}

impl Changes {
    /// Adds the jobs that were not changed, with the reason for each.
    fn refuse(&mut self, action: JobAction, left: &[JobId], found: &[JobSummary]) {
        let reasons = found.iter().map(|job| (job.id, action.refusal(job)));
        self.refused.extend(reasons);
        let unknown = without(left, found.iter().map(|job| &job.id));
        let unknown = unknown.into_iter().map(|job| (job, Refusal::Unknown));
        self.refused.extend(unknown);
    }
}

fn without<'a>(jobs: &[JobId], others: impl IntoIterator<Item = &'a JobId>) -> Vec<JobId> {
    let others: HashSet<&JobId> = others.into_iter().collect();
    let left = jobs.iter().filter(|job| !others.contains(job));
    left.copied().collect()
}
