//! Stores the recurring jobs that a source declares.

use sqlx::{Connection as _, PgConnection};

use super::RecurringJob;
use super::edit::{RecurringError, owner, store};
use crate::schedule::Tz;
use crate::sql::Schema;

const UNDECLARE: &str = include_str!("undeclare.sql");

/// What registering changed, as names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Recurring jobs that are new.
    pub added: Vec<String>,
    /// Recurring jobs that differed.
    pub changed: Vec<String>,
    /// Recurring jobs that the source no longer declares.
    pub removed: Vec<String>,
    /// Recurring jobs whose name belongs to another source. Nothing was changed for them.
    pub collisions: Vec<Collision>,
}

/// A name that belongs to another source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name.
    pub name: String,
    /// The source that declares it; `None` if it was added at run time.
    pub owner: Option<String>,
}

/// Makes the recurring jobs of a source equal to `declared`, in one transaction: adds, changes and
/// removes. A recurring job that is paused stays paused. Its plan changes only if its schedule or
/// zone does.
pub async fn register(
    conn: &mut PgConnection,
    schema: &Schema,
    source: &str,
    declared: &[RecurringJob],
    default_zone: Tz,
) -> Result<Registered, RecurringError> {
    let mut tx = conn.begin().await?;
    let mut registered = declare(&mut tx, schema, source, declared, default_zone).await?;
    let names: Vec<&str> = declared.iter().map(RecurringJob::name).collect();
    registered.removed = sqlx::query_scalar(schema.sql(UNDECLARE))
        .bind(source)
        .bind(names)
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(registered)
}

/// Does the same as [`register`], but removes nothing: another program may have the same source and
/// declare other recurring jobs.
pub async fn declare(
    conn: &mut PgConnection,
    schema: &Schema,
    source: &str,
    declared: &[RecurringJob],
    default_zone: Tz,
) -> Result<Registered, RecurringError> {
    let mut tx = conn.begin().await?;
    // Two processes that start at once would otherwise undo each other's changes.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("{}.recurring_jobs", schema.name()))
        .execute(&mut *tx)
        .await?;
    let mut registered = Registered::default();
    for recurring in declared {
        let name = recurring.name().to_owned();
        match store(&mut tx, schema, recurring, default_zone, Some(source)).await? {
            Some(true) => registered.added.push(name),
            Some(false) => registered.changed.push(name),
            None => {
                let owner = owner(&mut tx, schema, &name).await?.flatten();
                if owner.as_deref() != Some(source) {
                    registered.collisions.push(Collision { name, owner });
                }
            }
        }
    }
    tx.commit().await?;
    Ok(registered)
}
