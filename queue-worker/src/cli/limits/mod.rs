//! `queue limits`: lists keys with limits, sets and resets limits while everything runs.

mod list;
mod set;
mod words;

use clap::{Args, Subcommand};

use super::{Exit, Failure, Global};

pub(super) use words::{limit_words, setting_json, setting_words};

const EXAMPLES: &str = "\
Examples:
  queue limits                                   keys in use, who holds and who waits
  queue limits set import --to 5                 five jobs at once for each key of kind import
  queue limits set import/account/7 --to 1       one key
  queue limits set --queue mail --rate 100/1m    100 starts a minute of a queue, in all processes
  queue limits set --kind sync --to 0            lets none start any more
  queue limits reset import/account/7            what jobs and queue.toml say holds again

A name is that of a key, of a group of keys (which is the kind of the jobs unless they name another),
of a queue, or of a kind. What is set for a key wins over what is set for its group, and both over what
the jobs bring with them. Blocked jobs are listed by `queue jobs list --state blocked`, and started in
spite of their limits by `queue jobs run`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Limits {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists keys that jobs hold or wait for, and names with a limit of their own [default]
    List(list::List),
    /// Sets how many jobs of a name may run at once, or start in a period
    Set(set::Set),
    /// Forgets what was set for a name
    #[command(after_help = set::RESET_HELP)]
    Reset(Name),
}

/// What a limit is set for: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Name {
    /// The key, or the group of keys
    name: Option<String>,
    /// All jobs of this queue, whichever limits they bring
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// All jobs of this kind, whichever limits they bring
    #[arg(long, value_name = "NAME")]
    kind: Option<String>,
}

impl Name {
    /// Returns the name that the limit is kept under.
    fn full(&self) -> String {
        match (&self.queue, &self.kind) {
            (Some(queue), _) => format!("@queue/{queue}"),
            (None, Some(kind)) => format!("@kind/{kind}"),
            (None, None) => self.name.clone().unwrap_or_default(),
        }
    }
}

impl Limits {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command {
            None => list::List::default().run(global).await,
            Some(Command::List(list)) => list.run(global).await,
            Some(Command::Set(set)) => set.run(global).await,
            Some(Command::Reset(name)) => set::reset(global, &name).await,
        }
    }
}
