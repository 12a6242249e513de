//! What went wrong in a run, and what its kind wants to happen next.

use queue_core::transitions::Ending;

use crate::perform::Next;

/// How a run ended that did not end well.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) ending: Ending,
    pub(crate) next: Next,
    pub(crate) message: String,
    pub(crate) backtrace: Option<String>,
}
