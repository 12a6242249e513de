//! Migrations of the schema of the queue, independent of those of the application.
//!
//! Each migration is applied in a transaction of its own that first takes a transaction-scoped
//! advisory lock. So several processes that start at once apply each migration once, and nothing stays
//! locked when one of them dies. Its commands are sent one at a time, as a distributed planner demands: each
//! ends with a line that ends in `;`, and Postgres refuses two at once. An applied migration is a row in
//! `queue.migrations`. A database with a migration that this program does not know is newer than the
//! program, as after a rollback. The program works on it, and changes nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use crate::db::{self, BEGIN};
use crate::sql::Schema;

/// One migration.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number in the order, from 1.
    pub version: i32,
    /// Its name.
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
    migration(
        9,
        "state_bits",
        include_str!("../migrations/0009_state_bits.sql"),
    ),
    migration(
        10,
        "recurring_unique",
        include_str!("../migrations/0010_recurring_unique.sql"),
    ),
    migration(11, "steps", include_str!("../migrations/0011_steps.sql")),
    migration(
        12,
        "progress_and_events",
        include_str!("../migrations/0012_progress_and_events.sql"),
    ),
    migration(13, "pauses", include_str!("../migrations/0013_pauses.sql")),
    migration(
        14,
        "signing_key",
        include_str!("../migrations/0014_signing_key.sql"),
    ),
    migration(15, "audit", include_str!("../migrations/0015_audit.sql")),
    migration(
        16,
        "operations",
        include_str!("../migrations/0016_operations.sql"),
    ),
    migration(
        17,
        "context",
        include_str!("../migrations/0017_context.sql"),
    ),
    migration(
        18,
        "batches",
        include_str!("../migrations/0018_batches.sql"),
    ),
    migration(19, "counts", include_str!("../migrations/0019_counts.sql")),
    migration(
        20,
        "process requests",
        include_str!("../migrations/0020_process_requests.sql"),
    ),
    migration(
        21,
        "rate functions",
        include_str!("../migrations/0021_rate_functions.sql"),
    ),
    migration(
        22,
        "fairness",
        include_str!("../migrations/0022_fairness.sql"),
    ),
    migration(
        23,
        "short occurrences",
        include_str!("../migrations/0023_short_occurrences.sql"),
    ),
    migration(24, "depths", include_str!("../migrations/0024_depths.sql")),
    migration(
        25,
        "kind versions",
        include_str!("../migrations/0025_kind_versions.sql"),
    ),
    migration(26, "alerts", include_str!("../migrations/0026_alerts.sql")),
    migration(
        27,
        "attempt_versions",
        include_str!("../migrations/0027_attempt_versions.sql"),
    ),
    migration(28, "origin", include_str!("../migrations/0028_origin.sql")),
];

const fn migration(version: i32, name: &'static str, sql: &'static str) -> Migration {
    Migration { version, name, sql }
}

/// A migration, and when it was applied to a database.
#[derive(Clone, Copy, Debug)]
pub struct MigrationStatus {
    /// The migration.
    pub migration: Migration,
    /// When it was applied; none if it was not.
    pub applied_at: Option<DateTime<Utc>>,
}

/// Why the schema could not be migrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A migration failed, and was rolled back.
    #[error("could not apply migration {version} ({name}) to the schema `{schema}`")]
    Failed {
        /// The schema.
        schema: String,
        /// The migration's version.
        version: i32,
        /// Its name.
        name: &'static str,
        /// The error of the server.
        source: sqlx::Error,
    },
    /// A migration needs a table on which another transaction holds a lock. It waited for three seconds, because
    /// statements of processes wait behind it, and was rolled back.
    #[error(
        "migration {version} ({name}) needs a table that another transaction has locked, such as a dump: try \
         again when that has ended"
    )]
    Locked {
        /// The migration's version.
        version: i32,
        /// Its name.
        name: &'static str,
    },
    /// The applied migrations could not be read.
    #[error("could not read which migrations have been applied")]
    Database(#[from] sqlx::Error),
}

/// Statements of processes wait behind a migration that waits for a lock.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '3s';\n";
const CREATE_SCHEMA: &str = "create schema if not exists queue;\n";
const CREATE_BOOKKEEPING: &str = "create table if not exists queue.migrations (
    version    integer     not null,
    applied_at timestamptz not null default clock_timestamp(),
    name       text        not null,
    constraint migrations_pkey primary key (version)
);
";

