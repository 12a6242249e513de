//! The part of the context of a job that log lines have.

use queue_core::Context;

/// What log lines say about where a job comes from. The further values of a context are never logged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logged<'a> {
    pub(crate) tenant: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
}

impl<'a> Logged<'a> {
    /// Takes what may be logged: the user only if the settings say so.
    pub(crate) fn of(context: &'a Context, with_user: bool) -> Self {
        Self {
            tenant: context.tenant.as_deref(),
            request_id: context.request_id.as_deref(),
            trace_id: context.trace_id(),
            user: context.user.as_deref().filter(|_| with_user),
        }
    }
}
