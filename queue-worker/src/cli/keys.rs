//! `queue keys`: encrypts with the newest key what is encrypted with older ones.

use clap::{Args, Subcommand};
use queue_core::Keys;
use queue_core::operations::keys::{Rotated, rotate};
use serde_json::json;

use super::audit::{act, audit};
use super::output::{counted, say};
use super::{Database, Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue keys rotate --dry-run     counts the encrypted values of each key
  queue keys rotate               encrypts all of them with the first key

The keys are in QUEUE_ENCRYPTION_KEYS, as id:key,id:key: the first encrypts, all decrypt. Before the
rotation, restart all processes with the new key at the front. Remove an old key when a dry run finds no
value of it.";

const NO_KEYS: &str =
    "no keys given: set QUEUE_ENCRYPTION_KEYS to id:key,id:key, the newest key first";

/// How many jobs are read at once.
const PAGE: u32 = 200;

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeysCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Encrypts with the first key what is encrypted with older ones, beside running workers
    Rotate {
        /// Counts the values of each key, and changes nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl KeysCommand {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Command::Rotate { dry_run } = self.command;
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        let keys = schema.keys().ok_or_else(|| Failure::usage(NO_KEYS))?;
        if !dry_run {
            audit(&mut conn, &schema, act("rotate", "keys")).await?;
        }
        let mut all = Rotated::default();
        let mut after = Some(0);
        while let Some(from) = after {
            let page = rotate(&mut conn, &schema, keys, from, PAGE, dry_run).await?;
            for (key, count) in page.found {
                *all.found.entry(key).or_default() += count;
            }
            all.rotated += page.rotated;
            all.unreadable += page.unreadable;
            after = page.last;
        }
        report(&all, keys, dry_run);
        global.conclude(&json!({
            "key": keys.first(),
            "found": all.found,
            "rotated": all.rotated,
            "unreadable": all.unreadable,
        }))?;
        Ok(match all.unreadable {
            0 => Exit::Fine,
            _ => Exit::Failed,
        })
    }
}

fn report(all: &Rotated, keys: &Keys, dry_run: bool) {
    let values = |count: u64| counted(count, "value", "values");
    if all.found.is_empty() {
        say("found no encrypted values");
    }
    for (key, count) in &all.found {
        say(format!("found {} of the key {key}", values(*count)));
    }
    if !dry_run {
        let (rotated, key) = (values(all.rotated), keys.first());
        say(format!("encrypted {rotated} with the key {key}"));
    }
    if all.unreadable > 0 {
        let unreadable = values(all.unreadable);
        say(format!(
            "could not decrypt {unreadable}, which stay as they are: their key is not in \
             QUEUE_ENCRYPTION_KEYS, or they were changed in the database"
        ));
    }
}
