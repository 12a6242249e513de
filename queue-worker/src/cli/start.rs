//! `queue start`: runs jobs until it is asked to stop.

use std::ffi::OsString;

use clap::Args;
use futures_util::future::join_all;
use queue_core::recurring::InvalidRecurringJob;
use serde_json::value::to_raw_value;

use super::alerts::{self, Alerts};
use super::output::say;
use super::telemetry::{Metrics, has_collector};
use super::{Database, Exit, Failure, Program, across, probes, sentry, systemd};
use crate::app::State;
use crate::config::Config;
use crate::{App, Process, handlers};

pub(super) const HELP: &str = "\
Examples:
  queue start                                with the settings of queue.toml and the environment
  queue start --queues mail,reports*,* --concurrency 20
  queue start --dispatcher false --name mail-1

A process claims jobs from its queues in the order of the list (`reports*` is every queue with that
prefix, `*` all other queues). Its dispatcher makes scheduled jobs ready when they are due, its
scheduler enqueues recurring jobs, and its maintenance clears old jobs.

Nothing restarts a process that has ended: let systemd, Kubernetes or another service manager do so.

After TERM or INT it starts no more jobs, gives back those that it has claimed but not started, and
lets running jobs finish within the shutdown timeout. A later signal, or QUIT, ends it at once.";

/// The settings of a process; `given_settings` reads them.
#[derive(Clone, Args)]
#[command(next_help_heading = "The process (overrides the environment and queue.toml)")]
pub(super) struct ProcessFlags {
    /// The queues of its worker, the most urgent first, separated by commas
    #[arg(long, value_name = "QUEUES", env = "QUEUE_QUEUES")]
    queues: Option<OsString>,
    /// How many jobs its worker runs at once
    #[arg(long, value_name = "COUNT", env = "QUEUE_CONCURRENCY")]
    concurrency: Option<OsString>,
    /// How often workers poll for jobs when nothing wakes them
    #[arg(long, value_name = "DURATION", env = "QUEUE_POLL_INTERVAL")]
    poll_interval: Option<OsString>,
    /// Whether it makes scheduled jobs ready when they are due
    #[arg(long, value_name = "BOOL", env = "QUEUE_DISPATCHER")]
    dispatcher: Option<OsString>,
    /// Whether it clears old jobs
    #[arg(long, value_name = "BOOL", env = "QUEUE_MAINTENANCE")]
    maintenance: Option<OsString>,
    /// Whether it enqueues recurring jobs
    #[arg(long, value_name = "BOOL", env = "QUEUE_SCHEDULER")]
    scheduler: Option<OsString>,
    /// Its name
    #[arg(long, value_name = "NAME", env = "QUEUE_PROCESS_NAME")]
    name: Option<OsString>,
    /// How long it may take to end after it was asked to stop
    #[arg(long, value_name = "DURATION", env = "QUEUE_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Option<OsString>,
    /// The port on which it answers at /up, /ready and /metrics
    #[arg(long, value_name = "PORT", env = "QUEUE_PROCESS_PORT")]
    port: Option<OsString>,
    /// Whether notifications of the database wake idle workers
    #[arg(long, value_name = "BOOL", env = "QUEUE_NOTIFICATIONS")]
    notifications: Option<OsString>,
}

/// Runs a process until it is asked to stop.
pub(super) async fn run<S: State>(
    mut program: Program<S>,
    config: Config,
) -> Result<Exit, Failure> {
    let parts = config.used_shards().len().max(1);
    let handle = async |on: &Database| on.queue_of_process(&config.settings, parts).await;
    let (shards, served) = across::used(&config, handle).await?;
    let app = complete(program.app, &config)?;
    let (app, last_reports) = sentry::install(app)?;
    program.app = app;
    match &config.file {
        Some(file) => tracing::info!(file = %file.display(), "read the configuration"),
        None => tracing::info!("found no queue.toml; using the environment, flags and defaults"),
    }
    for warning in warnings(&config, &program.app) {
        tracing::warn!("{warning}");
    }
    let port = config.settings.process.port;
    let is_exported = port.is_some() || has_collector();
    let metrics = is_exported.then(Metrics::install).transpose()?;
    let (first_shard, first) = &served[0];
    let building = program.complete(first.pool().clone(), config.settings.clone());
    let app = building.await.inspect_err(|_| {
        if let Some(shard) = first_shard {
            say(format!("the state is built with the pool of shard {shard}"));
        }
    })?;
    let mut alerting = Vec::new();
    for (shard, queue) in &served {
        alerting.extend(alerts::start(*shard, queue, &config)?);
    }
    let settings = config.settings.clone();
    let process = match &shards {
        Some(shards) => Process::of_shards(shards, config.used_shards(), app, settings),
        None => Process::new(first.clone(), app, settings),
    };
    let process = process.map_err(Failure::usage)?;
    if let (Some(port), Some(metrics)) = (port, metrics) {
        probes::serve(port, process.health(), metrics).await?;
    }
    let notifying = tokio::spawn(systemd::notify(process.health()));
    process.run_until_signal().await;
    notifying.abort();
    join_all(alerting.into_iter().map(Alerts::end)).await;
    sentry::send_last(last_reports).await;
    Ok(Exit::Fine)
}

/// Returns what is probably a mistake in the configuration, although a process can start with it.
pub(super) fn warnings<S>(config: &Config, app: &App<S>) -> Vec<String> {
    let kinds = app.kinds();
    let recurring_jobs = config.recurring.iter();
    let unknown = recurring_jobs.filter(|(_, settings)| !kinds.contains(&settings.kind));
    let warnings = unknown.map(|(name, settings)| {
        let kind = &settings.kind;
        format!(
            "the recurring job `{name}` enqueues jobs of kind `{kind}`, which this program does not \
             know: they run only where a process knows it"
        )
    });
    let shards = config.shards.len();
    let of_limits = config.settings.limits.keys().filter(|_| shards > 1);
    let of_limits = of_limits.map(|name| {
        format!(
            "the limit `{name}` holds on each of the {shards} shards: jobs on different shards do not count together"
        )
    });
    warnings.chain(of_limits).collect()
}

/// Adds the kinds and recurring jobs of the configuration to those of the program. Returns an error
/// that lists every conflict.
pub(super) fn complete<S: State>(app: App<S>, config: &Config) -> Result<App<S>, Failure> {
    let mut app = app
        .with_handlers(&config.handlers)
        .map_err(Failure::usage)?;
    for (name, settings) in &config.recurring {
        let args = to_raw_value(&settings.args).map_err(anyhow::Error::from)?;
        let job = handlers::new_job(&settings.kind, &args, &config.handlers, &app)
            .map_err(|refused| InvalidRecurringJob::job(name, refused));
        let recurring = job.and_then(|job| settings.named(name, job));
        app = app.recurring(recurring.map_err(|invalid| Failure::new(Exit::Usage, invalid))?);
    }
    if app.problems().is_empty() {
        return Ok(app);
    }
    let problems = app.problems().iter();
    let problems: String = problems.map(|problem| format!("\n  {problem}")).collect();
    Err(Failure::usage(format!(
        "the kinds and recurring jobs conflict:{problems}"
    )))
}
