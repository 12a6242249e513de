//! The error of a run, and what its kind wants to happen next.

use std::error::Error;

use queue_core::transitions::{AttemptError, Ending};

use super::perform::Next;

/// The error of a run, and what happens to the job after it.
#[derive(Clone, Debug)]
pub(crate) struct RunError {
    pub(crate) error: AttemptError,
    pub(crate) next: Next,
}

impl RunError {
    /// Makes an error after which the job is retried.
    pub(crate) fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self {
            error: AttemptError::new(ending, message),
            next: Next::Retry,
        }
    }
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
