//! The command line: run, enqueue, inspect and change jobs, and find out why they do not run.
//!
//! An application that passes its [`App`](crate::App) to [`run`] has every command for its own jobs:
//!
//! ```no_run
//! # use queue_worker::{App, Cx, Job, Perform};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # struct SendWelcome { user_id: i64 }
//! # impl Job for SendWelcome { const KIND: &'static str = "send_welcome"; }
//! # impl Perform<()> for SendWelcome {
//! #     type Error = std::io::Error;
//! #     async fn perform(self, _cx: Cx<()>) -> Result<(), std::io::Error> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     queue_worker::cli::run(App::new(()).register::<SendWelcome>())
//! }
//! ```
//!
//! Results go to the standard output, everything else to the standard error.
//!
//! Modules stand in order: each uses only those below it.

mod batches;
mod check;
mod completions;
#[cfg(feature = "dashboard")]
mod dashboard;
mod dev;
mod doctor;
mod enqueue;
mod health;
mod jobs;
mod keys;
mod limits;
mod migrate;
mod processes;
mod queues;
mod recurring;
mod restored;
mod shards;
mod start;
mod stats;
mod tenants;

mod alerts;
mod probes;
mod systemd;

mod across;

mod audit;
mod confirm;
mod database;
mod filter;
mod ids;
mod kinds;
mod log;
mod progress;
mod sentry;
mod telemetry;

mod args;

mod global;
mod output;

mod here;

mod program;

mod exit;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::State;
use across::on_each;
use database::Database;
use exit::{Exit, Failure};
use global::{Global, given_settings};
use output::{own_words, program_name};
use start::ProcessFlags;

pub use program::Program;

const ABOUT: &str = "Durable background jobs on Postgres";

const LONG_ABOUT: &str = "\
Durable background jobs on Postgres.

A job is a row with a kind and arguments in JSON, and waits in a queue. It is in one state at a
time: scheduled (for later, or for another attempt), ready, blocked (by a limit), running, failed,
or finished. Processes run jobs; any number of them may run at once.";

const EXAMPLES: &str = "\
First steps:
  queue dev                                       starts a database and a process
  queue enqueue KIND --args '{\"name\": \"Ada\"}'     enqueues a job
  queue jobs                                      the newest jobs with their states

In production:
  export DATABASE_URL=postgres://user:password@host/name
  queue migrate                                   creates or updates the tables
  queue start                                     runs jobs until it is asked to stop
  queue doctor                                    finds what keeps jobs from running

Exit codes:
  0  success, and no problems found
  1  failure, or problems found (doctor, migrate status)
  2  the command line or the configuration is not valid
  3  the database cannot be reached
  4  there is no such job or recurring job

Environment: DATABASE_URL is the database, QUEUE_CONFIG the configuration file (by default
queue.toml in the current directory), QUEUE_ENCRYPTION_KEYS the keys for encrypted kinds (see
`queue help keys`), QUEUE_LOG the filter of the log (such as `info` or `queue_worker=debug`), COLUMNS
the width of tables. Flags override the environment, which overrides the file.";

