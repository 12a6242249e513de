//! Error reports for Sentry.

use queue_core::inspect::backtrace_lines;
use sentry::protocol::{Context, Event, Exception, Frame, Stacktrace, TraceContext, User};
use sentry::{Hub, Level};

use super::reports::ErrorReport;

/// Reports an error to Sentry, with the client that the program has set up by `sentry::init`. Errors of one
/// kind and cause are one issue.
///
/// ```
/// use queue_worker::{App, ReportOn, report_to_sentry};
///
/// let app = App::new(()).report_errors(ReportOn::LastAttempt, report_to_sentry);
/// ```
pub fn report_to_sentry(report: &ErrorReport) {
    Hub::main().capture_event(event(report));
}

fn event(report: &ErrorReport) -> Event<'static> {
    let text = |text: &str| text.to_owned();
    let mut tags = vec![("kind", text(&report.kind)), ("queue", text(&report.queue))];
    let optional = [
        ("shard", &report.shard),
        ("tenant", &report.tenant),
        ("request_id", &report.request_id),
    ];
    tags.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?))),
    );
    let trace_id = report.trace_id.as_deref().and_then(|id| id.parse().ok());
    let trace = trace_id.map(|trace_id| TraceContext {
        trace_id,
        ..TraceContext::default()
    });
    let exception = Exception {
        ty: report.kind.clone(),
        value: Some(report.error.clone()),
        stacktrace: report.backtrace.as_deref().map(stacktrace),
        ..Exception::default()
    };
    let extra = [
        ("job_id", report.job_id.0.into()),
        (
            "args",
            serde_json::from_str(report.args.get()).unwrap_or_default(),
        ),
        ("tags", report.tags.clone().into()),
        ("attempt", report.attempt.into()),
        ("failures", report.failures.into()),
        ("attempts_max", report.attempts_max.into()),
        ("is_last", report.is_last.into()),
    ];
    Event {
        level: Level::Error,
        fingerprint: vec![report.kind.clone().into(), report.cause.clone().into()].into(),
        transaction: Some(report.kind.clone()),
        exception: vec![exception].into(),
        tags: tags
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        user: report.user.clone().map(|id| User {
            id: Some(id),
            ..User::default()
        }),
        contexts: trace
            .map(|trace| ("trace".to_owned(), Context::from(trace)))
            .into_iter()
            .collect(),
        extra: extra
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        ..Event::default()
    }
}

/// Reads the frames of a backtrace: of each the function, and in the next line the place. Sentry wants the
/// innermost last.
fn stacktrace(backtrace: &str) -> Stacktrace {
    let mut frames: Vec<Frame> = Vec::new();
    for line in backtrace_lines(backtrace) {
        let text = line.text.trim();
        if let Some((_, function)) = text.split_once(": ").filter(|_| line.begins_frame) {
            frames.push(Frame {
                function: Some(function.to_owned()),
                in_app: line.is_own,
                ..Frame::default()
            });
        } else if let (Some(frame), Some(place)) = (frames.last_mut(), text.strip_prefix("at ")) {
            let mut parts = place.rsplitn(3, ':');
            frame.colno = parts.next().and_then(|column| column.parse().ok());
            frame.lineno = parts.next().and_then(|line| line.parse().ok());
            frame.filename = parts.next().map(str::to_owned);
        }
    }
    frames.reverse();
    Stacktrace {
        frames,
        ..Stacktrace::default()
    }
}
