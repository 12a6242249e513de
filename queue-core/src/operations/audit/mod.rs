//! The record of what people did: who, what, when, and why they said.

use std::time::Duration;

use sqlx::PgConnection;

use crate::sql::Schema;
use crate::transitions::millis;

const RECORD: &str = include_str!("record.sql");
const CLEAR: &str = include_str!("clear.sql");
const CLEAR_OPERATIONS: &str = include_str!("clear_operations.sql");

/// Who acts.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Their name.
    pub who: String,
    /// Their role.
    pub role: String,
}

/// What somebody did.
#[derive(Clone, Debug, Default)]
pub struct Act {
    /// The verb, such as `retry`.
    pub what: String,
    /// To what, such as `jobs/4711` or `queues/mail`.
    pub target: String,
    /// Why they did it, if they said so.
    pub why: Option<String>,
    /// How many jobs an act on many changed.
    pub jobs: Option<i64>,
    /// Whether it was refused, so that nothing changed.
    pub refused: bool,
}

/// Records an act, in the transaction that makes the change.
pub async fn record(
    conn: &mut PgConnection,
    schema: &Schema,
    actor: &Actor,
    act: &Act,
) -> Result<(), sqlx::Error> {
    schema
        .query(RECORD)
        .bind(&actor.who)
        .bind(&actor.role)
        .bind(&act.what)
        .bind(&act.target)
        .bind(&act.why)
        .bind(act.jobs)
        .bind(act.refused)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes up to `limit` acts that are older than `keep`, and up to as many operations that ended longer ago.
/// Returns how many acts.
pub async fn clear_audit(
    conn: &mut PgConnection,
    schema: &Schema,
    keep: Duration,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let clear = |statement| {
        let query = schema.query(statement).bind(millis(keep));
        query.bind(i64::from(limit))
    };
    clear(CLEAR_OPERATIONS).execute(&mut *conn).await?;
    Ok(clear(CLEAR).execute(conn).await?.rows_affected())
}
