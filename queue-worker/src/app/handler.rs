//! Type-erased handlers: how the runs of each kind are started.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use queue_core::encryption::without_values;
use queue_core::transitions::Ending;
use queue_core::{Context, Job, decode_args};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::checkpoints::Pause;
use super::context::{Attempt, Cx};
use super::perform::{BoxError, Next, Perform, PerformBlocking, Policy};
use super::run_error::RunError;
use super::{log_lines, panics};
use crate::metrics::Share;

/// A run under way. Dropping it stops the run where that is possible.
pub type Work = BoxFuture<'static, Result<(), RunError>>;

/// What an application does around the work of its jobs.
pub(crate) type Around<S> = dyn Fn(Cx<S>, Work) -> Work + Send + Sync;

/// One of the places in which a worker runs jobs, taken until all its clones are dropped.
pub(crate) type Slot = Arc<(OwnedSemaphorePermit, Share)>;

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
                result_of(&cx, result, J::on_error)
            };
            Ok(work.boxed())
        };
        Self {
            policy: Policy {
                backoff: J::backoff(),
                timeout: J::timeout(),
                strict_steps: J::strict_steps(),
                keeps_log: J::keeps_log(),
                resumptions_max: J::resumptions_max(),
                is_encrypted: J::ENCRYPTED,
            },
            start: Box::new(start),
        }
    }

    /// Makes the handler of a kind whose work blocks its thread.
    pub(crate) fn of_blocking<J: PerformBlocking<S>>() -> Self {
        let start = |args: &RawValue, cx: Cx<S>, slot| {
            let job: J = decode(args, |error| J::on_undecodable(error, cx.attempt()))?;
            let work = move || {
                let _slot = slot;
                let result = panics::catch(|| job.perform(cx.clone()))?;
                result_of(&cx, result, J::on_error)
            };
            Ok(on_a_thread(work).boxed())
        };
        Self {
            policy: Policy {
                backoff: J::backoff(),
                timeout: J::timeout(),
                strict_steps: J::strict_steps(),
                keeps_log: J::keeps_log(),
                resumptions_max: J::resumptions_max(),
                is_encrypted: J::ENCRYPTED,
            },
            start: Box::new(start),
        }
    }

    /// Decodes the arguments of a job, and starts its run within what the application does around it.
    /// The slot is taken until both have ended.
    pub(crate) fn start_within(
        &self,
        arounds: &[Box<Around<S>>],
        args: &RawValue,
        cx: Cx<S>,
        slot: Slot,
    ) -> Result<Work, RunError> {
        if arounds.is_empty() {
            return (self.start)(args, cx, slot);
        }
        let work = (self.start)(args, cx.clone(), Arc::clone(&slot))?;
        let wrapped = arounds
            .iter()
            .rfold(work, |work, around| around(cx.clone(), work));
        Ok(wrapped.inspect(move |_ended| drop(slot)).boxed())
    }
}

/// Returns how a run ended, for what the application does around it. A run that ended at a step has no error,
/// unless the step failed and is tried again.
fn result_of<S, E: Debug + Into<BoxError>>(
    cx: &Cx<S>,
    result: Result<(), E>,
    on_error: impl FnOnce(&E, &Attempt) -> Next,
) -> Result<(), RunError> {
    match result {
        Err(error) if let Some(Pause::Failed(wait)) = cx.pause() => {
            Err(RunError::of(Next::RetryAfter(wait), error))
        }
        Err(_pause) if cx.is_paused() => Ok(()),
        Err(error) => Err(RunError::of(on_error(&error, cx.attempt()), error)),
        Ok(()) => {
            if cx.is_paused() {
                tracing::warn!(
                    "the job returned `Ok` although a step had ended its run: it goes on at that step",
                );
            }
            Ok(())
        }
    }
}

/// Runs work on a thread of its own. Work that is dropped before a thread is free for it never
/// begins, because its attempt is over; what has begun cannot be stopped.
async fn on_a_thread(
    work: impl FnOnce() -> Result<(), RunError> + Send + 'static,
) -> Result<(), RunError> {
    let span = tracing::Span::current();
    let trace = opentelemetry::Context::current();
    let context = Context::current();
    let work = move || {
        let _attached = trace.attach();
        context.sync_scope(|| span.in_scope(work))
    };
    let work = log_lines::on_another_thread(work);
    match AbortOnDropHandle::new(tokio::task::spawn_blocking(work)).await {
        Ok(result) => result,
        Err(_shutting_down) => Err(RunError::new(
            Ending::Error,
            "the runtime shut down before the job could start",
        )),
    }
}

/// Reads the arguments, or asks what happens next.
fn decode<J: Job>(
    args: &RawValue,
    next: impl FnOnce(&serde_json::Error) -> Next,
) -> Result<J, RunError> {
    decode_args(args.get()).map_err(|error| {
        let next = next(&error);
        let error = without_values(J::ENCRYPTED, error);
        let message = format!("the arguments do not fit the job's type: {error}");
        RunError {
            next,
            ..RunError::new(Ending::Undecodable, message)
        }
    })
}
