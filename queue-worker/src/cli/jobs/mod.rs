//! `queue jobs`: lists, shows and changes jobs.

mod change;
mod list;
mod report;
mod show;

mod frames;

use clap::{Args, Subcommand};
use queue_core::operations::jobs::JobAction;

use super::{Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue jobs                                      the newest jobs
  queue jobs list --state failed --kind send      failed jobs of one kind
  queue jobs show 4711                            one job with all its attempts
  queue jobs retry 4711 4712                      retries jobs by id
  queue jobs retry --state failed --queue mail    retries all that match, after a confirmation
  queue jobs discard --kind old_kind --yes        discards waiting and failed jobs of a kind
  queue jobs cancel 4711                          ends a job, or asks it to stop if it runs
  queue jobs run 4711                             runs a blocked job despite its limits
  queue jobs reschedule 4711 --in 2h              lets a waiting job wait until then
  queue jobs priority 4711 --to -10               gives a waiting job another priority
  queue jobs list --json | jq '.[].id'            for programs";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Jobs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::List,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Lists jobs, newest first [default]
    List(list::List),
    /// Shows one job with all its attempts
    Show(show::Show),
    /// Makes failed jobs, and jobs that wait for another attempt, ready now
    #[command(after_help = change::RETRY_HELP)]
    Retry(change::Which),
    /// Discards waiting and failed jobs
    #[command(after_help = change::DISCARD_HELP)]
    Discard(change::Which),
    /// Ends waiting jobs, and asks running ones to stop
    #[command(after_help = change::CANCEL_HELP)]
    Cancel(change::Which),
    /// Runs blocked jobs despite their limits
    #[command(after_help = change::RUN_HELP)]
    Run(change::Which),
    /// Lets waiting jobs wait until a time, or no longer
    #[command(after_help = change::RESCHEDULE_HELP)]
    Reschedule(Box<change::Reschedule>),
    /// Gives waiting jobs another priority
    #[command(after_help = change::PRIORITY_HELP)]
    Priority(Box<change::Priority>),
}

impl From<Command> for Jobs {
    fn from(command: Command) -> Self {
        Self {
            command: Some(command),
            list: list::NEWEST,
        }
    }
}

impl Jobs {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        if self.command.is_some() && !self.list.says_nothing() {
            return Err(Failure::usage(
                "flags that select jobs go after the subcommand, as in `queue jobs list \
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
            Some(Command::Reschedule(reschedule)) => return reschedule.run(global).await,
            Some(Command::Priority(priority)) => return priority.run(global).await,
        };
        change::run(global, action, which).await
    }
}
