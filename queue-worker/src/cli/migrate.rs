//! `queue migrate`: brings the tables up to date, or tells whether that is needed.

use clap::{Args, Subcommand};
use queue_core::Schema;
use queue_core::migrate::{self, MIGRATIONS, MigrateError};
use serde::Serialize;

use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::output::{Rows, absolute, counted, print, print_json, say};

const EXAMPLES: &str = "\
Examples:
  queue migrate                applies what is missing; safe to run from many places at once
  queue migrate status         tells what has been applied; exits with 1 if something is missing
  queue migrate sql > up.sql   writes everything as one script, to be applied by hand

The tables live in a schema of their own (`queue`, or --schema) with their own bookkeeping, beside
whatever migrations the application has.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Migrate {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Applies the migrations that are missing [default]
    Up,
    /// Tells which migrations have been applied
    Status,
    /// Prints the migrations as SQL; needs no database
    Sql,
}

#[derive(Serialize)]
pub(super) struct Applied {
    version: i32,
    name: &'static str,
}

#[derive(Serialize)]
struct Status {
    version: i32,
    name: &'static str,
    applied_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl Migrate {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command {
            None | Some(Command::Up) => up(global).await,
            Some(Command::Status) => status(global).await,
            Some(Command::Sql) => sql(global),
        }
    }
}

async fn up(global: &Global) -> Result<Exit, Failure> {
    let database = Database::of(global)?;
    let applied = apply(&database).await?;
    if global.json {
        print_json(&applied)?;
    } else if applied.is_empty() {
        say(format!(
            "the schema `{}` is up to date",
            database.schema.name()
        ));
    } else {
        say(format!(
            "applied {} to the schema `{}`",
            counted(applied.len() as u64, "migration", "migrations"),
            database.schema.name()
        ));
    }
    Ok(Exit::Fine)
}

/// Applies what is missing.
pub(super) async fn apply(database: &Database) -> Result<Vec<Applied>, Failure> {
    let mut conn = database.connect().await?;
    let applied = migrate::migrate(&mut conn, &database.schema)
        .await
        .map_err(|error| match error {
            MigrateError::Database(error) => error.into(),
            error => Failure::new(Exit::Failed, error),
        })?;
    Ok(applied
        .into_iter()
        .map(|migration| Applied {
            version: migration.version,
            name: migration.name,
        })
        .collect())
}

async fn status(global: &Global) -> Result<Exit, Failure> {
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let found = migrate::status(&mut conn, &database.schema).await?;
    let known: Vec<Status> = found
        .known
        .iter()
        .map(|status| Status {
            version: status.migration.version,
            name: status.migration.name,
            applied_at: status.applied_at,
        })
        .collect();
    if global.json {
        print_json(&known)?;
    } else {
        table(&known)?;
    }
    Ok(judge(&database.schema, &known, found.version))
}

fn table(known: &[Status]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["#VERSION", "NAME", "APPLIED"]);
    for status in known {
        rows.add([
            status.version.to_string(),
            status.name.to_owned(),
            status.applied_at.map_or("missing".to_owned(), absolute),
        ]);
    }
    rows.print()
}

fn judge(schema: &Schema, known: &[Status], version: i32) -> Exit {
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.version);
    let missing = known
        .iter()
        .filter(|each| each.applied_at.is_none())
        .count();
    if version > newest {
        say(format!(
            "the schema `{}` is at version {version}, newer than this program: upgrade it",
            schema.name()
        ));
    } else if missing > 0 {
        say(format!(
            "{} missing in the schema `{}`: run `queue migrate`",
            counted(missing as u64, "migration is", "migrations are"),
            schema.name()
        ));
    } else {
        return Exit::Fine;
    }
    Exit::Failed
}

fn sql(global: &Global) -> Result<Exit, Failure> {
    let config = global.load()?;
    let schema =
        Schema::named(&config.database.schema).map_err(|error| Failure::new(Exit::Usage, error))?;
    print(migrate::script(&schema))?;
    Ok(Exit::Fine)
}
