//! Stores the schedules that a source declares.

use sqlx::{Connection as _, PgConnection};

use super::RecurringJob;
use super::edit::{RecurringError, owner, store};
use crate::schedule::Tz;
use crate::sql::Schema;

const UNDECLARE: &str = include_str!("undeclare.sql");

/// What registering changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Schedules that were not there.
    pub added: Vec<String>,
    /// Schedules that said something else.
    pub changed: Vec<String>,
    /// Schedules that the source does not declare any more.
    pub removed: Vec<String>,
    /// Schedules whose name belongs to somebody else. They were left alone.
    pub collisions: Vec<Collision>,
}

/// A name that belongs to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name.
    pub name: String,
    /// The source that declares it; nothing when it was added at run time.
    pub owner: Option<String>,
}

/// Brings the schedules of a source to what it declares, in one transaction: adds what is missing,
/// changes what says something else, and removes what is not declared any more. Whether they are
/// paused is not touched, nor is the next due time of one whose text and zone are the same.
///
/// # Errors
/// Refuses a schedule that says no times; returns what the server answered.
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

/// Does what [`register`] does, but removes nothing: for a source whose name others may bear, too,
/// and who cannot know that what it does not declare is declared by nobody.
///
/// # Errors
/// Refuses what [`register`] refuses; returns what the server answered.
pub async fn declare(
    conn: &mut PgConnection,
    schema: &Schema,
    source: &str,
    declared: &[RecurringJob],
    default_zone: Tz,
) -> Result<Registered, RecurringError> {
    let mut tx = conn.begin().await?;
    // One at a time: two that are started at once would add and remove in each other's way.
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
