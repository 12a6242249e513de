//! What the transitions that end runs share.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::job::{BatchId, JobId, Outcome};

/// The right to end one run of a job: the job and its attempt. Only a claim makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(crate) job_id: JobId,
    pub(crate) attempt: i32,
    pub(crate) has_key: bool,
    pub(crate) batch: Option<BatchId>,
}

impl Claim {
    /// Returns the job's id.
    pub fn job_id(self) -> JobId {
        self.job_id
    }

    /// Returns the batch of the job.
    pub fn batch(self) -> Option<BatchId> {
        self.batch
    }

    /// Returns the number of the run that was claimed, from 1.
    pub fn attempt(self) -> i32 {
        self.attempt
    }
}

/// A run that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its claim.
    pub claim: Claim,
    /// How long it took.
    pub ran: Duration,
}

impl Run {
    /// Returns the run of a claimed job that did not begin.
    pub fn not_begun(claim: Claim) -> Self {
        Self {
            claim,
            ran: Duration::ZERO,
        }
    }
}

/// What a job is once its run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is finished.
    Finished(Outcome),
    /// It waits for an operator.
    Failed,
    /// It waits for another run, after an error or a snooze.
    Scheduled,
    /// It waits for another run at its old place in line.
    Ready,
}

impl FromStr for Became {
    type Err = sqlx::Error;

    /// Reads a word of a statement.
    fn from_str(word: &str) -> Result<Self, sqlx::Error> {
        Ok(match word {
            "done" => Self::Finished(Outcome::Done),
            "discarded" => Self::Finished(Outcome::Discarded),
            "cancelled" => Self::Finished(Outcome::Cancelled),
            "failed" => Self::Failed,
            "scheduled" => Self::Scheduled,
            "ready" => Self::Ready,
            other => {
                return Err(sqlx::Error::Decode(
                    format!("unknown state `{other}`").into(),
                ));
            }
        })
    }
}

/// How an attempt ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The job returned an error.
    Error,
    /// The job panicked.
    Panic,
    /// The job ran longer than it may.
    Timeout,
    /// The job was asked to cancel, and stopped.
    Cancelled,
    /// The job's arguments do not fit its type.
    Undecodable,
    /// A step of the job failed, and has tries left. Counts as no failure of the job.
    Step,
}

impl Ending {
    /// Returns its word in the table `attempts`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Undecodable => "undecodable",
            Self::Step => "step",
        }
    }
}

/// The error of an attempt, as it is stored.
#[derive(Clone, Debug)]
pub struct AttemptError {
    /// How the attempt ended.
    pub ending: Ending,
    /// The error and its causes.
    pub message: String,
    /// The backtrace, if there is one.
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

/// The most bytes of an error or a backtrace that are stored.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Returns a text that Postgres accepts: without NUL, and cut at [`TEXT_BYTES_MAX`].
pub(super) fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].replace('\0', "\u{fffd}")
}

/// The longest duration that is sent, a century. Postgres would refuse a time that is much further
/// ahead.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.min(CENTURY).as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(CENTURY).as_micros()).unwrap_or(i64::MAX)
}

/// Returns a due time that Postgres accepts: at the earliest 1970, at the latest 10,000 years later.
pub(crate) fn due(time: DateTime<Utc>) -> DateTime<Utc> {
    time.clamp(
        DateTime::UNIX_EPOCH,
        DateTime::UNIX_EPOCH + TimeDelta::days(10_000 * 365),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_cut_at_a_century() {
        assert_eq!(millis(Duration::from_millis(1_500)), 1_500);
        assert_eq!(millis(Duration::MAX), millis(CENTURY));
        assert_eq!(micros(Duration::MAX), micros(CENTURY));
    }

    #[test]
    fn stored_texts_have_no_nul_and_are_cut() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert!(storable(&"é".repeat(TEXT_BYTES_MAX)).len() <= TEXT_BYTES_MAX);
    }
}
