//! The traits that define how a job's work is done, and what its errors lead to.

use std::fmt::Debug;
use std::time::Duration;

use queue_core::{Job, Keys, Queue};

use super::backoff::Backoff;
use super::context::{Attempt, Cx};

/// Any error that a job returns.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What happens after a run that returned an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The job is retried after the wait of its [`Backoff`], and fails when its attempts are
    /// exhausted.
    Retry,
    /// The job is retried after this wait, and fails when its attempts are exhausted.
    RetryAfter(Duration),
    /// The job runs again after this wait. This costs no attempt and is not an error.
    Snooze(Duration),
    /// The job ends as discarded, without having failed.
    Discard,
    /// The job ends as cancelled: its work is no longer wanted.
    Cancel,
    /// The job fails at once, even if attempts are left.
    Fail,
}

/// How the work of a job is done, for applications with the state `S`.
///
/// ```
/// use queue_worker::{Attempt, Cx, Job, Next, Perform};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Charge { order: i64 }
///
/// impl Job for Charge {
///     const KIND: &'static str = "charge";
/// }
///
/// #[derive(Debug, thiserror::Error)]
/// enum ChargeError {
///     #[error("the card was declined")]
///     Declined,
///     #[error("the provider is busy")]
///     Busy { retry_after: std::time::Duration },
/// }
///
/// struct App;
///
/// impl Perform<App> for Charge {
///     type Error = ChargeError;
///
///     async fn perform(self, _cx: Cx<App>) -> Result<(), ChargeError> {
///         Err(ChargeError::Declined)
///     }
///
///     fn on_error(error: &ChargeError, _attempt: &Attempt) -> Next {
///         match error {
///             ChargeError::Declined => Next::Discard,
///             ChargeError::Busy { retry_after } => Next::RetryAfter(*retry_after),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "no worker with the state `{S}` knows how to perform `{Self}`",
    note = "add `impl Perform<{S}> for {Self}`; `{Self}` also implements `Job`"
)]
pub trait Perform<S>: Job {
    /// The error of the work.
    type Error: Debug + Into<BoxError> + Send;

    /// Does the work. The future may be dropped at any `.await` once the cancellation token has
    /// been cancelled and the grace period is over.
    fn perform(self, cx: Cx<S>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Decides what happens after an error. Unless overridden, the job is retried.
    fn on_error(error: &Self::Error, attempt: &Attempt) -> Next {
        let _ = (error, attempt);
        Next::Retry
    }

    /// Decides what happens when the arguments do not fit this type. Unless overridden, the job is
    /// retried: a process with another version of the program may understand them.
    fn on_undecodable(error: &serde_json::Error, attempt: &Attempt) -> Next {
        let _ = (error, attempt);
        Next::Retry
    }

    /// Returns the waits between attempts.
    fn backoff() -> Backoff {
        Backoff::default()
    }

    /// Returns how long one run may take. Unless overridden there is no limit. A run that takes longer is
    /// asked to stop, dropped after a tenth of this time or after `cancel_grace`, whichever is shorter, and
    /// counts as an error.
    fn timeout() -> Option<Duration> {
        None
    }

    /// Returns whether the steps of a job must come in the same order in each of its attempts, each with a
    /// name of its own. Steps that were added, renamed, removed or moved by a deploy are then an error of the
    /// jobs under way. Unless overridden they are not, and steps are known by their names alone.
    fn strict_steps() -> bool {
        false
    }

    /// Returns whether the last lines that a run logs are kept for `queue jobs show` and the dashboard. Unless
    /// overridden they are not, if the process does not keep those of all kinds (`process.keep_logs`).
    fn keeps_log() -> bool {
        false
    }

    /// Returns how often a job may be interrupted because its process stops. Once more, and it fails. Unless
    /// overridden there is no limit.
    fn resumptions_max() -> Option<u32> {
        None
    }
}

/// How the work of a job is done if it blocks its thread: heavy computation, synchronous I/O.
///
/// It runs on a thread of its own, away from the asynchronous ones. A thread cannot be stopped
/// from outside: long work should check [`Cx::is_cancelled`] now and then. Work that goes on
/// after its timeout keeps its slot until it ends, and its result is ignored.
#[diagnostic::on_unimplemented(
    message = "no worker with the state `{S}` knows how to perform `{Self}` on a thread of its own",
    note = "add `impl PerformBlocking<{S}> for {Self}`; `{Self}` also implements `Job`"
)]
pub trait PerformBlocking<S>: Job {
    /// The error of the work.
    type Error: Debug + Into<BoxError> + Send;

    /// Does the work.
    fn perform(self, cx: Cx<S>) -> Result<(), Self::Error>;

    /// Decides what happens after an error. Unless overridden, the job is retried.
    fn on_error(error: &Self::Error, attempt: &Attempt) -> Next {
        let _ = (error, attempt);
        Next::Retry
    }

    /// Decides what happens when the arguments do not fit this type. Unless overridden, the job is
    /// retried: a process with another version of the program may understand them.
    fn on_undecodable(error: &serde_json::Error, attempt: &Attempt) -> Next {
        let _ = (error, attempt);
        Next::Retry
    }

    /// Returns the waits between attempts.
    fn backoff() -> Backoff {
        Backoff::default()
    }

    /// Returns how long one run may take. Unless overridden there is no limit.
    fn timeout() -> Option<Duration> {
        None
    }

    /// Returns whether the steps of a job must come in the same order in each of its attempts, each with a
    /// name of its own. Steps that were added, renamed, removed or moved by a deploy are then an error of the
    /// jobs under way. Unless overridden they are not, and steps are known by their names alone.
    fn strict_steps() -> bool {
        false
    }

    /// Returns whether the last lines that a run logs are kept for `queue jobs show` and the dashboard. Unless
    /// overridden they are not, if the process does not keep those of all kinds (`process.keep_logs`).
    fn keeps_log() -> bool {
        false
    }

    /// Returns how often a job may be interrupted because its process stops. Once more, and it fails. Unless
    /// overridden there is no limit.
    fn resumptions_max() -> Option<u32> {
        None
    }
}

/// The rules of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) backoff: Backoff,
    pub(crate) timeout: Option<Duration>,
    pub(crate) strict_steps: bool,
    pub(crate) keeps_log: bool,
    pub(crate) resumptions_max: Option<u32>,
    pub(crate) is_encrypted: bool,
}

impl Policy {
    /// Returns the keys with which runs encrypt what they keep, if the kind is encrypted.
    pub(crate) fn keys(&self, queue: &Queue) -> Option<Keys> {
        let keys = queue.schema().keys().filter(|_| self.is_encrypted);
        keys.cloned()
    }
}
