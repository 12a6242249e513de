//! The error of a run, and what its kind wants to happen next.

use std::error::Error;
use std::fmt::{Debug, Display, Formatter};

use queue_core::transitions::{AttemptError, Ending};

use super::perform::{BoxError, Next};

/// The error of a run, and what happens to the job after it, as [`App::around`](crate::App::around)
/// sees them. `?` turns other errors into one after which the job is retried.
#[derive(Clone, Debug)]
pub struct RunError {
    pub(crate) error: AttemptError,
    pub(crate) next: Next,
}

impl RunError {
    /// Makes one of an error, and of what happens after it.
    pub fn of<E: Debug + Into<BoxError>>(next: Next, error: E) -> Self {
        let backtrace = backtrace_of(&error);
        let error: BoxError = error.into();
        let mut run_error = Self::new(Ending::Error, with_causes(&*error));
        run_error.error.backtrace = backtrace;
        run_error.next = next;
        run_error
    }

    /// Returns what happens to the job.
    pub fn next(&self) -> Next {
        self.next
    }

    /// Makes an error after which the job is retried.
    pub(crate) fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self {
            error: AttemptError::new(ending, message),
            next: Next::Retry,
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for RunError {
    fn from(error: E) -> Self {
        Self::of(Next::Retry, error)
    }
}

impl Display for RunError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error.message)
    }
}

/// Finds the backtrace that error types such as anyhow's print after the error itself. There is no
/// other way to it, as long as `std::error::Error` does not give it out.
fn backtrace_of(error: &impl Debug) -> Option<String> {
    let shown = format!("{error:?}");
    let (_, backtrace) = shown.split_once("Stack backtrace:\n")?;
    Some(backtrace.to_owned())
}

/// Writes an error and its causes in one line. Some libraries repeat the cause in their own
/// message; it is written once.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
