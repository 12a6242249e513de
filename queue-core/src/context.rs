//! Where a job comes from: the tenant, the request, the user and the trace.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use serde::{Deserialize, Serialize};

/// The most bytes that a context may have as JSON, without its tenant.
pub const CONTEXT_BYTES_MAX: usize = 8 * 1024;

/// The most bytes that a tenant, a request id or a user may have.
const TEXT_BYTES_MAX: usize = 200;

/// Where a job comes from. It is stored with the job, and is the [current](Self::current) context again
/// while the job runs, so that the jobs that it enqueues inherit it.
///
/// A job gets the context that its [`Options`](crate::Options) name, or else the current one, which
/// [`scope`](Self::scope) sets.
///
/// ```
/// use queue_core::Context;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let context = Context::new().tenant("acme").request_id("r-17").with("locale", "de");
/// let tenant = context.scope(async { Context::current().tenant }).await;
/// assert_eq!(tenant.as_deref(), Some("acme"));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Context {
    /// The customer or account that the work is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The id of the request that began the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Who made the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The trace, as the header `traceparent` of W3C Trace Context has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Further values. They are never logged.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// Why a context cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} of the context {reason}")]
pub struct InvalidContext {
    what: &'static str,
    reason: String,
}

tokio::task_local! {
    static CURRENT: Arc<Context>;
}

impl Context {
    /// Returns an empty context.
    pub const fn new() -> Self {
        Self {
            tenant: None,
            request_id: None,
            user: None,
            traceparent: None,
            values: BTreeMap::new(),
        }
    }

    /// Returns an empty context that is shared.
    pub(crate) fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Context>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }

    /// Sets the tenant: the customer or account that the work is for.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the id of the request that began the work.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Sets who made the request.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the trace, as the header `traceparent` of W3C Trace Context has it. Another text is ignored:
    /// by that standard a trace that is broken begins anew.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        let traceparent = Some(traceparent.into());
        self.traceparent = traceparent.filter(|text| trace_id(text).is_some());
        self
    }

    /// Adds a further value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Returns the id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<&str> {
        trace_id(self.traceparent.as_deref()?)
    }

    /// Returns whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the current context: that of the innermost [`scope`](Self::scope), or of the job that runs.
    /// It is empty outside of both, and on another task or thread. In a span of OpenTelemetry its trace is that
    /// of the span.
    pub fn current() -> Self {
        Self::ambient()
            .map(Arc::unwrap_or_clone)
            .unwrap_or_default()
    }

    /// Returns the current context, shared.
    #[doc(hidden)]
    pub fn ambient() -> Option<Arc<Self>> {
        let scoped = CURRENT.try_with(Arc::clone).ok();
        let Some(traceparent) = current_traceparent() else {
            return scoped;
        };
        let scoped = scoped.map(Arc::unwrap_or_clone).unwrap_or_default();
        Some(Arc::new(scoped.traceparent(traceparent)))
    }

    /// Returns the span that the trace names.
    #[doc(hidden)]
    pub fn span(&self) -> Option<SpanContext> {
        let mut parts = self.traceparent.as_deref()?.split('-').skip(1);
        let trace = TraceId::from_hex(parts.next()?).ok()?;
        let span = SpanId::from_hex(parts.next()?).ok()?;
        let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
        let flags = TraceFlags::new(flags);
        Some(SpanContext::new(trace, span, flags, true, TraceState::NONE))
    }

    /// Makes this the current context while a future runs. Tasks that it spawns do not inherit it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(Arc::new(self), future).await
    }

    /// Makes this the current context while a function runs.
    pub fn sync_scope<T>(self, function: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Arc::new(self), function)
    }

    /// Does the same as [`scope`](Self::scope) with a context that is shared.
    #[doc(hidden)]
    pub async fn scope_shared<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Returns what belongs to every job of a series rather than to one request: without request and trace.
    pub(crate) fn without_request(&self) -> Self {
        Self {
            request_id: None,
            traceparent: None,
            ..self.clone()
        }
    }

    /// Returns the column `context` of a job: all but the tenant, as JSON.
    pub(crate) fn to_json(&self) -> Option<String> {
        let stored = Stored {
            request_id: self.request_id.as_deref().map(Cow::Borrowed),
            user: self.user.as_deref().map(Cow::Borrowed),
            traceparent: self.traceparent.as_deref().map(Cow::Borrowed),
            values: Cow::Borrowed(&self.values),
        };
        let json = serde_json::to_string(&stored).ok()?;
        (json != "{}").then_some(json)
    }

    /// Reads the columns `tenant` and `context` of a job.
    ///
    /// # Errors
    /// Returns an error if another program has stored something else.
    pub(crate) fn read(tenant: Option<String>, json: Option<&str>) -> serde_json::Result<Self> {
        let stored: Stored<'_> = json
            .map(serde_json::from_str)
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            tenant,
            request_id: stored.request_id.map(Cow::into_owned),
            user: stored.user.map(Cow::into_owned),
            traceparent: stored.traceparent.map(Cow::into_owned),
            values: stored.values.into_owned(),
        })
    }

    pub(crate) fn check(&self) -> Result<(), InvalidContext> {
        let texts = [
            ("tenant", &self.tenant),
            ("request id", &self.request_id),
            ("user", &self.user),
        ];
        for (what, text) in texts {
            text.as_deref()
                .map_or(Ok(()), |text| check_text(what, text))?;
        }
        if self.traceparent.is_some() && self.trace_id().is_none() {
            let reason = "is not one of W3C Trace Context".to_owned();
            return Err(InvalidContext {
                what: "traceparent",
                reason,
            });
        }
        let texts = self.values.iter().flat_map(|(name, value)| [name, value]);
        if texts.into_iter().any(|text| text.contains('\0')) {
            let reason = "have a NUL, which Postgres cannot store".to_owned();
            return Err(InvalidContext {
                what: "values",
                reason,
            });
        }
        let bytes = self.to_json().map_or(0, |json| json.len());
        if bytes > CONTEXT_BYTES_MAX {
            let reason = format!("make {bytes} bytes of JSON, and {CONTEXT_BYTES_MAX} are allowed");
            return Err(InvalidContext {
                what: "values",
                reason,
            });
        }
        Ok(())
    }
}

