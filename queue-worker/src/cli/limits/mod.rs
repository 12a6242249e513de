//! `queue limits`: lists, sets and resets limits.

mod list;
mod set;
mod words;

use clap::{Args, Subcommand};

use super::{Exit, Failure, Global};

pub(super) use words::{limit_words, setting_json, setting_words};

const EXAMPLES: &str = "\
Examples:
  queue limits                                   keys in use, with their holders
  queue limits set import --to 5                 5 jobs at once for each key of the kind import
  queue limits set import/account/7 --to 1       one key
  queue limits set --queue mail --rate 100/1m    100 starts per minute in all processes
  queue limits set --kind sync --to 0            starts no job of this kind
  queue limits reset import/account/7            removes what was set

A limit is set for a key, a group of keys (by default the kind of the jobs), a queue, or a kind. The
limit of a key overrides that of its group, and both override the limits of the jobs themselves.
`queue jobs list --state blocked` lists blocked jobs, and `queue jobs run` runs them despite their
limits.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Limits {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists keys that jobs hold or wait for, and all limits that are set [default]
    List(list::List),
    /// Sets how many jobs may run at once, or start in a period
    Set(set::Set),
    /// Removes a limit that was set
    #[command(after_help = set::RESET_HELP)]
    Reset(Name),
}

/// What a limit is set for; exactly one of them is given.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Name {
    /// The key, or the group of keys
    name: Option<String>,
    /// All jobs of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// All jobs of this kind
    #[arg(long, value_name = "NAME")]
    kind: Option<String>,
}

impl Name {
    /// Returns the name of the limit.
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
            None => list::FIRST_PAGE.run(global).await,
            Some(Command::List(list)) => list.run(global).await,
            Some(Command::Set(set)) => set.run(global).await,
            Some(Command::Reset(name)) => set::reset(global, &name).await,
        }
    }
}