#[derive(Parser)]
#[command(
    name = "queue",
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = "See `--help` for examples and exit codes.",
    after_long_help = EXAMPLES,
    arg_required_else_help = true,
    infer_subcommands = true
)]
struct Cli<C: Subcommand = Command> {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: C,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Runs jobs until it is asked to stop
    #[command(after_help = start::HELP)]
    Start(ProcessFlags),
    /// Checks the configuration, without a database
    #[command(after_help = check::HELP)]
    Check(ProcessFlags),
    /// Creates or updates the tables, or shows whether that is needed
    Migrate(migrate::Migrate),
    /// Enqueues a job, or a file of them
    Enqueue(enqueue::Enqueue),
    /// Lists, shows, retries, discards and cancels jobs, and runs blocked ones
    Jobs(jobs::Jobs),
    /// Lists, shows, cancels and closes batches, and retries their failed jobs
    Batches(batches::Batches),
    /// Lists, sets and resets limits: how many jobs of a key run at once, or start in a period
    Limits(limits::Limits),
    /// Lists, pauses, resumes and clears queues
    Queues(queues::Queues),
    /// Lists, pauses and resumes tenants of fair queues, and sets their weights
    Tenants(tenants::Tenants),
    /// Lists, shows, adds, pauses, resumes, runs and removes recurring jobs
    Recurring(recurring::Recurring),
    /// Lists the processes that run jobs, makes them quiet, resumes and stops them
    Processes(processes::Processes),
    /// Encrypts with the newest key what is encrypted with older ones
    Keys(keys::KeysCommand),
    /// Lets processes run the jobs of a restored copy, or not
    Restored(restored::Restored),
    /// Lists the shards, and shows what it means to add or to drain one
    Shards(shards::ShardsCommand),
    /// Shows how many jobs there are, how many ended, and which fail
    #[command(after_help = stats::HELP)]
    Stats,
    /// Finds what keeps jobs from running, and says what to do
    #[command(after_help = doctor::HELP)]
    Doctor,
    /// Says whether the process on this machine is ready, for containers
    #[command(after_help = health::HELP)]
    Health(health::Health),
    /// Serves the pages that show jobs and change them
    #[cfg(feature = "dashboard")]
    Dashboard(dashboard::Command),
    /// Starts a private Postgres, migrates it, and runs jobs: for development
    Dev(dev::Dev),
    /// Prints a completion script for a shell
    Completions(completions::Completions),
}

/// The commands of a program that is called `jobs`: `jobs list` instead of `jobs jobs list`.
#[derive(Clone, Subcommand)]
enum CommandOfJobs {
    #[command(flatten)]
    Jobs(Box<jobs::Command>),
    #[command(flatten)]
    Other(Box<Command>),
}

impl From<CommandOfJobs> for Command {
    fn from(command: CommandOfJobs) -> Self {
        match command {
            CommandOfJobs::Jobs(command) => Self::Jobs((*command).into()),
            CommandOfJobs::Other(command) => *command,
        }
    }
}

/// Runs the command line of this process on a new runtime: that of an [`App`](crate::App), or of a [`Program`],
/// which builds its state when it is needed. Help and hints name the program as it is called.
pub fn run<S: Send + Sync + 'static>(program: impl Into<Program<S>>) -> ExitCode {
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let exit = runtime.block_on(run_async(program));
            // A blocking job that ignores the request to stop must not keep the program running.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            output::say(format!("error: could not start the runtime: {error}"));
            Exit::Failed.into()
        }
    }
}

/// Runs the command line of this process inside a runtime.
pub async fn run_async<S: Send + Sync + 'static>(program: impl Into<Program<S>>) -> ExitCode {
    let program = program.into();
    let commands = commands(&program_name(), program.app.version);
    let cli = match parse(commands, std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe while printing help is not an error.
            let _ = error.print();
            return match error.use_stderr() {
                true => Exit::Usage.into(),
                false => Exit::Fine.into(),
            };
        }
    };
    let exit = dispatch(program, cli).await.unwrap_or_else(|failure| {
        if let Some(message) = failure.message() {
            output::say(format!("error: {message}"));
        }
        failure.exit
    });
    exit.into()
}

/// Returns the commands, in the words of this program. Help shows the names of environment variables
/// but not their values, which may contain passwords.
fn commands(program: &str, version: &'static str) -> clap::Command {
    let commands = match program {
        "jobs" => Cli::<CommandOfJobs>::command().mut_subcommand("jobs", |jobs| jobs.hide(true)),
        _ => Cli::<Command>::command(),
    };
    customized(commands.version(version).display_name(program))
}

