//! `queue start`: runs jobs until told to stop.

use clap::Args;

use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use crate::config::{Config, Overrides};
use crate::handlers;
use crate::{App, Process};

const HELP: &str = "\
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

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Start {
    #[command(flatten)]
    flags: Flags,
}

/// What can be said of a process on its command line.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The process (beats environment and queue.toml)")]
pub(super) struct Flags {
    /// The queues of its worker, the most urgent first, with commas [env: QUEUE_QUEUES]
    #[arg(long, value_name = "QUEUES")]
    queues: Option<String>,
    /// How many jobs its worker runs at once [env: QUEUE_CONCURRENCY]
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<String>,
    /// How often workers look for jobs when nothing wakes them [env: QUEUE_POLL_INTERVAL]
    #[arg(long, value_name = "DURATION")]
    poll_interval: Option<String>,
    /// Whether it moves due jobs to ready [env: QUEUE_DISPATCHER]
    #[arg(long, value_name = "BOOL")]
    dispatcher: Option<String>,
    /// Whether it clears jobs that are kept no longer [env: QUEUE_MAINTENANCE]
    #[arg(long, value_name = "BOOL")]
    maintenance: Option<String>,
    /// Whether it enqueues what is due again and again [env: QUEUE_SCHEDULER]
    #[arg(long, value_name = "BOOL")]
    scheduler: Option<String>,
    /// What people call it [env: QUEUE_PROCESS_NAME]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long running jobs may take to finish at the end [env: QUEUE_SHUTDOWN_TIMEOUT]
    #[arg(long, value_name = "DURATION")]
    shutdown_timeout: Option<String>,
    /// Whether the database may wake idle workers [env: QUEUE_NOTIFICATIONS]
    #[arg(long, value_name = "BOOL")]
    notifications: Option<String>,
}

impl Flags {
    pub(super) fn overrides(self) -> Overrides {
        Overrides {
            queues: self.queues,
            concurrency: self.concurrency,
            poll_interval: self.poll_interval,
            dispatcher: self.dispatcher,
            maintenance: self.maintenance,
            scheduler: self.scheduler,
            name: self.name,
            shutdown_timeout: self.shutdown_timeout,
            notifications: self.notifications,
            ..Overrides::default()
        }
    }
}

impl Start {
    pub(super) async fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: App<S>,
    ) -> Result<Exit, Failure> {
        let config = global.load_with(self.flags.overrides())?;
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

/// Adds the kinds and schedules of the configuration to those of the program, and refuses the whole if it was
/// put together wrongly.
pub(super) fn complete<S: Send + Sync + 'static>(
    app: App<S>,
    config: &Config,
) -> Result<App<S>, Failure> {
    let app = app
        .with_handlers(&config.handlers)
        .map_err(Failure::usage)?;
    let app = with_schedules(app, config)?;
    if app.problems().is_empty() {
        return Ok(app);
    }
    let problems: Vec<String> = app
        .problems()
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    Err(Failure::usage(format!(
        "the kinds of jobs and schedules do not fit together:{}",
        problems.concat()
    )))
}

fn with_schedules<S: Send + Sync + 'static>(
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
