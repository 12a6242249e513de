//! What went wrong in a run, and what its kind wants to happen next.

use std::error::Error;

use queue_core::transitions::Ending;

use super::perform::Next;

/// How a run ended that did not end well.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) ending: Ending,
    pub(crate) next: Next,
    pub(crate) message: String,
    pub(crate) backtrace: Option<String>,
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
