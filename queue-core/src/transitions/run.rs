//! What all endings of a run have in common.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::job::{JobId, Outcome};

/// The right to end one run of a job: the job, and the attempt it was claimed for. Only
/// [`claim`](super::claim::claim) makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(crate) job_id: JobId,
    pub(crate) attempt: i32,
    pub(crate) has_key: bool,
}

impl Claim {
    /// Returns the job's id.
    pub fn job_id(self) -> JobId {
        self.job_id
    }

    /// Returns the number of the run that was claimed, from 1.
    pub fn attempt(self) -> i32 {
        self.attempt
    }
}

/// A run that has come to its end, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What was run.
    pub claim: Claim,
    /// For how long.
    pub ran: Duration,
}

impl Run {
    /// Returns the run of a job that was claimed and took no time.
    pub fn unbegun(claim: Claim) -> Self {
        Self {
            claim,
            ran: Duration::ZERO,
        }
    }
}

/// What a job is once its run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is over.
    Finished(Outcome),
    /// It waits for an operator.
    Failed,
    /// It waits for another run, after an error or because it asked to.
    Scheduled,
    /// It waits for another run at its old place in line.
    Ready,
}

/// Reads what a statement says that a job became.
pub(super) fn became(word: &str) -> Result<Became, sqlx::Error> {
    Ok(match word {
        "done" => Became::Finished(Outcome::Done),
        "discarded" => Became::Finished(Outcome::Discarded),
        "cancelled" => Became::Finished(Outcome::Cancelled),
        "failed" => Became::Failed,
        "scheduled" => Became::Scheduled,
        "ready" => Became::Ready,
        other => return Err(sqlx::Error::Decode(format!("unknown end `{other}`").into())),
    })
}

/// How an attempt ended that did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The job returned an error.
    Error,
    /// The job panicked.
    Panic,
    /// The job ran longer than it may.
    Timeout,
    /// The job was asked to stop, and did.
    Cancelled,
    /// The job's arguments do not fit its type.
    Undecodable,
}

impl Ending {
    /// Returns the word that stands for it in `attempts`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Undecodable => "undecodable",
        }
    }
}

/// What went wrong in an attempt, as it is kept.
#[derive(Clone, Debug)]
pub struct AttemptError {
    /// How the attempt ended.
    pub ending: Ending,
    /// The error and its causes.
    pub message: String,
    /// Where it happened, if known.
    pub backtrace: Option<String>,
}

impl AttemptError {
    /// Makes an error without a backtrace.
    pub fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self {
            ending,
            message: message.into(),
            backtrace: None,
        }
    }
}

/// The columns of several runs, as the statements take them.
#[derive(Default)]
pub(super) struct RunColumns {
    pub(super) job_ids: Vec<i64>,
    pub(super) attempts: Vec<i32>,
    pub(super) ran_us: Vec<i64>,
}

impl RunColumns {
    pub(super) fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let mut columns = Self::default();
        for run in runs {
            columns.job_ids.push(run.claim.job_id.0);
            columns.attempts.push(run.claim.attempt);
            columns.ran_us.push(micros(run.ran));
        }
        columns
    }
}

/// The most bytes of an error or a backtrace that are kept.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Makes a text that Postgres takes: no NUL, and not endless.
pub(super) fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].replace('\0', "\u{fffd}")
}

/// The longest time that is sent: a century. A longer one means for ever, and added to a time it
/// would be one that Postgres refuses.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.min(CENTURY).as_millis()).unwrap_or(i64::MAX)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(CENTURY).as_micros()).unwrap_or(i64::MAX)
}

/// Makes a time that Postgres takes, for a job that is due then: one that is long past is past
/// all the same, and one that nobody will see stays out of sight.
pub(super) fn due(time: DateTime<Utc>) -> DateTime<Utc> {
    time.clamp(
        DateTime::UNIX_EPOCH,
        DateTime::UNIX_EPOCH + TimeDelta::days(10_000 * 365),
    )
}

pub(super) fn job_ids(rows: Vec<(i64,)>) -> Vec<JobId> {
    rows.into_iter().map(|(id,)| JobId(id)).collect()
}

/// Takes the ids from the answer of a statement that also notified.
pub(super) fn notified_job_ids(rows: Vec<(i64, i64)>) -> Vec<JobId> {
    rows.into_iter().map(|(id, _notified)| JobId(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_longer_than_postgres_takes() {
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
        assert_eq!(millis(Duration::MAX), millis(CENTURY));
        assert_eq!(micros(Duration::MAX), micros(CENTURY));
    }

    #[test]
    fn an_error_text_becomes_one_that_postgres_takes() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert!(storable(&"é".repeat(TEXT_BYTES_MAX)).len() <= TEXT_BYTES_MAX);
    }
}
