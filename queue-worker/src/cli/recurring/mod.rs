//! `queue recurring`: lists, shows, adds, pauses, resumes, runs and removes recurring jobs.

mod add;
mod list;
mod show;
mod verbs;

use clap::{Args, Subcommand};

use super::{Exit, Failure, Global};
use crate::App;
use crate::cli::across::{on_each, on_shard_of_recurring};

const EXAMPLES: &str = "\
Examples:
  queue recurring                                 all, with the next due time and the last outcome
  queue recurring show nightly                    one, with its next due times and last firings
  queue recurring add nightly --schedule 'every day at 2am' --zone Europe/Berlin --kind backup
  queue recurring add nightly --replace --schedule 'every day at 3am' --kind backup
  queue recurring pause nightly                   enqueues nothing until it is resumed
  queue recurring run nightly                     enqueues its job now; the schedule goes on
  queue recurring remove nightly --yes

Running schedulers see a change within a second. A recurring job that a program or its queue.toml
declares is changed there; here it can be paused, resumed and run. If it is removed here, it comes
back when a process that still declares it starts.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Recurring {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists all recurring jobs [default]
    List,
    /// Shows a recurring job with its next due times and its last firings
    Show(show::Show),
    /// Adds a recurring job, or replaces one that was added
    Add(add::Add),
    /// Pauses recurring jobs: nothing is enqueued for them
    Pause(verbs::Names),
    /// Resumes recurring jobs; their policy decides about missed due times
    Resume(verbs::Names),
    /// Enqueues the job of a recurring job now; its schedule goes on
    Run(verbs::Run),
    /// Removes recurring jobs; jobs that they enqueued stay
    Remove(verbs::Remove),
}

impl Recurring {
    pub(super) async fn run<S>(self, global: &Global, app: &App<S>) -> Result<Exit, Failure> {
        match self.command.unwrap_or(Command::List) {
            Command::List => on_each(global, list::run).await,
            Command::Show(it) => on_each(global, async |on| it.clone().run(on).await).await,
            Command::Add(it) => {
                let add = async |on: &Global| it.clone().run(on, app).await;
                on_shard_of_recurring(global, &it.name, add).await
            }
            Command::Pause(it) => {
                on_each(global, async |on| verbs::set_paused(on, &it, true).await).await
            }
            Command::Resume(it) => {
                on_each(global, async |on| verbs::set_paused(on, &it, false).await).await
            }
            // Another shard that is away must not make the run look as if it had failed.
            Command::Run(it) => {
                let run = async |on: &Global| it.clone().run(on, app).await;
                on_shard_of_recurring(global, &it.name, run).await
            }
            Command::Remove(it) => on_each(global, async |on| it.clone().run(on).await).await,
        }
    }
}
