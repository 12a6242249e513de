//! Stores the recurring jobs that a source declares.

use sqlx::{Connection as _, PgConnection};

use super::RecurringJob;
use super::edit::{RecurringError, differences, owner, store};
use crate::schedule::Tz;
use crate::sql::Schema;

const LEFTOVERS: &str = include_str!("leftovers.sql");
const UNDECLARE: &str = include_str!("undeclare.sql");
const UNDECLARE_MOVED: &str = include_str!("undeclare_moved.sql");

/// What registering changed, as names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Recurring jobs that are new.
    pub added: Vec<String>,
    /// Recurring jobs that differed.
    pub changed: Vec<String>,
    /// Recurring jobs that the source no longer declares.
    pub removed: Vec<String>,
    /// Recurring jobs that the source no longer declares, but that were not removed.
    pub leftovers: Vec<String>,
    /// Recurring jobs that another source declares otherwise. Nothing was changed for them.
    pub collisions: Vec<Collision>,
}

/// A recurring job that another source declares otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name.
    pub name: String,
    /// The source that declares it; `None` if it was added at run time.
    pub owner: Option<String>,
    /// In what the two differ, as names of columns.
    pub differences: Vec<String>,
}

/// Makes the recurring jobs of a source equal to `declared`, in one transaction: adds, changes and
/// removes. A recurring job that is paused stays paused. Its plan changes only if its schedule or
/// zone does. One that another source declares is shared if it is equal, and taken over if that source
/// has no process any more.
pub async fn register(
    conn: &mut PgConnection,
    schema: &Schema,
    source: &str,
    declared: &[RecurringJob],
    default_zone: Tz,
) -> Result<Registered, RecurringError> {
    let mut tx = conn.begin().await?;
    let mut registered = store_all(&mut tx, schema, source, declared, default_zone).await?;
    registered.removed = others(&mut tx, schema, UNDECLARE, source, declared).await?;
    tx.commit().await?;
    Ok(registered)
}

/// Does the same as [`register`], but removes only those that this source declares `elsewhere`, on another shard:
/// another program may have the same source and declare other recurring jobs.
pub async fn declare(
    conn: &mut PgConnection,
    schema: &Schema,
    source: &str,
    declared: &[RecurringJob],
    elsewhere: &[RecurringJob],
    default_zone: Tz,
) -> Result<Registered, RecurringError> {
    let mut tx = conn.begin().await?;
    let mut registered = store_all(&mut tx, schema, source, declared, default_zone).await?;
    registered.removed = others(&mut tx, schema, UNDECLARE_MOVED, source, elsewhere).await?;
    registered.leftovers = others(&mut tx, schema, LEFTOVERS, source, declared).await?;
    tx.commit().await?;
    Ok(registered)
}

/// Adds and changes recurring jobs, within a transaction.
async fn store_all(
    tx: &mut PgConnection,
    schema: &Schema,
    source: &str,
    declared: &[RecurringJob],
    default_zone: Tz,
) -> Result<Registered, RecurringError> {
    // Two processes that start at once would otherwise undo each other's changes.
    schema
        .query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("{}.recurring_jobs", schema.name()))
        .execute(&mut *tx)
        .await?;
    let mut registered = Registered::default();
    for recurring in declared {
        let name = recurring.name().to_owned();
        match store(tx, schema, recurring, default_zone, Some(source)).await? {
            Some(true) => registered.added.push(name),
            Some(false) => registered.changed.push(name),
            None => {
                let differences = differences(tx, schema, recurring, default_zone).await?;
                if !differences.is_empty() {
                    registered.collisions.push(Collision {
                        owner: owner(tx, schema, &name).await?.flatten(),
                        name,
                        differences,
                    });
                }
            }
        }
    }
    Ok(registered)
}

/// Removes or lists recurring jobs of a source, by the names of those that it declares.
async fn others(
    tx: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    source: &str,
    declared: &[RecurringJob],
) -> Result<Vec<String>, sqlx::Error> {
    let names: Vec<&str> = declared.iter().map(RecurringJob::name).collect();
    schema
        .query_scalar(statement)
        .bind(source)
        .bind(names)
        .fetch_all(tx)
        .await
}
