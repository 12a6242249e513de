//! Looks at what was enqueued.

use std::panic::Location;
use std::time::Duration;

use queue_core::inspect::jobs::{list, show};
use queue_core::inspect::{JobDetails, JobFilter};
use queue_core::{Job, JobState, Queue, decode_args};
use serde_json::Value;
use sqlx::PgConnection;

/// The most jobs that are looked at.
const JOBS_MAX: u32 = 1_000;

/// Returns the jobs that wait, oldest first: ready, scheduled and blocked ones. On the connection of an
/// open transaction, these include its own.
///
/// # Panics
/// Panics when the database fails.
pub async fn enqueued(queue: &Queue, conn: &mut PgConnection) -> Vec<JobDetails> {
    let waiting = JobFilter {
        states: vec![JobState::Ready, JobState::Scheduled, JobState::Blocked],
        ..JobFilter::default()
    };
    let listed = list(conn, queue.schema(), &waiting, None, JOBS_MAX).await;
    let mut jobs = Vec::new();
    for job in listed.expect("the jobs should be listed").iter().rev() {
        let shown = show(conn, queue.schema(), job.id).await;
        jobs.extend(shown.expect("the job should be shown"));
    }
    jobs
}

/// Checks that a job of this kind waits, with these arguments, and returns the newest that does, with its
/// queue, tags and more.
///
/// ```no_run
/// # use queue_worker::{Job, Queue, testing};
/// # async fn example<J: Job>(queue: Queue, job: J) -> Result<(), sqlx::Error> {
/// let mut tx = queue.pool().begin().await?;
/// // What is tested enqueues in the transaction.
/// let found = testing::assert_enqueued(&queue, &mut tx, &job).await;
/// assert_eq!((&*found.queue, testing::delay_of(&found).as_secs()), ("mail", 3_600));
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Panics with a list of the jobs that wait when none is like this one.
#[track_caller]
pub fn assert_enqueued<J: Job>(
    queue: &Queue,
    conn: &mut PgConnection,
    job: &J,
) -> impl Future<Output = JobDetails> {
    let asked_at = Location::caller();
    let args = serde_json::to_value(job).expect("the arguments should be JSON");
    async move {
        let mut jobs = enqueued(queue, conn).await;
        let fits = |job: &JobDetails| {
            job.kind == J::KIND && as_written::<J>(job).is_some_and(|written| written == args)
        };
        let Some(found) = jobs.iter().rposition(fits) else {
            let waiting: String = jobs.iter().map(described).collect();
            panic!(
                "{asked_at}: `{}` with {args} does not wait. These jobs do:{waiting}",
                J::KIND
            );
        };
        jobs.swap_remove(found)
    }
}

/// Returns the arguments as the type writes them: Postgres may write a number in another way.
fn as_written<J: Job>(job: &JobDetails) -> Option<Value> {
    let read: J = decode_args(job.args.get()).ok()?;
    serde_json::to_value(read).ok()
}

fn described(job: &JobDetails) -> String {
    let JobDetails {
        kind, args, queue, ..
    } = job;
    let delay = delay_of(job);
    format!("\n  `{kind}` with {args} in `{queue}`, after {delay:?}")
}

/// Returns for how long a job was delayed when it was enqueued, to the nearest second.
pub fn delay_of(job: &JobDetails) -> Duration {
    let delay = job.due_at.map_or(0.0, |due_at| {
        (due_at - job.enqueued_at).as_seconds_f64().round()
    });
    Duration::from_secs_f64(delay.max(0.0))
}
