//! The span of a run, by the conventions of OpenTelemetry for messaging.

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use queue_core::transitions::claim::ClaimedJob;

use super::judge::Verdict;
use crate::spans::TRACER;

/// Begins the span of a run. It has a trace of its own, because the job may have waited for days, with a link
/// to the span that enqueued the job. Without a tracer provider the context is empty, which costs least.
pub(super) fn begin(job: &ClaimedJob, context: &queue_core::Context) -> Context {
    let builder = TRACER.span_builder("process");
    let builder = builder.with_kind(SpanKind::Consumer);
    let mut span = builder.start_with_context(&*TRACER, &Context::new());
    if !span.span_context().is_valid() {
        return Context::new();
    }
    if span.is_recording() {
        span.update_name(format!("process {}", job.queue));
        span.set_attributes([
            KeyValue::new("messaging.system", "queue"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", job.queue.clone()),
            KeyValue::new("messaging.message.id", job.claim.job_id().to_string()),
            KeyValue::new("queue.job.kind", job.kind.clone()),
            KeyValue::new("queue.job.attempt", i64::from(job.claim.attempt())),
        ]);
        if let Some(tenant) = &context.tenant {
            span.set_attribute(KeyValue::new("queue.job.tenant", tenant.clone()));
        }
        if let Some(origin) = context.span() {
            span.add_link(origin, Vec::new());
        }
    }
    Context::new().with_span(span)
}

/// Ends the span of a run. The message of an error, which may hold secrets, is left to the log.
pub(super) fn end(context: &Context, verdict: &Verdict) {
    let span = context.span();
    if let Verdict::End(end) = verdict
        && let Some(error) = end.error()
    {
        span.set_attribute(KeyValue::new("error.type", error.ending.as_str()));
        span.set_status(Status::error(""));
    }
    span.end();
}
