//! The kinds of jobs behind one face, so that a worker can hold them all.

use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use queue_core::transitions::Ending;
use serde_json::value::RawValue;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Attempt, Cx};
use super::panics;
use super::perform::{BoxError, Next, Perform, PerformBlocking, Policy};
use super::problem::{Problem, with_causes};
use super::slots::Slot;

/// A run under way.
pub(crate) type Work = BoxFuture<'static, Result<(), Problem>>;

/// One kind of job, as a worker sees it.
pub(crate) trait Handler<S>: Send + Sync {
    fn policy(&self) -> &Policy;

    /// Decodes the arguments and starts the run. Dropping the future stops it where it can be
    /// stopped. The slot is let go when the run is truly over.
    fn start(&self, args: &RawValue, cx: Cx<S>, slot: Arc<Slot>) -> Result<Work, Problem>;
}

pub(crate) struct AsyncHandler<J> {
    policy: Policy,
    kind: PhantomData<fn() -> J>,
}

impl<J> AsyncHandler<J> {
    pub(crate) fn new<S>() -> Self
    where
        J: Perform<S>,
    {
        Self {
            policy: Policy {
                backoff: J::backoff(),
                timeout: J::timeout(),
            },
            kind: PhantomData,
        }
    }
}

impl<S, J> Handler<S> for AsyncHandler<J>
where
    S: Send + Sync + 'static,
    J: Perform<S>,
{
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn start(&self, args: &RawValue, cx: Cx<S>, slot: Arc<Slot>) -> Result<Work, Problem> {
        let job: J = decode(args)?;
        Ok(async move {
            let _slot = slot;
            let ended = job.perform(cx.clone()).await;
            ended.map_err(|error| problem(J::on_error(&error, cx.attempt()), error))
        }
        .boxed())
    }
}

pub(crate) struct BlockingHandler<J> {
    policy: Policy,
    kind: PhantomData<fn() -> J>,
}

impl<J> BlockingHandler<J> {
    pub(crate) fn new<S>() -> Self
    where
        J: PerformBlocking<S>,
    {
        Self {
            policy: Policy {
                backoff: J::backoff(),
                timeout: J::timeout(),
            },
            kind: PhantomData,
        }
    }
}

impl<S, J> Handler<S> for BlockingHandler<J>
where
    S: Send + Sync + 'static,
    J: PerformBlocking<S>,
{
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn start(&self, args: &RawValue, cx: Cx<S>, slot: Arc<Slot>) -> Result<Work, Problem> {
        let job: J = decode(args)?;
        let span = tracing::Span::current();
        let work = move || {
            let _slot = slot;
            let attempt: Attempt = cx.attempt().clone();
            let ended = span.in_scope(|| panics::catch(|| job.perform(cx)))?;
            ended.map_err(|error| problem(J::on_error(&error, &attempt), error))
        };
        Ok(async move {
            // One that is dropped before a thread is free for it must never begin: its attempt
            // is over. What has begun cannot be withdrawn.
            match AbortOnDropHandle::new(tokio::task::spawn_blocking(work)).await {
                Ok(ended) => ended,
                Err(_runtime_is_shutting_down) => Err(Problem {
                    ending: Ending::Error,
                    next: Next::Retry,
                    message: "the runtime shut down before the job could start".into(),
                    backtrace: None,
                }),
            }
        }
        .boxed())
    }
}

fn decode<J: serde::de::DeserializeOwned>(args: &RawValue) -> Result<J, Problem> {
    serde_json::from_str(args.get()).map_err(|error| Problem {
        ending: Ending::Undecodable,
        next: Next::Fail,
        message: format!("the arguments do not fit the job's type: {error}"),
        backtrace: None,
    })
}

fn problem<E: std::fmt::Debug + Into<BoxError>>(next: Next, error: E) -> Problem {
    let backtrace = backtrace_of(&error);
    let error: BoxError = error.into();
    Problem {
        ending: Ending::Error,
        next,
        message: with_causes(&*error),
        backtrace,
    }
}

/// Finds the backtrace that error types such as anyhow's print after the error itself: the only
/// way to it, as long as `std::error::Error` does not hand it out.
fn backtrace_of(error: &impl std::fmt::Debug) -> Option<String> {
    let shown = format!("{error:?}");
    let (_, backtrace) = shown.split_once("Stack backtrace:\n")?;
    Some(backtrace.to_owned())
}
