//! `queue recurring pause`, `resume`, `run` and `remove`

use clap::Args;
use queue_core::Schema;
use queue_core::inspect::recurring as inspect;
use queue_core::recurring::{self, RecurringError};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::App;
use crate::cli::audit::{act, audit};
use crate::cli::confirm::confirm;
use crate::cli::here::{note_absent, shard};
use crate::cli::ids::of_shard;
use crate::cli::kinds::Kinds;
use crate::cli::output::say;
use crate::cli::{Database, Exit, Failure, Global};

/// The recurring jobs to change.
#[derive(Clone, Debug, Args)]
pub(super) struct Names {
    /// The recurring jobs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The job is enqueued even if the recurring job is paused or an earlier job has not ended. The id of
the job is printed.")]
pub(super) struct Run {
    /// The recurring job
    pub(super) name: String,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    which: Names,
    /// Does not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

/// Returns those of the names that are on this shard; all if the queue has no shards.
async fn here(
    conn: &mut PgConnection,
    schema: &Schema,
    names: &[String],
) -> Result<Vec<String>, Failure> {
    if shard().is_none() {
        return Ok(names.to_vec());
    }
    let mut here = Vec::new();
    for name in names {
        match inspect::show(conn, schema, name, 0).await? {
            Some(_) => here.push(name.clone()),
            None => note_absent(RecurringError::Unknown(name.clone()).to_string()),
        }
    }
    Ok(here)
}

/// Pauses or resumes recurring jobs.
pub(super) async fn set_paused(
    global: &Global,
    which: &Names,
    paused: bool,
) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let mut changes = Vec::new();
    for name in &here(&mut conn, &schema, &which.names).await? {
        let mut tx = conn.begin().await?;
        let (verb, changed) = match paused {
            true => ("pause", recurring::pause(&mut tx, &schema, name).await?),
            false => ("resume", recurring::resume(&mut tx, &schema, name).await?),
        };
        if changed {
            audit(&mut tx, &schema, act(verb, format!("recurring/{name}"))).await?;
        }
        tx.commit().await?;
        say(match (paused, changed) {
            (true, true) => format!("paused {name}"),
            (true, false) => format!("{name} was already paused"),
            (false, true) => format!("resumed {name}"),
            (false, false) => format!("{name} was not paused"),
        });
        changes.push(json!({"recurring_job": name, "changed": changed}));
    }
    global.conclude(&changes)
}

impl Remove {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        let names = here(&mut conn, &schema, &self.which.names).await?;
        if names.is_empty() {
            return Ok(Exit::Fine);
        }
        if !confirm(&format!("remove {}", names.join(", ")), self.yes)? {
            return Ok(Exit::Failed);
        }
        let mut changes = Vec::new();
        for name in names {
            let mut tx = conn.begin().await?;
            let source = recurring::remove(&mut tx, &schema, &name).await?;
            audit(&mut tx, &schema, act("remove", format!("recurring/{name}"))).await?;
            tx.commit().await?;
            say(match source {
                Some(source) => format!(
                    "removed {name}, declared by `{source}`: it comes back when a process that \
                     still declares it starts"
                ),
                None => format!("removed {name}"),
            });
            changes.push(json!({"recurring_job": name, "changed": true}));
        }
        global.conclude(&changes)
    }
}

impl Run {
    pub(super) async fn run<S>(self, global: &Global, app: &App<S>) -> Result<Exit, Failure> {
        let config = global.load()?;
        let (mut conn, schema) = Database::open(&config).await?;
        if let Some(stored) = inspect::show(&mut conn, &schema, &self.name, 0).await? {
            let known = Kinds::new(app.kinds(), &config.handlers, true);
            known.check(&stored.kind).map_err(Failure::usage)?;
        }
        let kinds = app.known_kinds();
        let mut tx = conn.begin().await?;
        let id = recurring::run(&mut tx, &schema, &self.name, &kinds).await?;
        let done = act("run", format!("recurring/{}", self.name));
        audit(&mut tx, &schema, done).await?;
        tx.commit().await?;
        let result = json!({"recurring_job": self.name, "id": id});
        global.print(&result, |_| of_shard(id))
    }
}
