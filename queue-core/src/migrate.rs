//! Our own migrator: our schema, our bookkeeping, beside whatever the host application does.
//!
//! Each migration is applied in a transaction of its own that first takes a transaction-scoped
//! advisory lock, so that several processes that start at once apply each one exactly once, and
//! nothing is left locked when one of them dies. What has been applied is a row in
//! `queue.migrations`. A database that knows a migration we do not know is newer than this
//! program, and is left alone.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, SqlStr};

use crate::sql::Schema;

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its place in the order, from 1.
    pub version: i32,
    /// What it is about.
    pub name: &'static str,
    sql: &'static str,
}

/// Every migration, in order.
pub const MIGRATIONS: &[Migration] = &[
    migration(1, "jobs", include_str!("../migrations/0001_jobs.sql")),
    migration(2, "states", include_str!("../migrations/0002_states.sql")),
    migration(
        3,
        "unique_keys",
        include_str!("../migrations/0003_unique_keys.sql"),
    ),
    migration(
        4,
        "processes",
        include_str!("../migrations/0004_processes.sql"),
    ),
    migration(5, "limits", include_str!("../migrations/0005_limits.sql")),
    migration(
        6,
        "recurring",
        include_str!("../migrations/0006_recurring.sql"),
    ),
    migration(7, "pollers", include_str!("../migrations/0007_pollers.sql")),
    migration(
        8,
        "plain_names",
        include_str!("../migrations/0008_plain_names.sql"),
    ),
];

const fn migration(version: i32, name: &'static str, sql: &'static str) -> Migration {
    Migration { version, name, sql }
}

/// A migration, and when it was applied to a database.
#[derive(Clone, Copy, Debug)]
pub struct MigrationStatus {
    /// The migration.
    pub migration: Migration,
    /// When it was applied, if it was.
    pub applied_at: Option<DateTime<Utc>>,
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database has migrations that this program does not know.
    #[error(
        "the schema `{schema}` is at version {found}, and this program knows versions up to \
         {known}: upgrade the program"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// The newest version in the database.
        found: i32,
        /// The newest version this program has.
        known: i32,
    },
    /// A migration failed, and left no trace.
    #[error("could not apply migration {version} ({name}) to the schema `{schema}`")]
    Failed {
        /// The schema.
        schema: String,
        /// The migration's version.
        version: i32,
        /// What it is about.
        name: &'static str,
        /// What the server answered.
        source: sqlx::Error,
    },
    /// The database could not be asked.
    #[error("could not read which migrations have been applied")]
    Database(#[from] sqlx::Error),
}

const CREATE_SCHEMA: &str = "create schema if not exists queue;\n";
const CREATE_BOOKKEEPING: &str = "create table if not exists queue.migrations (
    version    integer     not null,
    applied_at timestamptz not null default clock_timestamp(),
    name       text        not null,
    constraint migrations_pkey primary key (version)
);
";

/// Applies the migrations that are missing, and returns them. Safe to call from any number of
/// processes at once; the connection must not be in a transaction.
///
/// # Errors
/// Refuses a database that is newer than this program; returns what the server answered.
pub async fn migrate(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<Migration>, MigrateError> {
    refuse_newer(schema, &status(conn, schema).await?)?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS {
        let is_new =
            apply(conn, schema, migration)
                .await
                .map_err(|source| MigrateError::Failed {
                    schema: schema.name().to_owned(),
                    version: migration.version,
                    name: migration.name,
                    source,
                })?;
        if is_new {
            applied.push(*migration);
        }
    }
    Ok(applied)
}

/// Applies one migration unless it has been applied, and tells whether it did.
async fn apply(
    conn: &mut PgConnection,
    schema: &Schema,
    migration: &Migration,
) -> Result<bool, sqlx::Error> {
    let mut tx = sqlx::Connection::begin(conn).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("{}.migrations", schema.name()))
        .execute(&mut *tx)
        .await?;
    if applied_at(&mut tx, schema, migration.version)
        .await?
        .is_some()
    {
        return Ok(false);
    }
    if !has_schema(&mut tx, schema).await? {
        sqlx::raw_sql(schema.rename(CREATE_SCHEMA))
            .execute(&mut *tx)
            .await?;
    }
    sqlx::raw_sql(schema.rename(CREATE_BOOKKEEPING))
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql(schema.rename(migration.sql))
        .execute(&mut *tx)
        .await?;
    sqlx::query(schema.sql("insert into queue.migrations (version, name) values ($1, $2)"))
        .bind(migration.version)
        .bind(migration.name)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(true)
}

async fn applied_at(
    conn: &mut PgConnection,
    schema: &Schema,
    version: i32,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    if !has_bookkeeping(conn, schema).await? {
        return Ok(None);
    }
    sqlx::query_scalar(schema.sql("select applied_at from queue.migrations where version = $1"))
        .bind(version)
        .fetch_optional(conn)
        .await
}

/// Looks first, because `create schema if not exists` needs the right to create schemas even
/// where the schema exists.
async fn has_schema(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from pg_catalog.pg_namespace where nspname = $1)")
        .bind(schema.name())
        .fetch_one(conn)
        .await
}

/// Reads the catalogue like any table: `to_regclass` answers from a cache, which inside a
/// transaction may not have heard yet of what another process has just committed.
async fn has_bookkeeping(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (
            select
            from pg_catalog.pg_class
            join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
            where relname = 'migrations' and nspname = $1
        )",
    )
    .bind(schema.name())
    .fetch_one(conn)
    .await
}

/// What a database says of its migrations.
#[derive(Clone, Debug)]
pub struct Status {
    /// Every migration this program knows.
    pub known: Vec<MigrationStatus>,
    /// The newest version in the database, which may be newer than the program; 0 if none.
    pub version: i32,
}

/// Tells which migrations have been applied.
///
/// # Errors
/// Returns what the server answered.
pub async fn status(conn: &mut PgConnection, schema: &Schema) -> Result<Status, sqlx::Error> {
    let rows: Vec<(i32, DateTime<Utc>)> = if has_bookkeeping(conn, schema).await? {
        sqlx::query_as(schema.sql("select version, applied_at from queue.migrations"))
            .fetch_all(conn)
            .await?
    } else {
        Vec::new()
    };
    let known = MIGRATIONS
        .iter()
        .map(|migration| MigrationStatus {
            migration: *migration,
            applied_at: rows
                .iter()
                .find(|(version, _)| *version == migration.version)
                .map(|(_, applied_at)| *applied_at),
        })
        .collect();
    let version = rows.iter().map(|(version, _)| *version).max().unwrap_or(0);
    Ok(Status { known, version })
}

fn refuse_newer(schema: &Schema, status: &Status) -> Result<(), MigrateError> {
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if status.version <= known {
        return Ok(());
    }
    Err(MigrateError::Newer {
        schema: schema.name().to_owned(),
        found: status.version,
        known,
    })
}

/// Writes all migrations as one script, with their bookkeeping, for those who apply SQL by hand.
pub fn script(schema: &Schema) -> String {
    let mut script = String::from("begin;\n\n");
    script.push_str(CREATE_SCHEMA);
    script.push_str(CREATE_BOOKKEEPING);
    for migration in MIGRATIONS {
        let Migration { version, name, sql } = migration;
        script.push_str(&format!(
            "\n-- {version:04} {name}\n\n{sql}\n\
             insert into queue.migrations (version, name) values ({version}, '{name}');\n"
        ));
    }
    script.push_str("\ncommit;\n");
    let renamed: SqlStr = schema.rename(&script);
    renamed.as_str().to_owned()
}
