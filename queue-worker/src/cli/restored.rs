//! `queue restored`: shows whether processes wait because the database is a restored copy, and accepts it.

use clap::{Args, Subcommand};
use queue_core::operations::audit::Act;
use queue_core::origin::{accept, hold, is_original};
use serde_json::json;
use sqlx::Connection as _;

use super::audit::{act, audit};
use super::output::say;
use super::{Database, Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue restored             whether processes run jobs in this database
  queue restored accept --why 'replaces the lost server'
  queue restored hold        before processes start on a copy of the files

The tables know whether a dump was restored, or rows were copied by logical replication: processes
start, but run nothing until the copy is accepted. They do not know it of a copy of the files, such as a
backup restored to a point in time: hold that one before processes start.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restored {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Shows whether processes run jobs in this database [default]
    Show,
    /// Lets processes run the jobs of this copy
    Accept(Why),
    /// Makes processes that start from now on run nothing until the database is accepted
    Hold(Why),
}

#[derive(Clone, Debug, Args)]
struct Why {
    /// Why, for those who read the audit
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

impl Restored {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        let mut tx = conn.begin().await?;
        let (changed, done) = match self.command.unwrap_or(Command::Show) {
            Command::Show => (false, None),
            Command::Accept(Why { why }) => {
                (accept(&mut tx, &schema).await?, Some(("accept", why)))
            }
            Command::Hold(Why { why }) => (hold(&mut tx, &schema).await?, Some(("hold", why))),
        };
        if let (true, Some((what, why))) = (changed, done) {
            let done = Act {
                why,
                ..act(what, "database")
            };
            audit(&mut tx, &schema, done).await?;
        }
        let accepted = is_original(&mut tx, &schema).await?;
        tx.commit().await?;
        say(match accepted {
            true => "processes run the jobs of this database",
            false => {
                "processes that start here run nothing: look with `queue stats` at what would run, then let \
                 them run it with `queue restored accept`"
            }
        });
        global.conclude(&json!({"accepted": accepted, "changed": changed}))
    }
}
