//! The rows by which processes know of each other.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::sql::Schema;

const REGISTER: &str = include_str!("register.sql");
const HEARTBEAT: &str = include_str!("heartbeat.sql");
const DEREGISTER: &str = include_str!("deregister.sql");
const SLEEP: &str = include_str!("sleep.sql");
const POLL: &str = include_str!("poll.sql");
const STOP_POLLING: &str = include_str!("stop_polling.sql");
const WAKE: &str = include_str!("wake.sql");

/// Names one life of one process: a process that is declared dead and lives on takes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId(pub Uuid);

impl ProcessId {
    /// Draws a new id; later ones sort after earlier ones.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for ProcessId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a process tells about itself.
#[derive(Clone, Debug)]
pub struct ProcessInfo {
    /// A name for people, such as `worker-1.1234`.
    pub name: String,
    /// The host's name.
    pub host: String,
    /// The operating system's process id.
    pub pid: i32,
    /// The version of the program.
    pub version: String,
    /// Its queues, kinds and settings, for operators to read.
    pub details: serde_json::Value,
}

/// Writes the row of a process that starts.
///
/// # Errors
/// Returns what the server answered.
pub async fn register(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    info: &ProcessInfo,
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql(REGISTER))
        .bind(process.0)
        .bind(info.pid)
        .bind(&info.name)
        .bind(&info.host)
        .bind(&info.version)
        .bind(&info.details)
        .execute(conn)
        .await?;
    Ok(())
}

/// Says that a process lives, and whether it is stopping. Returns whether it still has a row; if
/// not, it has been declared dead and its jobs are not its own any more.
///
/// # Errors
/// Returns what the server answered.
pub async fn heartbeat(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    stopping: bool,
) -> Result<bool, sqlx::Error> {
    let beat = sqlx::query(schema.sql(HEARTBEAT))
        .bind(process.0)
        .bind(stopping)
        .execute(conn)
        .await?;
    Ok(beat.rows_affected() == 1)
}

/// Removes the rows of a process that ends.
///
/// # Errors
/// Returns what the server answered.
pub async fn deregister(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
) -> Result<(), sqlx::Error> {
    run(conn, schema, DEREGISTER, process).await
}

/// Says that a process has an idle worker, so that enqueueing notifies, and that it stops polling
/// some queues. The process must look for jobs once more before it sleeps.
///
/// # Errors
/// Returns what the server answered.
pub async fn sleep(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    polled: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql(SLEEP))
        .bind(process.0)
        .bind(polled)
        .execute(conn)
        .await?;
    Ok(())
}

/// Says that a process polls queues for jobs of some kinds, so that enqueueing those does not
/// notify. Returns the queues that it polls: those of the given ones that no other process polls.
///
/// # Errors
/// Returns what the server answered.
pub async fn poll(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    queues: &[String],
    kinds: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(schema.sql(POLL))
        .bind(process.0)
        .bind(queues)
        .bind(kinds)
        .fetch_all(conn)
        .await
}

/// Says that a process stops polling queues, and wakes the processes that sleep: jobs may be
/// waiting there.
///
/// # Errors
/// Returns what the server answered.
pub async fn stop_polling(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    queues: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql(STOP_POLLING))
        .bind(process.0)
        .bind(queues)
        .execute(conn)
        .await?;
    Ok(())
}

/// Says that no worker of a process is idle.
///
/// # Errors
/// Returns what the server answered.
pub async fn wake(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
) -> Result<(), sqlx::Error> {
    run(conn, schema, WAKE, process).await
}

async fn run(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    process: ProcessId,
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql(statement))
        .bind(process.0)
        .execute(conn)
        .await?;
    Ok(())
}
