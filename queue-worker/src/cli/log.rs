//! The log of a command, on the standard error.

use std::io::{IsTerminal, stderr};

use opentelemetry::trace::TracerProvider as _;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use super::telemetry::install_tracers;
use super::{Failure, Global};
use crate::LogLines;

const VARIABLE: &str = "QUEUE_LOG";

/// Starts logging with the filter in `QUEUE_LOG`; by default the level depends on `-v` and on
/// whether the command runs jobs. If the application has set up a log, that one stays.
pub(super) fn start(global: &Global, runs_jobs: bool) -> Result<(), Failure> {
    let set = std::env::var(VARIABLE).ok().filter(|set| !set.is_empty());
    let filter = match &set {
        Some(set) => EnvFilter::try_new(set)
            .map_err(|error| Failure::usage(format!("{VARIABLE} is not valid: {error}")))?,
        None => EnvFilter::new(level(global.verbose, runs_jobs)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        // A line that cannot be written is lost. Reporting that would fail too, and end the process.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal());
    let lines = match global.logs_json() {
        true => lines.json().boxed(),
        false => lines.boxed(),
    };
    let tracers = match runs_jobs {
        true => install_tracers()?,
        false => None,
    };
    let spans = tracers.map(|tracers| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("tracing"));
        // Runs have a span already, and what the queue does itself is of no use in a trace.
        layer.with_filter(filter_fn(|metadata| {
            *metadata.level() <= Level::INFO && !metadata.target().starts_with("queue_worker")
        }))
    });
    let lines = lines.with_filter(filter.and(filter_fn(|metadata| !shows_password(metadata))));
    let log = Registry::default()
        .with(spans)
        .with(lines)
        .with(LogLines.with_filter(LevelFilter::INFO));
    let _taken = log.try_init();
    Ok(())
}

/// Returns whether an event contains a line of the password file, as sqlx logs one that it cannot read.
fn shows_password(metadata: &Metadata<'_>) -> bool {
    metadata.target().ends_with("::pgpass") && metadata.fields().field("line").is_some()
}

fn level(verbose: u8, runs_jobs: bool) -> &'static str {
    match (verbose, runs_jobs) {
        (0, false) => "warn,sqlx=error",
        (0, true) | (1, false) => "info,sqlx=warn",
        (1, true) | (2, false) => "debug,sqlx=info",
        _ => "trace",
    }
}