/// A context as it is stored.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "no_values")]
    values: Cow<'a, BTreeMap<String, String>>,
}

fn no_values(values: &BTreeMap<String, String>) -> bool {
    values.is_empty()
}

/// Returns the `traceparent` of the current span of OpenTelemetry, if there is one.
fn current_traceparent() -> Option<String> {
    opentelemetry::Context::map_current(|current| {
        let span = current.span();
        let span = span.span_context();
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
        let text = || format!("00-{trace}-{id}-{:02x}", flags.to_u8());
        span.is_valid().then(text)
    })
}

/// Returns the id of the trace in a `traceparent`, if it is valid.
fn trace_id(traceparent: &str) -> Option<&str> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else {
        return None;
    };
    let is_hex = |part: &str, digits: usize| {
        let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        part.len() == digits && part.bytes().all(hex)
    };
    let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    let is_valid = is_hex(version, 2) && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2);
    is_valid.then_some(trace)
}

/// Refuses a text that cannot be a tenant.
pub(crate) fn check_tenant(tenant: &str) -> Result<(), InvalidContext> {
    check_text("tenant", tenant)
}

fn check_text(what: &'static str, text: &str) -> Result<(), InvalidContext> {
    let reason = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > TEXT_BYTES_MAX {
        format!("has {} bytes, and {TEXT_BYTES_MAX} are allowed", text.len())
    } else if text.chars().any(char::is_control) {
        "has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(InvalidContext { what, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn whole() -> Context {
        Context::new()
            .tenant("acme")
            .request_id("r-1")
            .user("ann")
            .traceparent(TRACEPARENT)
            .with("locale", "de")
    }

    #[test]
    fn a_context_is_read_as_it_was_stored() {
        let json = whole().to_json().unwrap();
        assert!(!json.contains("acme"));
        let read = Context::read(Some("acme".to_owned()), Some(&json)).unwrap();
        assert_eq!(read, whole());
        assert_eq!(Context::new().tenant("acme").to_json(), None);
    }

    #[test]
    fn the_trace_is_that_of_the_current_span() {
        let span = whole().span().unwrap();
        let current = opentelemetry::Context::new().with_remote_span_context(span);
        let _entered = current.attach();

        assert_eq!(Context::current(), Context::new().traceparent(TRACEPARENT));
        let scoped = Context::new().tenant("acme").sync_scope(Context::current);
        assert_eq!(
            scoped,
            Context::new().tenant("acme").traceparent(TRACEPARENT)
        );
    }

    #[test]
    fn a_trace_that_is_not_valid_is_ignored() {
        let trace = whole().trace_id().map(str::to_owned);
        assert_eq!(trace.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for text in [
            "",
            "00-4bf9",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::new().traceparent(text).traceparent, None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_stored_or_logged_is_refused() {
        assert_eq!(whole().check(), Ok(()));
        let refused = [
            Context::new().tenant(""),
            Context::new().user("two\nlines"),
            Context::new().request_id("x".repeat(201)),
            Context::new().with("note", "nul \0"),
            Context::new().with("note", "x".repeat(CONTEXT_BYTES_MAX)),
        ];
        for context in refused {
            assert!(context.check().is_err(), "{context:?}");
        }
    }
}
