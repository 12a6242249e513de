//! `queue start`: runs jobs until told to stop.

use std::ffi::OsString;

use clap::Args;

use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use crate::config::Config;
use crate::handlers;
use crate::{App, Process};

const HELP: &str = "\
Examples:
  queue start                                as queue.toml and the environment say
  queue start --queues mail,reports*,* --concurrency 20
  queue start --dispatcher false --name mail-1

A process claims jobs from its queues, the ones named first before the others (`reports*` is every
queue that begins so, `*` is the rest). Its dispatcher moves scheduled jobs to ready when they are
due, its scheduler enqueues recurring jobs, and its maintenance clears what is kept
no longer.

TERM or INT: no new job is started, and running ones may finish within the shutdown timeout; what
was not started is given back. A second signal, or QUIT, ends it at once.";

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Start {
    #[command(flatten)]
    flags: ProcessFlags,
}

/// The settings that only a process needs; `given_settings` reads them.
#[derive(Args)]
#[command(next_help_heading = "The process (beats environment and queue.toml)")]
pub(super) struct ProcessFlags {
    /// The queues of its worker, the most urgent first, with commas
    #[arg(
        long,
        value_name = "QUEUES",
        env = "QUEUE_QUEUES",
        hide_env_values = true
    )]
    queues: Option<OsString>,
    /// How many jobs its worker runs at once
    #[arg(
        long,
        value_name = "COUNT",
        env = "QUEUE_CONCURRENCY",
        hide_env_values = true
    )]
    concurrency: Option<OsString>,
    /// How often workers look for jobs when nothing wakes them
    #[arg(
        long,
        value_name = "DURATION",
        env = "QUEUE_POLL_INTERVAL",
        hide_env_values = true
    )]
    poll_interval: Option<OsString>,
    /// Whether it moves due jobs to ready
    #[arg(
        long,
        value_name = "BOOL",
        env = "QUEUE_DISPATCHER",
        hide_env_values = true
    )]
    dispatcher: Option<OsString>,
    /// Whether it clears jobs that are kept no longer
    #[arg(
        long,
        value_name = "BOOL",
        env = "QUEUE_MAINTENANCE",
        hide_env_values = true
    )]
    maintenance: Option<OsString>,
    /// Whether it enqueues recurring jobs when they are due
    #[arg(
        long,
        value_name = "BOOL",
        env = "QUEUE_SCHEDULER",
        hide_env_values = true
    )]
    scheduler: Option<OsString>,
    /// What people call it
    #[arg(
        long,
        value_name = "NAME",
        env = "QUEUE_PROCESS_NAME",
        hide_env_values = true
    )]
    name: Option<OsString>,
    /// How long running jobs may take to finish at the end
    #[arg(
        long,
        value_name = "DURATION",
        env = "QUEUE_SHUTDOWN_TIMEOUT",
        hide_env_values = true
    )]
    shutdown_timeout: Option<OsString>,
    /// Whether the database may wake idle workers
    #[arg(
        long,
        value_name = "BOOL",
        env = "QUEUE_NOTIFICATIONS",
        hide_env_values = true
    )]
    notifications: Option<OsString>,
}

impl Start {
    pub(super) async fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: App<S>,
    ) -> Result<Exit, Failure> {
        let config = global.load()?;
        let database = Database::configured(&config)?;
        run_process(&database, app, config).await
    }
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

/// Adds the kinds and recurring jobs of the configuration to those of the program. Returns an error
/// that lists every conflict.
pub(super) fn complete<S: Send + Sync + 'static>(
    app: App<S>,
    config: &Config,
) -> Result<App<S>, Failure> {
    let app = app
        .with_handlers(&config.handlers)
        .map_err(Failure::usage)?;
    let app = with_recurring_jobs(app, config)?;
    if app.problems().is_empty() {
        return Ok(app);
    }
    let problems: Vec<String> = app
        .problems()
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    Err(Failure::usage(format!(
        "the kinds and recurring jobs conflict:{}",
        problems.concat()
    )))
}

fn with_recurring_jobs<S: Send + Sync + 'static>(
    app: App<S>,
    config: &Config,
) -> Result<App<S>, Failure> {
    let mut app = app;
    for (name, settings) in &config.recurring {
        let options = handlers::options_of(&settings.kind, &config.handlers, &app);
        let recurring = settings
            .named(name, options)
            .map_err(|invalid| Failure::new(Exit::Usage, invalid))?;
        app = app.recurring(recurring);
    }
    Ok(app)
}
