//! `queue recurring`: lists, shows, adds, pauses, resumes, runs and removes schedules.

mod add;
mod list;
mod show;
mod verbs;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::global::Global;
use crate::App;

const EXAMPLES: &str = "\
Examples:
  queue recurring                                 every schedule, when it is due, what became of it
  queue recurring show nightly                    one with its next times and its last firings
  queue recurring add nightly --schedule 'every day at 2am' --zone Europe/Berlin --kind backup
  queue recurring add nightly --replace --schedule 'every day at 3am' --kind backup
  queue recurring pause nightly                   nothing is enqueued for it until it is resumed
  queue recurring run nightly                     enqueues its job now, beside its plan
  queue recurring remove nightly --yes

Schedulers that run see a change within a second. A schedule that a program or its queue.toml
declares is changed there; it can be paused, resumed and run here. One that is removed here comes
back when a process starts that still declares it.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Recurring {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists every schedule [default]
    List,
    /// Shows one schedule with its next times and its last firings
    Show(show::Show),
    /// Adds a schedule, or replaces one that was added so
    Add(add::Add),
    /// Pauses schedules: nothing is enqueued for them any more
    Pause(verbs::Names),
    /// Resumes schedules; what they missed is made up for as they say
    Resume(verbs::Names),
    /// Enqueues the job of a schedule now, and leaves its plan as it is
    Run(verbs::Run),
    /// Removes schedules; their jobs stay
    Remove(verbs::Remove),
}

impl Recurring {
    pub(super) async fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: &App<S>,
    ) -> Result<Exit, Failure> {
        match self.command.unwrap_or(Command::List) {
            Command::List => list::run(global).await,
            Command::Show(show) => show.run(global).await,
            Command::Add(add) => add.run(global, app).await,
            Command::Pause(names) => names.pause(global).await,
            Command::Resume(names) => names.resume(global).await,
            Command::Run(run) => run.run(global).await,
            Command::Remove(remove) => remove.run(global).await,
        }
    }
}
