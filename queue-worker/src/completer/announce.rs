//! Calls the hooks about jobs that ended without a completion: their process died, or a limit left
//! them no room.

use std::collections::HashMap;

use queue_core::transitions::Became;
use queue_core::transitions::claim_limited::{LimitedClaim, Parked};
use queue_core::transitions::facts::{Facts, facts};
use queue_core::{Context, JobId, Outcome, Schema};

use super::counts::{EndCounts, EndedRun};
use crate::app::hooks::{Hooks, JobEvent};
use crate::connection::{Connection, RetryDelay, logged};

/// The most jobs whose arguments are in memory at once.
const BATCH_MAX: usize = 100;

/// How often the jobs are read, if the database fails. Their ends are recorded already.
const TRIES: usize = 6;

/// A job that this process has ended or retried, but not run.
#[derive(Clone, Debug)]
pub(crate) struct EndedJob {
    pub(crate) job_id: JobId,
    /// The number of its last run, in another process.
    pub(crate) attempt: i32,
    pub(crate) failures: i16,
    pub(crate) became: Became,
    pub(crate) reason: String,
}

impl EndedJob {
    /// Returns the jobs that a limit ended during a claim, and logs and counts them. They never ran.
    pub(crate) fn dropped(claim: &LimitedClaim, counts: &EndCounts) -> Vec<Self> {
        let jobs = claim.parked.iter().chain(&claim.replaced);
        let dropped: Vec<(&Parked, Self)> =
            jobs.filter_map(|job| Some((job, Self::of(job)?))).collect();
        counts.add(
            dropped
                .iter()
                .map(|(job, ended)| EndedRun::elsewhere(&job.queue, &job.kind, ended.became)),
        );
        dropped.into_iter().map(|(_, ended)| ended).collect()
    }

    fn of(job: &Parked) -> Option<Self> {
        let (outcome, reason) = match job.decision.as_str() {
            "discarded" => (Outcome::Discarded, "has no room"),
            "cancelled" | "replaced" => (Outcome::Cancelled, "has a newer job"),
            _ => return None,
        };
        tracing::info!(
            job_id = %job.job_id,
            kind = job.kind,
            queue = job.queue,
            tenant = job.tenant,
            key = job.key,
            outcome = outcome.as_str(),
            "the limit of the job left no room; the job has ended",
        );
        Some(Self {
            job_id: job.job_id,
            attempt: 0,
            failures: 0,
            became: Became::Finished(outcome),
            reason: format!("the limit of the key `{}` {reason}", job.key),
        })
    }
}

/// Calls the hooks about jobs, with what they need to know, if there are any hooks.
pub(crate) async fn announce(
    hooks: &Hooks,
    connection: &mut Connection,
    schema: &Schema,
    jobs: &[EndedJob],
) {
    if !hooks.need_errors() {
        return;
    }
    for batch in jobs.chunks(BATCH_MAX) {
        let facts = read(connection, schema, batch).await;
        for job in batch {
            if let Some(facts) = facts.get(&job.job_id) {
                let context = facts.context();
                hooks.call(job.became, &event(job, facts, &context, hooks));
            }
        }
    }
}

fn event<'a>(
    job: &'a EndedJob,
    facts: &'a Facts,
    context: &'a Context,
    hooks: &'a Hooks,
) -> JobEvent<'a> {
    JobEvent {
        job_id: job.job_id,
        shard: hooks.shard.as_deref(),
        kind: &facts.kind,
        queue: &facts.queue,
        tags: &facts.tags,
        context,
        args: &facts.args,
        attempt: job.attempt,
        failures: job.failures,
        attempts_max: facts.attempts_max,
        error: Some(&job.reason),
        backtrace: None,
        retry_after: None,
        waited: None,
        ran: None,
        privacy: &hooks.privacy,
    }
}

async fn read(
    connection: &mut Connection,
    schema: &Schema,
    jobs: &[EndedJob],
) -> HashMap<JobId, Facts> {
    let ids: Vec<JobId> = jobs.iter().map(|job| job.job_id).collect();
    let mut delay = RetryDelay::default();
    for _ in 0..TRIES {
        match connection
            .run(async |conn| facts(conn, schema, &ids).await)
            .await
        {
            Ok(found) => {
                return found
                    .into_iter()
                    .map(|facts| (facts.job_id, facts))
                    .collect();
            }
            Err(error) => tracing::warn!(
                jobs = ids.len(),
                error = %logged(&error),
                "could not read jobs that ended, to call hooks about them",
            ),
        }
        tokio::time::sleep(delay.next()).await;
    }
    HashMap::new()
}
