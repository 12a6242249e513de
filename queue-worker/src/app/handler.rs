//! Type-erased handlers: how the runs of each kind are started.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use queue_core::decode_args;
use queue_core::transitions::Ending;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::context::Cx;
use super::panics;
use super::perform::{BoxError, Next, Perform, PerformBlocking, Policy};
use super::run_error::{RunError, with_causes};

/// A run under way. Dropping it stops the run where that is possible.
pub(crate) type Work = BoxFuture<'static, Result<(), RunError>>;

/// One of the places in which a worker runs jobs, taken until this is dropped.
pub(crate) type Slot = OwnedSemaphorePermit;

/// Decodes the arguments of a job and starts its run, which drops the slot when it has ended.
type Start<S> = dyn Fn(&RawValue, Cx<S>, Slot) -> Result<Work, RunError> + Send + Sync;

/// One kind of job, of any type.
pub(crate) struct Handler<S> {
    pub(crate) policy: Policy,
    pub(crate) start: Box<Start<S>>,
}

impl<S: Send + Sync + 'static> Handler<S> {
    /// Makes the handler of a kind whose work is asynchronous.
    pub(crate) fn of<J: Perform<S>>() -> Self {
        let start = |args: &RawValue, cx: Cx<S>, slot| {
            let job: J = decode(args, |error| J::on_undecodable(error, cx.attempt()))?;
            let work = async move {
                let _slot = slot;
                let result = job.perform(cx.clone()).await;
                result.map_err(|error| run_error(J::on_error(&error, cx.attempt()), error))
            };
            Ok(work.boxed())
        };
        Self {
            policy: Policy {
                backoff: J::backoff(),
                timeout: J::timeout(),
            },
            start: Box::new(start),
        }
    }

    /// Makes the handler of a kind whose work blocks its thread.
    pub(crate) fn of_blocking<J: PerformBlocking<S>>() -> Self {
        let start = |args: &RawValue, cx: Cx<S>, slot| {
            let job: J = decode(args, |error| J::on_undecodable(error, cx.attempt()))?;
            let span = tracing::Span::current();
            let work = move || {
                let _slot = slot;
                let attempt = cx.attempt().clone();
                let result = span.in_scope(|| panics::catch(|| job.perform(cx)))?;
                result.map_err(|error| run_error(J::on_error(&error, &attempt), error))
            };
            Ok(on_a_thread(work).boxed())
        };
        Self {
            policy: Policy {
                backoff: J::backoff(),
                timeout: J::timeout(),
            },
            start: Box::new(start),
        }
    }
}

/// Runs work on a thread of its own. Work that is dropped before a thread is free for it never
/// begins, because its attempt is over; what has begun cannot be stopped.
async fn on_a_thread(
    work: impl FnOnce() -> Result<(), RunError> + Send + 'static,
) -> Result<(), RunError> {
    match AbortOnDropHandle::new(tokio::task::spawn_blocking(work)).await {
        Ok(result) => result,
        Err(_shutting_down) => Err(RunError::new(
            Ending::Error,
            "the runtime shut down before the job could start",
        )),
    }
}

/// Reads the arguments, or asks what happens next.
fn decode<J: DeserializeOwned>(
    args: &RawValue,
    next: impl FnOnce(&serde_json::Error) -> Next,
) -> Result<J, RunError> {
    decode_args(args.get()).map_err(|error| {
        let message = format!("the arguments do not fit the job's type: {error}");
        RunError {
            next: next(&error),
            ..RunError::new(Ending::Undecodable, message)
        }
    })
}

fn run_error<E: std::fmt::Debug + Into<BoxError>>(next: Next, error: E) -> RunError {
    let backtrace = backtrace_of(&error);
    let error: BoxError = error.into();
    let mut run_error = RunError::new(Ending::Error, with_causes(&*error));
    run_error.error.backtrace = backtrace;
    run_error.next = next;
    run_error
}

/// Finds the backtrace that error types such as anyhow's print after the error itself. There is no
/// other way to it, as long as `std::error::Error` does not give it out.
fn backtrace_of(error: &impl std::fmt::Debug) -> Option<String> {
    let shown = format!("{error:?}");
    let (_, backtrace) = shown.split_once("Stack backtrace:\n")?;
    Some(backtrace.to_owned())
}
