//! claimed → scheduled, ready, failed or finished (discarded, cancelled), as each run asks

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt as _;

use super::run::{AttemptError, Became, Claim, Ending, Run, micros, millis, storable};
use crate::job::{JobId, Outcome};
use crate::process::ProcessId;
use crate::sql::Schema;

const END: &str = concat!(include_str!("end.sql"), include_str!("free.sql"));
const END_IN_BATCHES: &str = concat!(
    include_str!("end.sql"),
    include_str!("count_ended.sql"),
    include_str!("count.sql"),
    include_str!("free.sql")
);
const UNKNOWN_CLAIMS: &str = include_str!("unknown_claims.sql");
const WAS_WRITTEN: &str = include_str!("was_written.sql");

/// How a run that did not finish its job ends.
#[derive(Clone, Debug)]
pub enum End {
    /// claimed → scheduled, after an error.
    Retry {
        /// What went wrong.
        error: AttemptError,
        /// How long to wait before the next attempt.
        delay: Duration,
    },
    /// claimed → scheduled, because the job asked to run later. Counts as no failure.
    Snooze {
        /// How long to wait.
        delay: Duration,
    },
    /// claimed → scheduled, to be woken by an event. Counts as no failure.
    Wait {
        /// The event.
        event: String,
        /// How long to wait at most.
        timeout: Duration,
    },
    /// claimed → failed: the job does not run again unless an operator retries it.
    Fail {
        /// What went wrong.
        error: AttemptError,
    },
    /// claimed → finished, without success.
    Discard {
        /// What went wrong.
        error: AttemptError,
        /// Discarded or cancelled.
        outcome: Outcome,
    },
    /// claimed → ready, at its old place in line: the job did not begin, or its process stops. Counts as
    /// no failure; the next claim is another attempt.
    Release,
}

impl End {
    /// Returns the error that ends the run, if there is one.
    pub fn error(&self) -> Option<&AttemptError> {
        match self {
            Self::Retry { error, .. } | Self::Fail { error } | Self::Discard { error, .. } => {
                Some(error)
            }
            Self::Snooze { .. } | Self::Wait { .. } | Self::Release => None,
        }
    }

    /// Returns whether the run counts as a failure of the job.
    pub fn is_failure(&self) -> bool {
        self.error()
            .is_some_and(|error| error.ending != Ending::Step)
    }

    /// Replaces characters of the error that not every encoding of a database has. Returns whether there
    /// were any.
    pub fn make_ascii(&mut self) -> bool {
        let (Self::Retry { error, .. } | Self::Fail { error } | Self::Discard { error, .. }) = self
        else {
            return false;
        };
        let texts = [Some(&mut error.message), error.backtrace.as_mut()];
        texts.into_iter().flatten().fold(false, |changed, text| {
            let is_ascii = text.is_ascii();
            *text = text.replace(|c: char| !c.is_ascii(), "?");
            changed || !is_ascii
        })
    }

    /// Returns how long the job waits before its next run, if it is scheduled for one.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Retry { delay, .. } | Self::Snooze { delay } => Some(*delay),
            Self::Wait { timeout, .. } => Some(*timeout),
            Self::Fail { .. } | Self::Discard { .. } | Self::Release => None,
        }
    }

    /// Returns the event that the job waits for.
    pub fn event(&self) -> Option<&str> {
        match self {
            Self::Wait { event, .. } => Some(event),
            _ => None,
        }
    }

    fn asked(&self) -> &'static str {
        match self {
            Self::Retry { .. } | Self::Snooze { .. } | Self::Wait { .. } => "scheduled",
            Self::Fail { .. } => "failed",
            Self::Discard { outcome, .. } => outcome.as_str(),
            Self::Release => "ready",
        }
    }
}

/// Ends runs, and returns what their jobs became: what the run asks for, or cancelled if the job was
/// asked to cancel meanwhile. A run whose claim is gone is not in the answer.
pub async fn end(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    process_name: &str,
    ends: &[(Run, &End)],
) -> Result<Vec<(JobId, Became)>, sqlx::Error> {
    let statement = match ends.iter().any(|(run, _)| run.claim.batch.is_some()) {
        true => END_IN_BATCHES,
        false => END,
    };
    let runs = || ends.iter().map(|(run, _)| run);
    let ends = || ends.iter().map(|(_, end)| end);
    let errors = || ends().map(|end| end.error());
    let endings = errors().map(|error| Some(error?.ending.as_str()));
    let messages = errors().map(|error| Some(storable(&error?.message)));
    let backtraces = errors().map(|error| Some(storable(error?.backtrace.as_deref()?)));
    let rows: Vec<(JobId, String, i64)> = schema
        .query_as(statement)
        .bind(process.0)
        .bind(runs().map(|run| run.claim.job_id).bind_iter())
        .bind(runs().map(|run| run.claim.attempt).bind_iter())
        .bind(runs().map(|run| micros(run.ran)).bind_iter())
        .bind(ends().map(|end| end.asked()).bind_iter())
        .bind(ends().map(|end| end.delay().map(millis)).bind_iter())
        .bind(endings.bind_iter())
        .bind(messages.bind_iter())
        .bind(backtraces.bind_iter())
        .bind(process_name)
        .bind(ends().map(|end| end.event()).bind_iter())
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|(id, word, _notified)| Ok((id, word.parse()?)))
        .collect()
}

/// Makes claimed jobs ready again, at their old places in line, and returns those it released.
pub async fn release(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    claims: &[Claim],
) -> Result<Vec<JobId>, sqlx::Error> {
    let ends: Vec<(Run, &End)> = claims
        .iter()
        .map(|&claim| (Run::not_begun(claim), &End::Release))
        .collect();
    // A release keeps no attempt, so the name of the process is not needed.
    let ended = end(conn, schema, process, "", &ends).await?;
    Ok(ended.into_iter().map(|(job, _)| job).collect())
}

/// Releases the jobs that are claimed for a process beside the claims it knows of: those claims were
/// committed, but the answer was lost with the connection. No claim of the process may be under way.
/// Returns the jobs it released.
pub async fn release_unknown(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    known: &[Claim],
) -> Result<Vec<JobId>, sqlx::Error> {
    let rows: Vec<(JobId, i32)> = schema
        .query_as(UNKNOWN_CLAIMS)
        .bind(process.0)
        .bind(known.iter().map(|claim| claim.job_id).bind_iter())
        .bind(known.iter().map(|claim| claim.attempt).bind_iter())
        .fetch_all(&mut *conn)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let unknown: Vec<Claim> = rows
        .into_iter()
        .map(|(job_id, attempt)| Claim {
            job_id,
            attempt,
            has_key: true,
            // It is released, which is not counted.
            batch: None,
        })
        .collect();
    release(conn, schema, process, &unknown).await
}

/// Finds which runs whose claim is gone have their outcome recorded, and returns what their jobs became.
pub async fn was_written(
    conn: &mut PgConnection,
    schema: &Schema,
    runs: &[Run],
) -> Result<Vec<(JobId, Became)>, sqlx::Error> {
    let rows: Vec<(JobId, String)> = schema
        .query_as(WAS_WRITTEN)
        .bind(runs.iter().map(|run| run.claim.job_id).bind_iter())
        .bind(runs.iter().map(|run| run.claim.attempt).bind_iter())
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|(id, word)| Ok((id, word.parse()?)))
        .collect()
}
