//! Panics of application code, turned into errors with their location.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use queue_core::transitions::Ending;

use super::run_error::RunError;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static LAST_BACKTRACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that keeps the backtraces of panics in jobs, and then calls the hook that
/// was installed before.
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

/// Calls a function, and turns its panic into an error.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, RunError> {
    let outer = WATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    WATCHING.set(outer);
    result.map_err(|payload| run_error(&*payload))
}

fn run_error(payload: &(dyn Any + Send)) -> RunError {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text");
    let mut run_error = RunError::new(Ending::Panic, format!("panicked: {text}"));
    run_error.error.backtrace = LAST_BACKTRACE.take();
    run_error
}

/// Turns a panic of some work into an error. The work must not be polled after that.
pub(crate) fn catch_each_poll(
    mut work: BoxFuture<'static, Result<(), RunError>>,
) -> impl Future<Output = Result<(), RunError>> + Unpin {
    poll_fn(move |cx| match catch(|| work.poll_unpin(cx)) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(panic)),
    })
}
