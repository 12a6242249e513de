//! `queue recurring pause`, `resume`, `run` and `remove`

use clap::Args;
use queue_core::recurring::{self, RecurringError};
use serde_json::json;

use crate::cli::confirm::confirm;
use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{print, print_json, say};

/// The recurring jobs to change.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// The recurring jobs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The job is enqueued even if the recurring job is paused or an earlier job has not ended. The id of
the job is printed.")]
pub(super) struct Run {
    /// The recurring job
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    which: Names,
    /// Does not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl Names {
    pub(super) async fn pause(&self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let pause = async |name: &str| {
            let changed = recurring::pause(&mut conn, &database.schema, name).await?;
            say(match changed {
                true => format!("paused {name}"),
                false => format!("{name} was already paused"),
            });
            Ok(changed)
        };
        self.change_each(global, pause).await
    }

    pub(super) async fn resume(&self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let resume = async |name: &str| {
            let changed = recurring::resume(&mut conn, &database.schema, name).await?;
            say(match changed {
                true => format!("resumed {name}"),
                false => format!("{name} was not paused"),
            });
            Ok(changed)
        };
        self.change_each(global, resume).await
    }

    async fn change_each(
        &self,
        global: &Global,
        mut change: impl AsyncFnMut(&str) -> Result<bool, RecurringError>,
    ) -> Result<Exit, Failure> {
        let mut changes = Vec::new();
        for recurring_job in &self.names {
            let changed = change(recurring_job).await?;
            changes.push(json!({"recurring_job": recurring_job, "changed": changed}));
        }
        if global.json {
            print_json(&changes)?;
        }
        Ok(Exit::Fine)
    }
}

impl Remove {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let question = format!("remove {}", self.which.names.join(", "));
        if !confirm(&question, self.yes)? {
            return Ok(Exit::Failed);
        }
        let remove = async |name: &str| {
            let source = recurring::remove(&mut conn, &database.schema, name).await?;
            say(match source {
                Some(source) => format!(
                    "removed {name}, declared by `{source}`: it comes back when a process that \
                     still declares it starts"
                ),
                None => format!("removed {name}"),
            });
            Ok(true)
        };
        self.which.change_each(global, remove).await
    }
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let recurring_job = &self.name;
        let id = recurring::run(&mut conn, &database.schema, recurring_job).await?;
        if global.json {
            print_json(&json!({"recurring_job": recurring_job, "id": id}))?;
        } else {
            print(id.to_string())?;
        }
        Ok(Exit::Fine)
    }
}
