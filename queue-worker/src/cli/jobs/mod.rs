//! `queue jobs`: lists, shows and changes jobs.

mod change;
mod list;
mod report;
mod show;

use clap::{Args, Subcommand};
use queue_core::operations::jobs::JobAction;

use super::{Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue jobs                                      the newest jobs
  queue jobs list --state failed --kind send      which of them failed
  queue jobs show 4711                            one with all its attempts
  queue jobs retry 4711 4712                      again, by id
  queue jobs retry --state failed --queue mail    again, all of them, after asking
  queue jobs discard --kind old_kind --yes        gives up what waits or failed, without asking
  queue jobs cancel 4711                          ends it, or asks it to stop if it is running
  queue jobs run 4711                             runs it in spite of the limit that blocks it
  queue jobs list --json | jq '.[].id'            for programs";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Jobs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::List,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists jobs, newest first [default]
    List(list::List),
    /// Shows one job with all its attempts
    Show(show::Show),
    /// Makes failed jobs ready again, and lets those that wait for another attempt run now
    #[command(after_help = change::RETRY_HELP)]
    Retry(change::Which),
    /// Gives up jobs that wait or failed
    #[command(after_help = change::DISCARD_HELP)]
    Discard(change::Which),
    /// Ends jobs that wait, and asks running ones to stop
    #[command(after_help = change::CANCEL_HELP)]
    Cancel(change::Which),
    /// Lets blocked jobs run in spite of their limits
    #[command(after_help = change::RUN_HELP)]
    Run(change::Which),
}

impl Jobs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        if self.command.is_some() && !self.list.says_nothing() {
            return Err(Failure::usage(
                "a flag that says which jobs stands after the subcommand, as in `queue jobs list \
                 --state failed`",
            ));
        }
        let (action, which) = match self.command {
            None => return self.list.run(global).await,
            Some(Command::List(list)) => return list.run(global).await,
            Some(Command::Show(show)) => return show.run(global).await,
            Some(Command::Retry(which)) => (JobAction::Retry, which),
            Some(Command::Discard(which)) => (JobAction::Discard, which),
            Some(Command::Cancel(which)) => (JobAction::Cancel, which),
            Some(Command::Run(which)) => (JobAction::RunAnyway, which),
        };
        change::run(global, action, which).await
    }
}
