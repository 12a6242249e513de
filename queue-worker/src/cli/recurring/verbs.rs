//! `queue recurring pause`, `resume`, `run` and `remove`

use clap::Args;
use queue_core::JobId;
use queue_core::recurring as verbs;
use serde::Serialize;

use crate::cli::confirm::confirm;
use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{print, print_json, say};

/// The schedules to change.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// The schedules
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It is enqueued although the schedule is paused, and although an earlier job has not ended. The id of
the job is printed.")]
pub(super) struct Run {
    /// The schedule
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    which: Names,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Serialize)]
struct Changed<'a> {
    schedule: &'a str,
    changed: bool,
}

#[derive(Serialize)]
struct Enqueued<'a> {
    schedule: &'a str,
    id: JobId,
}

pub(super) async fn pause(global: &Global, which: &Names) -> Result<Exit, Failure> {
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let mut changes = Vec::new();
    for name in &which.names {
        let changed = verbs::pause(&mut conn, &database.schema, name).await?;
        say(match changed {
            true => format!("paused schedule {name}"),
            false => format!("schedule {name} was paused already"),
        });
        changes.push(Changed {
            schedule: name,
            changed,
        });
    }
    finish(global, &changes)
}

pub(super) async fn resume(global: &Global, which: &Names) -> Result<Exit, Failure> {
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let mut changes = Vec::new();
    for name in &which.names {
        let changed = verbs::resume(&mut conn, &database.schema, name).await?;
        say(match changed {
            true => format!("resumed schedule {name}"),
            false => format!("schedule {name} was not paused"),
        });
        changes.push(Changed {
            schedule: name,
            changed,
        });
    }
    finish(global, &changes)
}

impl Remove {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let names = &self.which.names;
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        if !confirm(&format!("remove {}", names.join(", ")), self.yes)? {
            return Ok(Exit::Failed);
        }
        let mut changes = Vec::new();
        for name in names {
            let source = verbs::remove(&mut conn, &database.schema, name).await?;
            say(match source {
                Some(source) => format!(
                    "removed schedule {name}, declared by `{source}`: it comes back when a \
                     process starts that still declares it"
                ),
                None => format!("removed schedule {name}"),
            });
            changes.push(Changed {
                schedule: name,
                changed: true,
            });
        }
        finish(global, &changes)
    }
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let id = verbs::run(&mut conn, &database.schema, &self.name).await?;
        if global.json {
            print_json(&Enqueued {
                schedule: &self.name,
                id,
            })?;
        } else {
            print(id.to_string())?;
        }
        Ok(Exit::Fine)
    }
}

fn finish(global: &Global, changes: &[Changed<'_>]) -> Result<Exit, Failure> {
    if global.json {
        print_json(changes)?;
    }
    Ok(Exit::Fine)
}
