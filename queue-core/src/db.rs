//! What sqlx leaves to its users.

use sqlx::{PgPool, Postgres, Transaction};

/// Begins a transaction that survives the caller being cancelled.
///
/// In sqlx 0.9 a `begin` that is dropped half-way can return a connection to the pool that is
/// still inside a transaction. Running it to its end on a task of its own prevents that: when
/// nobody waits for the transaction any more, it is rolled back as it is dropped.
///
/// # Errors
/// Returns what the pool or the server answered.
///
/// # Panics
/// Panics outside a tokio runtime.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    match tokio::spawn(async move { pool.begin().await }).await {
        Ok(begun) => begun,
        Err(_shutting_down) => Err(sqlx::Error::WorkerCrashed),
    }
}

/// Tells whether an error says nothing about the statement: the connection broke, the server is
/// starting or stopping, or no connection could be had. The same call may succeed later.
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

/// Tells whether an error means that the queue's tables are not there.
pub fn is_not_migrated(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "42P01" || code == "3F000")
}
