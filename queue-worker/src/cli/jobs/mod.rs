//! `queue jobs`: lists, shows and changes jobs.

mod change;
mod list;
mod report;
mod show;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::global::Global;

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
    Retry(change::Retry),
    /// Gives up jobs that wait or failed
    Discard(change::Discard),
    /// Ends jobs that wait, and asks running ones to stop
    Cancel(change::Cancel),
    /// Lets blocked jobs run in spite of their limits
    Run(change::Run),
}

impl Jobs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        if self.command.is_some() && !self.list.says_nothing() {
            return Err(Failure::usage(
                "a flag that says which jobs stands after the subcommand, as in `queue jobs list \
                 --state failed`",
            ));
        }
        match self.command {
            None => self.list.run(global).await,
            Some(Command::List(list)) => list.run(global).await,
            Some(Command::Show(show)) => show.run(global).await,
            Some(Command::Retry(retry)) => retry.run(global).await,
            Some(Command::Discard(discard)) => discard.run(global).await,
            Some(Command::Cancel(cancel)) => cancel.run(global).await,
            Some(Command::Run(run)) => run.run(global).await,
        }
    }
}
