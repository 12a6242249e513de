//! Additions to sqlx: transactions that survive cancellation, and classes of errors.

use std::borrow::Cow;

use sqlx::{PgPool, Postgres, Transaction};

/// Begins a transaction at the isolation level that our statements need, even if the database has another
/// default: they meet concurrent changes by reading again, and a stricter level would refuse them.
pub(crate) const BEGIN: &str = "begin isolation level read committed";

/// Begins a transaction that survives the caller being cancelled.
///
/// In sqlx 0.9, dropping the future of `begin` can return a connection to the pool that is still in a
/// transaction. So `begin` runs to its end on a task of its own. If its caller is gone by then, the
/// transaction is dropped and so rolled back.
///
/// # Panics
/// Panics outside a tokio runtime.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    begin_with(pool, "begin").await
}

/// Begins a transaction for statements of the queue as [`begin`] does, at the isolation level they need.
///
/// # Panics
/// Panics outside a tokio runtime.
pub async fn begin_read_committed(
    pool: &PgPool,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    begin_with(pool, BEGIN).await
}

async fn begin_with(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    match tokio::spawn(async move { pool.begin_with(statement).await }).await {
        Ok(begun) => begun,
        Err(_shutting_down) => Err(sqlx::Error::WorkerCrashed),
    }
}

/// Returns whether the same call may succeed later: the connection broke, the server is starting or
/// stopping, or there was no connection.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
        _ => false,
    }
}

/// Connection exceptions, serialization failures and deadlocks, insufficient resources, operator
/// intervention (shutdown, terminated backend, not yet accepting connections), read-only standby.
fn is_transient_code(code: &str) -> bool {
    ["08", "40", "53", "57"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "25006"
        || code == "55P03"
}

/// Returns whether the server rolled the transaction back in favour of another: a serialization failure or
/// a deadlock. The same transaction may succeed at once.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "40001" || code == "40P01")
}

/// Returns whether the server refused a write: it is a standby, or transactions are read-only by default.
pub fn is_read_only(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "25006")
}

/// Returns whether an error means that the tables of the queue are missing, or older than this program: it names
/// a table, schema, column or function that does not exist.
pub fn is_not_migrated(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| ["42P01", "3F000", "42703", "42883"].contains(&code.as_ref()))
}

/// Returns whether a statement waited for a lock for longer than it may.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "55P03")
}

/// Returns whether a statement took longer than it may.
pub(crate) fn is_out_of_time(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "57014")
}

/// Returns the code of an error of the server: five characters, as in its manual.
fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}