fn customized(command: clap::Command) -> clap::Command {
    let mut command = command.mut_args(|arg| arg.hide_env_values(true));
    if let Some(help) = command.get_after_help() {
        let help = own_words(&help.to_string());
        command = command.after_help(help);
    }
    if let Some(help) = command.get_after_long_help() {
        let help = own_words(&help.to_string());
        command = command.after_long_help(help);
    }
    command.mut_subcommands(customized)
}

fn parse(
    mut commands: clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Cli, clap::Error> {
    let matches = commands.try_get_matches_from_mut(args)?;
    // The commands of a program that is called `jobs` are among these.
    let Cli {
        mut global,
        command,
    } = Cli::<CommandOfJobs>::from_arg_matches(&matches)
        .map_err(|error| error.format(&mut commands))?;
    global.settings = given_settings(&commands, &matches);
    Ok(Cli {
        global,
        command: command.into(),
    })
}

async fn dispatch<S: State>(program: Program<S>, cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    let app = &program.app;
    let runs_jobs = matches!(command, Command::Start(_) | Command::Dev(_));
    log::start(&global, runs_jobs)?;
    let exit = match command {
        Command::Start(_flags) => start::run(program, global.load()?).await,
        Command::Check(_flags) => check::run(&global, program.app),
        Command::Enqueue(command) => command.run(&global, app).await,
        Command::Shards(command) => command.run(&global).await,
        Command::Stats => stats::run(&global).await,
        Command::Health(_flags) => health::run(&global).await,
        #[cfg(feature = "dashboard")]
        Command::Dashboard(command) => command.run(&global, app).await,
        Command::Dev(command) => command.run(&global, program).await,
        Command::Completions(completions) => {
            completions.run(commands(&program_name(), program.app.version))
        }
        Command::Migrate(command) => command.run(&global).await,
        Command::Queues(command) => command.run(&global).await,
        Command::Jobs(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Batches(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Limits(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Tenants(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Recurring(command) => command.run(&global, app).await,
        Command::Processes(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Keys(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Restored(it) => on_each(&global, async |on| it.clone().run(on).await).await,
        Command::Doctor => on_each(&global, doctor::run).await,
    };
    telemetry::finish().await;
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_valid() {
        commands("queue", "1").debug_assert();
        commands("jobs", "1").debug_assert();
    }

    #[test]
    fn help_does_not_show_values_of_environment_variables() {
        let command = commands("queue", "1");
        let commands = command.get_subcommands().chain([&command]);
        let mut with_variable = commands
            .flat_map(clap::Command::get_arguments)
            .filter(|argument| argument.get_env().is_some());
        assert!(with_variable.all(clap::Arg::is_hide_env_values_set));
    }

    #[test]
    fn global_flags_may_be_before_or_after_the_command() {
        for args in [
            ["queue", "--json", "jobs", "list"],
            ["queue", "jobs", "--json", "list"],
            ["queue", "jobs", "list", "--json"],
        ] {
            let cli = Cli::<Command>::try_parse_from(args).unwrap();
            assert!(cli.global.json, "{args:?}");
        }
    }

    #[test]
    fn flags_give_settings_anywhere_on_the_line() {
        let line = "queue --schema jobs start --concurrency 3 --config other.toml";

        let line = line.split(' ').map(OsString::from);
        let cli = parse(commands("queue", "1"), line).unwrap_or_else(|error| error.exit());

        let given = cli.global.settings.iter();
        let mut given: Vec<_> = given
            .map(|each| (each.place.to_string(), &*each.variable, each.value.to_str()))
            .collect();
        given.sort();
        assert_eq!(
            given,
            [
                ("--concurrency".to_owned(), "QUEUE_CONCURRENCY", Some("3")),
                ("--config".to_owned(), "QUEUE_CONFIG", Some("other.toml")),
                ("--schema".to_owned(), "QUEUE_SCHEMA", Some("jobs")),
            ]
        );
    }
}
