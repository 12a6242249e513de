//! `queue start`: runs jobs until told to stop.

use std::ffi::OsString;

use clap::Args;

use super::{Database, Exit, Failure, Global};
use crate::config::Config;
use crate::handlers;
use crate::{App, Process};

pub(super) const HELP: &str = "\
Examples:
  queue start                                as queue.toml and the environment say
  queue start --queues mail,reports*,* --concurrency 20
  queue start --dispatcher false --name mail-1

A process claims jobs from its queues, the ones named first before the others (`reports*` is every
queue that begins so, `*` is the rest). Its dispatcher moves scheduled jobs to ready when they are
due, its scheduler enqueues what is due again and again, and its maintenance clears what is kept
no longer.

TERM or INT: no new job is started, and running ones may finish within the shutdown timeout; what
was not started is given back. A second signal, or QUIT, ends it at once.";

/// The settings that only a process needs; `given_settings` reads them.
#[derive(Args)]
#[command(next_help_heading = "The process (beats environment and queue.toml)")]
pub(super) struct ProcessFlags {
    /// The queues of its worker, the most urgent first, with commas
    #[arg(long, value_name = "QUEUES", env = "QUEUE_QUEUES")]
    queues: Option<OsString>,
    /// How many jobs its worker runs at once
    #[arg(long, value_name = "COUNT", env = "QUEUE_CONCURRENCY")]
    concurrency: Option<OsString>,
    /// How often workers look for jobs when nothing wakes them
    #[arg(long, value_name = "DURATION", env = "QUEUE_POLL_INTERVAL")]
    poll_interval: Option<OsString>,
    /// Whether it moves due jobs to ready
    #[arg(long, value_name = "BOOL", env = "QUEUE_DISPATCHER")]
    dispatcher: Option<OsString>,
    /// Whether it clears jobs that are kept no longer
    #[arg(long, value_name = "BOOL", env = "QUEUE_MAINTENANCE")]
    maintenance: Option<OsString>,
    /// Whether it enqueues recurring jobs when they are due
    #[arg(long, value_name = "BOOL", env = "QUEUE_SCHEDULER")]
    scheduler: Option<OsString>,
    /// What people call it
    #[arg(long, value_name = "NAME", env = "QUEUE_PROCESS_NAME")]
    name: Option<OsString>,
    /// How long running jobs may take to finish at the end
    #[arg(long, value_name = "DURATION", env = "QUEUE_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Option<OsString>,
    /// Whether the database may wake idle workers
    #[arg(long, value_name = "BOOL", env = "QUEUE_NOTIFICATIONS")]
    notifications: Option<OsString>,
}

pub(super) async fn run<S: Send + Sync + 'static>(
    global: &Global,
    app: App<S>,
) -> Result<Exit, Failure> {
    let config = global.load()?;
    let database = Database::configured(&config)?;
    run_process(&database, app, config).await
}

/// Runs a process until it is told to stop.
pub(super) async fn run_process<S: Send + Sync + 'static>(
    database: &Database,
    app: App<S>,
    config: Config,
) -> Result<Exit, Failure> {
    let app = complete(app, &config)?;
    let process = Process::new(database.queue()?, app, config.settings)
        .map_err(|invalid| Failure::usage(invalid.to_string()))?;
    process.run_until_signal().await;
    Ok(Exit::Fine)
}

/// Adds the kinds and recurring jobs of the configuration to those of the program, and returns an
/// error if they do not fit together.
pub(super) fn complete<S: Send + Sync + 'static>(
    app: App<S>,
    config: &Config,
) -> Result<App<S>, Failure> {
    let mut app = app
        .with_handlers(&config.handlers)
        .map_err(Failure::usage)?;
    for (name, settings) in &config.recurring {
        let options = handlers::options_of(&settings.kind, &config.handlers, &app);
        let recurring = settings.named(name, options);
        app = app.recurring(recurring.map_err(|invalid| Failure::new(Exit::Usage, invalid))?);
    }
    if app.problems().is_empty() {
        return Ok(app);
    }
    let problems = app.problems().iter();
    let problems: String = problems.map(|problem| format!("\n  {problem}")).collect();
    Err(Failure::usage(format!(
        "the kinds of jobs and schedules do not fit together:{problems}"
    )))
}
