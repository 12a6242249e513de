//! The spans of what a process does for many jobs at once, by the conventions of OpenTelemetry for messaging.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use queue_core::metrics::METER;

/// Makes no spans unless the application, or the command line, has set a tracer provider before the process
/// starts.
pub(crate) static TRACER: LazyLock<BoxedTracer> = LazyLock::new(|| global::tracer(METER));

/// Makes the span of an operation that has ended, in a trace of its own, unless there were no jobs.
pub(crate) fn note_work(operation: &'static str, jobs: usize, began: Instant) {
    if jobs == 0 {
        return;
    }
    let now = SystemTime::now();
    let began = now.checked_sub(began.elapsed()).unwrap_or(now);
    let builder = TRACER.span_builder(operation).with_start_time(began);
    let mut span = builder.start_with_context(&*TRACER, &Context::new());
    if span.is_recording() {
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        span.set_attributes([
            KeyValue::new("messaging.system", "queue"),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.batch.message_count", jobs),
        ]);
    }
    span.end();
}

/// Returns the span for the log lines of a shard; none if the queue has no shards.
pub(crate) fn of_shard(shard: Option<&str>) -> tracing::Span {
    match shard {
        Some(shard) => tracing::error_span!("shard", shard),
        None => tracing::Span::none(),
    }
}
