//! Panics of user code, turned into errors that say where they happened.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use queue_core::transitions::Ending;

use super::perform::Next;
use super::problem::Problem;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static LAST_BACKTRACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Adds our hook before the one that is there, which is called as ever. Only panics of jobs are
/// looked at.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHING.get() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let backtrace = format!("at {place}\n{}", Backtrace::force_capture());
                LAST_BACKTRACE.set(Some(backtrace));
            }
            previous(info);
        }));
    });
}

/// Calls a function, and turns its panic into a problem.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Problem> {
    watched(AssertUnwindSafe(call)).map_err(problem)
}

fn watched<T>(call: impl FnOnce() -> T + UnwindSafe) -> Result<T, Box<dyn Any + Send>> {
    let outer = WATCHING.replace(true);
    let called = catch_unwind(call);
    WATCHING.set(outer);
    called
}

fn problem(payload: Box<dyn Any + Send>) -> Problem {
    let said = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    Problem {
        ending: Ending::Panic,
        next: Next::Retry,
        message: format!("panicked: {said}"),
        backtrace: LAST_BACKTRACE.take(),
    }
}

/// Polls a future, and turns its panic into a problem. It must not be polled after that.
pub(crate) struct Caught<F>(pub(crate) F);

impl<T, F> Future for Caught<F>
where
    F: Future<Output = Result<T, Problem>> + Unpin,
{
    type Output = Result<T, Problem>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch(|| Pin::new(&mut self.0).poll(cx)) {
            Ok(polled) => polled,
            Err(problem) => Poll::Ready(Err(problem)),
        }
    }
}
