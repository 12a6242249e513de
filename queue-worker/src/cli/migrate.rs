//! `queue migrate`: applies migrations, or shows which are applied.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use queue_core::Schema;
use queue_core::inspect::doctor;
use queue_core::migrate::{self, MigrateError, Migration, MigrationStatus, Status};
use serde_json::json;

use super::across::on_each;
use super::output::{Column, absolute, counted, print, say, table_text};
use super::{Database, Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue migrate                applies missing migrations; safe to run from many places at once
  queue migrate status         shows which are applied; exits with 1 if any is missing
  queue migrate sql > up.sql   writes all of them as one script, to be applied by hand

The tables and the list of applied migrations are in a schema of their own (`queue`, or --schema),
apart from the application's migrations.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Migrate {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Applies missing migrations [default]
    Up,
    /// Shows which migrations are applied
    Status,
    /// Prints the migrations as SQL; needs no database
    Sql,
}

impl Migrate {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command {
            None | Some(Command::Up) => on_each(global, up).await,
            Some(Command::Status) => on_each(global, status).await,
            Some(Command::Sql) => sql(global),
        }
    }
}

async fn up(global: &Global) -> Result<Exit, Failure> {
    let database = Database::configured(&global.load()?)?;
    let applied = apply(&database).await?;
    let mut conn = database.connect().await?;
    if let Some(finding) = doctor::encoding(&mut conn).await? {
        say(format!("warning: {}: {}", finding.what, finding.why));
    }
    let found = migrate::status(&mut conn, &database.schema).await?;
    let schema = database.schema.name();
    say(match applied.len() as u64 {
        0 if found.is_newer() => newer(schema, &found),
        0 => format!("the schema `{schema}` is up to date"),
        count => {
            let migrations = counted(count, "migration", "migrations");
            format!("applied {migrations} to the schema `{schema}`")
        }
    });
    let applied = applied.iter();
    let applied = applied.map(|each| json!({"version": each.version, "name": each.name}));
    global.conclude(&applied.collect::<Vec<_>>())
}

/// Applies missing migrations.
pub(super) async fn apply(database: &Database) -> Result<Vec<Migration>, Failure> {
    let mut conn = database.connect().await?;
    let applied = migrate::migrate(&mut conn, &database.schema).await;
    applied.map_err(|error| match error {
        MigrateError::Database(error) => error.into(),
        error => Failure::new(Exit::Failed, error),
    })
}

async fn status(global: &Global) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let found = migrate::status(&mut conn, &schema).await?;
    let known = found.known.iter().map(|status| {
        let (version, name) = (status.migration.version, status.migration.name);
        json!({"version": version, "name": name, "applied_at": status.applied_at})
    });
    let table = |_: &_| table_text(&found.known, &COLUMNS);
    global.print(&known.collect::<Vec<_>>(), table)?;
    Ok(judge(schema.name(), &found))
}

const COLUMNS: [Column<'_, MigrationStatus>; 3] = [
    ("#VERSION", &|status| status.migration.version.to_string()),
    ("NAME", &|status| status.migration.name.to_owned()),
    ("APPLIED", &|status| {
        status.applied_at.map_or("missing".to_owned(), absolute)
    }),
];

fn judge(schema: &str, found: &Status) -> Exit {
    let missing = found.missing();
    if missing > 0 {
        let migrations = counted(missing as u64, "migration is", "migrations are");
        say(format!(
            "{migrations} missing in the schema `{schema}`: run `queue migrate`"
        ));
        return Exit::Failed;
    }
    if found.is_newer() {
        say(newer(schema, found));
    }
    Exit::Fine
}

fn newer(schema: &str, found: &Status) -> String {
    let version = found.version;
    format!(
        "the schema `{schema}` is at version {version}, newer than this program: nothing to apply"
    )
}

fn sql(global: &Global) -> Result<Exit, Failure> {
    let config = global.load_all()?;
    let shards = config.used_shards().into_iter();
    let mut schemas: BTreeSet<String> = shards
        .filter_map(|shard| Some(config.of_shard(shard)?.database.schema))
        .collect();
    if schemas.is_empty() {
        schemas.insert(config.database.schema);
    }
    for schema in schemas {
        print(migrate::script(&Schema::named(&schema)?))?;
    }
    Ok(Exit::Fine)
}
