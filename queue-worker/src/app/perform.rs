//! What a worker must know of a job: how its work is done, and what its errors mean.

use std::fmt::Debug;
use std::time::Duration;

use queue_core::Job;

use super::backoff::Backoff;
use super::context::{Attempt, Cx};

/// Any error, as jobs return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What happens after a run that returned an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The job is tried again after the wait of its [`Backoff`], and fails when its attempts are
    /// exhausted.
    Retry,
    /// The job is tried again after this wait, and fails when its attempts are exhausted.
    RetryAfter(Duration),
    /// The job is put off. This costs no attempt and is no error.
    Snooze(Duration),
    /// The job is given up without being failed.
    Discard,
    /// The job is over: whoever wanted it does not want it any more.
    Cancel,
    /// The job fails at once, whatever attempts are left.
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
    /// What may go wrong.
    type Error: Debug + Into<BoxError> + Send;

    /// Does the work. It may be dropped at any `.await` once its cancellation token has been
    /// cancelled and a period of grace is over.
    fn perform(self, cx: Cx<S>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Decides what happens after an error; it is tried again, unless overridden.
    fn on_error(error: &Self::Error, attempt: &Attempt) -> Next {
        let _ = (error, attempt);
        Next::Retry
    }

    /// Returns the waits between attempts.
    fn backoff() -> Backoff {
        Backoff::default()
    }

    /// Returns how long one run may take; for ever, unless overridden. A run that takes longer is
    /// cancelled, then dropped, and counts as an error.
    fn timeout() -> Option<Duration> {
        None
    }
}

/// How the work of a job is done that blocks its thread: heavy computation, synchronous I/O.
///
/// It runs on a thread of its own, away from the asynchronous ones. A thread cannot be stopped
/// from outside: work that takes long asks [`Cx::is_cancelled`] now and then. One that goes on
/// after its time keeps its slot until it ends, and what it returns is ignored.
#[diagnostic::on_unimplemented(
    message = "no worker with the state `{S}` knows how to perform `{Self}` on a thread of its own",
    note = "add `impl PerformBlocking<{S}> for {Self}`; `{Self}` also implements `Job`"
)]
pub trait PerformBlocking<S>: Job {
    /// What may go wrong.
    type Error: Debug + Into<BoxError> + Send;

    /// Does the work.
    fn perform(self, cx: Cx<S>) -> Result<(), Self::Error>;

    /// Decides what happens after an error; it is tried again, unless overridden.
    fn on_error(error: &Self::Error, attempt: &Attempt) -> Next {
        let _ = (error, attempt);
        Next::Retry
    }

    /// Returns the waits between attempts.
    fn backoff() -> Backoff {
        Backoff::default()
    }

    /// Returns how long one run may take; for ever, unless overridden.
    fn timeout() -> Option<Duration> {
        None
    }
}

/// How runs of one kind are treated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) backoff: Backoff,
    pub(crate) timeout: Option<Duration>,
}
