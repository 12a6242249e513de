//! The command line: run jobs, enqueue them, see them, change them, and find out what stops them.
//!
//! An application hands its [`App`] to [`run`] and so has every command for its own jobs:
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

mod check;
mod completions;
mod dev;
mod doctor;
mod enqueue;
mod jobs;
mod limits;
mod migrate;
mod processes;
mod queues;
mod recurring;
mod start;
mod stats;

mod confirm;
mod database;
mod filter;
mod log;
mod progress;

mod global;
mod output;

mod exit;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::App;
use database::Database;
use exit::{Exit, Failure};
use global::{Global, given_settings};
use start::ProcessFlags;

const ABOUT: &str = "Durable background jobs on Postgres";

const LONG_ABOUT: &str = "\
Durable background jobs on Postgres.

A job is a row: it has a kind, arguments in JSON, and waits in a queue. It is in one state at a
time: scheduled (for later, or for another attempt), ready, blocked (by a limit), running, failed,
or finished.
A process runs jobs; any number of processes may run at once.";

const EXAMPLES: &str = "\
First steps:
  queue dev                                       a database and a process, for development
  queue enqueue greet --args '{\"name\": \"Ada\"}'    one job
  queue jobs                                      what became of it

In production:
  export DATABASE_URL=postgres://user:password@host/name
  queue migrate                                   make or update the tables
  queue start                                     run jobs until told to stop
  queue doctor                                    what stops jobs now, and what to do

Exit codes:
  0  it worked, and nothing is wrong
  1  it failed, or something is wrong (doctor, check, migrate status)
  2  the command line or the configuration is wrong
  3  the database cannot be reached
  4  there is no such job or schedule

The environment: DATABASE_URL names the database, QUEUE_CONFIG a configuration file (queue.toml
in the current directory, unless set), QUEUE_LOG what is logged (such as `info` or
`queue_worker=debug`). Flags beat the environment, which beats the file.";

#[derive(Parser)]
#[command(
    name = "queue",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = "`--help` tells more, with examples and exit codes.",
    after_long_help = EXAMPLES,
    arg_required_else_help = true,
    infer_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs jobs until told to stop
    #[command(after_help = start::HELP)]
    Start(ProcessFlags),
    /// Checks the configuration, without a database
    #[command(after_help = check::HELP)]
    Check(ProcessFlags),
    /// Makes or updates the tables, or tells whether that is needed
    Migrate(migrate::Migrate),
    /// Enqueues a job, or a file of them
    Enqueue(enqueue::Enqueue),
    /// Lists, shows, retries, discards and cancels jobs, and runs blocked ones anyway
    Jobs(jobs::Jobs),
    /// Lists, sets and resets limits: how many jobs of a key run at once, or start in a period
    Limits(limits::Limits),
    /// Lists, pauses, resumes and clears queues
    Queues(queues::Queues),
    /// Lists, shows, adds, pauses, resumes, runs and removes schedules
    Recurring(recurring::Recurring),
    /// Lists the processes that run jobs
    Processes,
    /// Tells how many jobs there are, how fast they go, and what goes wrong
    #[command(after_help = stats::HELP)]
    Stats,
    /// Tells what stops jobs now, why, and what to do
    #[command(after_help = doctor::HELP)]
    Doctor,
    /// Starts a private Postgres, migrates it, and runs jobs: for development
    Dev(dev::Dev),
    /// Prints a script that completes commands in a shell
    Completions(completions::Completions),
}

/// Runs the command line of this process, on a runtime of its own.
pub fn run<S: Send + Sync + 'static>(app: App<S>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(run_async(app));
            // A blocking job that does not stop when asked must not keep the program from ending.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            output::say(format!("error: could not start the runtime: {error}"));
            Exit::Failed.into()
        }
    }
}

/// Runs the command line of this process, inside a runtime.
pub async fn run_async<S: Send + Sync + 'static>(app: App<S>) -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // A reader of the help text who has gone away is no error.
            let _ = error.print();
            return match error.use_stderr() {
                true => Exit::Usage.into(),
                false => Exit::Fine.into(),
            };
        }
    };
    let exit = dispatch(app, cli).await.unwrap_or_else(|failure| {
        if let Some(message) = failure.message() {
            output::say(format!("error: {message}"));
        }
        failure.exit
    });
    exit.into()
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let hide_values = |command: clap::Command| command.mut_args(|arg| arg.hide_env_values(true));
    let mut command = hide_values(Cli::command()).mut_subcommands(hide_values);
    let matches = command.try_get_matches_from_mut(args)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    cli.global.settings = given_settings(&command, &matches);
    Ok(cli)
}

async fn dispatch<S: Send + Sync + 'static>(app: App<S>, cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    let runs_jobs = matches!(command, Command::Start(_) | Command::Dev(_));
    log::start(&global, runs_jobs)?;
    match command {
        Command::Start(_flags) => start::run(&global, app).await,
        Command::Check(_flags) => check::run(&global, app),
        Command::Migrate(command) => command.run(&global).await,
        Command::Enqueue(command) => command.run(&global, &app).await,
        Command::Jobs(command) => command.run(&global).await,
        Command::Limits(command) => command.run(&global).await,
        Command::Queues(command) => command.run(&global).await,
        Command::Recurring(command) => command.run(&global, &app).await,
        Command::Processes => processes::run(&global).await,
        Command::Stats => stats::run(&global).await,
        Command::Doctor => doctor::run(&global).await,
        Command::Dev(command) => command.run(&global, app).await,
        Command::Completions(command) => command.run(Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_put_together_rightly() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for args in [
            ["queue", "--json", "jobs", "list"],
            ["queue", "jobs", "--json", "list"],
            ["queue", "jobs", "list", "--json"],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.global.json, "{args:?}");
        }
    }

    #[test]
    fn flags_give_settings_from_anywhere_on_the_line() {
        let line = "queue --schema jobs start --concurrency 3 --config other.toml";

        let cli = parse(line.split(' ').map(OsString::from)).unwrap_or_else(|error| error.exit());

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