/// Applies the missing migrations, and returns them. Any number of processes may call it at once. The
/// connection must not be in a transaction.
pub async fn migrate(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<Migration>, MigrateError> {
    let mut applied = Vec::new();
    for migration in MIGRATIONS {
        let is_new = apply(conn, schema, migration).await;
        if is_new.map_err(|error| migration.failed(schema, error))? {
            applied.push(*migration);
        }
    }
    Ok(applied)
}

/// Applies one migration unless it has been applied, and returns whether it did.
async fn apply(
    conn: &mut PgConnection,
    schema: &Schema,
    migration: &Migration,
) -> Result<bool, sqlx::Error> {
    // What others have applied is read after waiting for them.
    let mut tx = match conn.is_in_transaction() {
        false => conn.begin_with(BEGIN).await?,
        true => conn.begin().await?,
    };
    schema
        .query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("{}.migrations", schema.name()))
        .execute(&mut *tx)
        .await?;
    let applied = applied(&mut tx, schema).await?;
    if applied.contains_key(&migration.version) {
        return Ok(false);
    }
    let create_schema = match has_schema(&mut tx, schema).await? {
        true => "",
        false => CREATE_SCHEMA,
    };
    let script = migration.script();
    let script = format!("{LOCK_TIMEOUT}{create_schema}{CREATE_BOOKKEEPING}{script}");
    for command in script.split_inclusive(";\n") {
        let command = sqlx::query(schema.rename(command)).persistent(false);
        command.execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(true)
}

impl Migration {
    fn failed(&self, schema: &Schema, source: sqlx::Error) -> MigrateError {
        let Self { version, name, .. } = *self;
        if db::is_locked(&source) {
            return MigrateError::Locked { version, name };
        }
        MigrateError::Failed {
            schema: schema.name().to_owned(),
            version,
            name,
            source,
        }
    }

    /// Returns its statements, with one that records it.
    fn script(&self) -> String {
        let Self { version, name, sql } = self;
        format!(
            "\n-- {version:04} {name}\n\n{sql}\n\
             insert into queue.migrations (version, name) values ({version}, '{name}');\n"
        )
    }
}

/// Returns the versions of the applied migrations, each with the time.
async fn applied(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<BTreeMap<i32, DateTime<Utc>>, sqlx::Error> {
    if !has_bookkeeping(conn, schema).await? {
        return Ok(BTreeMap::new());
    }
    let rows = schema
        .query_as("select version, applied_at from queue.migrations")
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Returns whether the schema exists: only if not is it created, because `create schema if not exists`
/// needs the right to create schemas even then.
async fn has_schema(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    schema
        .query_scalar("select exists (select from pg_catalog.pg_namespace where nspname = $1)")
        .bind(schema.name())
        .fetch_one(conn)
        .await
}

/// Returns whether the table of migrations exists. Reads the catalogue as a table: `to_regclass` uses a
/// cache, which in a transaction may not know what another process has just committed.
async fn has_bookkeeping(conn: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    schema
        .query_scalar(
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

/// The migrations of a database.
#[derive(Clone, Debug)]
pub struct Status {
    /// The migrations that this program knows.
    pub known: Vec<MigrationStatus>,
    /// The newest version in the database, which may be newer than the program; 0 if none.
    pub version: i32,
}

impl Status {
    /// Returns how many migrations have not been applied. The program works only if there are none.
    #[must_use]
    pub fn missing(&self) -> usize {
        let known = self.known.iter();
        known.filter(|each| each.applied_at.is_none()).count()
    }

    /// Returns whether the database is newer than this program.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        let newest = MIGRATIONS.last().map_or(0, |newest| newest.version);
        self.version > newest
    }
}

/// Returns which migrations have been applied.
pub async fn status(conn: &mut PgConnection, schema: &Schema) -> Result<Status, sqlx::Error> {
    let applied = applied(conn, schema).await?;
    let known = MIGRATIONS.iter().map(|migration| MigrationStatus {
        migration: *migration,
        applied_at: applied.get(&migration.version).copied(),
    });
    Ok(Status {
        known: known.collect(),
        version: applied.keys().next_back().copied().unwrap_or(0),
    })
}

/// Returns all migrations as one script, which also records them, to be applied by hand.
pub fn script(schema: &Schema) -> String {
    let migrations: String = MIGRATIONS.iter().map(Migration::script).collect();
    let script = format!("begin;\n\n{CREATE_SCHEMA}{CREATE_BOOKKEEPING}{migrations}\ncommit;\n");
    schema.rename(&script).as_str().to_owned()
}
