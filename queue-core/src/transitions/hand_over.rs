//! claimed → finished (done), and blocked → claimed with the slots of those runs

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{PgConnection, Row as _};

use super::claim::{ClaimedJob, claimed_jobs};
use super::run::{Run, micros};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const HAND_OVER: &str = concat!(
    include_str!("hand_over.sql"),
    include_str!("claimed_jobs.sql"),
    include_str!("free.sql")
);

const HAND_OVER_IN_BATCHES: &str = concat!(
    include_str!("hand_over.sql"),
    include_str!("claimed_jobs.sql"),
    include_str!("count_ended.sql"),
    include_str!("count.sql"),
    include_str!("free.sql")
);

/// Where the last handover of a slot left off.
#[derive(Debug)]
pub struct Handed {
    /// The priority and place in line of the job that got the slot.
    line: (i16, i64),
    /// The physical place of the slot's row.
    slot: String,
}

/// What [`hand_over`] did.
#[derive(Debug, Default)]
pub struct HandOver {
    /// The jobs whose runs it ended.
    pub finished: Vec<JobId>,
    /// The jobs that it claimed: each with the job whose slot it got.
    pub claimed: Vec<(JobId, ClaimedJob, Handed)>,
}

/// Finishes the jobs of runs that succeeded, as [`finish`](super::finish::finish) does, and claims
/// blocked jobs for the slots of some of them: each with how the slot was handed over to it, unless a
/// claim took it.
///
/// # Errors
/// If the connection broke, the claims may have been committed all the same.
pub async fn hand_over(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    runs: &[Run],
    offers: &[(JobId, Option<&Handed>)],
) -> Result<HandOver, sqlx::Error> {
    let keyed = runs.iter().filter(|run| run.claim.has_key);
    let statement = match runs.iter().any(|run| run.claim.batch.is_some()) {
        true => HAND_OVER_IN_BATCHES,
        false => HAND_OVER,
    };
    let last = || offers.iter().map(|(_, last)| *last);
    let rows = schema
        .query(statement)
        .bind(process.0)
        .bind(runs.iter().map(|run| run.claim.job_id).bind_iter())
        .bind(runs.iter().map(|run| run.claim.attempt).bind_iter())
        .bind(runs.iter().map(|run| micros(run.ran)).bind_iter())
        .bind(keyed.map(|run| run.claim.job_id).bind_iter())
        .bind(offers.iter().map(|(job, _)| *job).bind_iter())
        .bind(last().map(|last| last.map(|last| last.line.0)).bind_iter())
        .bind(last().map(|last| last.map(|last| last.line.1)).bind_iter())
        .bind(last().map(|last| last.map(|last| &last.slot)).bind_iter())
        .fetch_all(conn)
        .await?;
    let mut done = HandOver::default();
    let mut claimed = Vec::new();
    for row in &rows {
        match row.try_get("decision")? {
            "claimed" => claimed.push(row),
            _ => done.finished.push(row.try_get("before")?),
        }
    }
    let jobs = claimed_jobs(claimed.iter().copied())?;
    for (row, job) in claimed.into_iter().zip(jobs) {
        let handed = Handed {
            line: (job.priority, job.seq),
            slot: row.try_get("slot")?,
        };
        done.claimed.push((row.try_get("before")?, job, handed));
    }
    Ok(done)
}
