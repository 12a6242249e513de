//! The rows of running processes.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::sql::Schema;

const REGISTER: &str = include_str!("register.sql");
const HEARTBEAT: &str = include_str!("heartbeat.sql");
const DEREGISTER: &str = include_str!("deregister.sql");
const SLEEP: &str = include_str!("sleep.sql");
const POLL: &str = include_str!("poll.sql");
const STOP_POLLING: &str = include_str!("stop_polling.sql");
const UNKNOWN_KINDS: &str = include_str!("unknown_kinds.sql");
const WAKE: &str = include_str!("wake.sql");

/// The id of a process. A process that was declared dead although it runs takes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId(pub Uuid);

impl ProcessId {
    /// Returns a new id; ids sort by the time they were made.
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

/// What a process can be asked to do until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum ProcessRequest {
    /// To claim no more jobs, and to end those that it has begun.
    Quiet,
    /// To stop, as on TERM.
    Stop,
}

/// What a process was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Asked {
    /// The request; none if it may claim jobs.
    pub request: Option<ProcessRequest>,
    /// Who asked.
    pub by: Option<String>,
}

/// Information about a process.
#[derive(Clone, Debug, Default)]
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
pub async fn register(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    info: &ProcessInfo,
) -> Result<(), sqlx::Error> {
    schema
        .query(REGISTER)
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

/// Writes the heartbeat of a process, and whether it is stopping. Returns what it was asked to do, or
/// nothing if it has no row: then it was declared dead and its jobs no longer belong to it.
pub async fn heartbeat(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    stopping: bool,
) -> Result<Option<Asked>, sqlx::Error> {
    schema
        .query_as(HEARTBEAT)
        .bind(process.0)
        .bind(stopping)
        .fetch_optional(conn)
        .await
}

/// Removes the rows of a process that ends.
pub async fn deregister(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
) -> Result<(), sqlx::Error> {
    run(conn, schema, DEREGISTER, process).await
}

/// Records that a process has an idle worker, so that enqueueing notifies, and no longer polls some
/// queues. The process must look for jobs once more before it sleeps.
pub async fn sleep(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    polled: &[String],
) -> Result<(), sqlx::Error> {
    schema
        .query(SLEEP)
        .bind(process.0)
        .bind(polled)
        .execute(conn)
        .await?;
    Ok(())
}

/// Records that a process polls queues for jobs of some kinds, so that enqueueing those does not notify.
/// Returns the queues that it polls, without those that another process polls.
pub async fn poll(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    queues: &[String],
    kinds: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    schema
        .query_scalar(POLL)
        .bind(process.0)
        .bind(queues)
        .bind(kinds)
        .fetch_all(conn)
        .await
}

/// Records that a process stops polling queues, and wakes idle processes: jobs may be waiting there.
pub async fn stop_polling(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    queues: &[String],
) -> Result<(), sqlx::Error> {
    schema
        .query(STOP_POLLING)
        .bind(process.0)
        .bind(queues)
        .execute(conn)
        .await?;
    Ok(())
}

/// Records that no worker of a process is idle.
pub async fn wake(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
) -> Result<(), sqlx::Error> {
    run(conn, schema, WAKE, process).await
}

/// How long a job has waited, at least, whose kind is unknown: the process that knows it may be starting.
const UNKNOWN_AFTER_MS: i64 = 10_000;
/// How many jobs of a lane are looked at.
const UNKNOWN_JOBS_MAX: i64 = 100;

/// Returns the kinds of waiting jobs that no process knows. Looks only at the first jobs of each lane.
pub async fn unknown_kinds(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<String>, sqlx::Error> {
    schema
        .query_scalar(UNKNOWN_KINDS)
        .bind(UNKNOWN_AFTER_MS)
        .bind(UNKNOWN_JOBS_MAX)
        .fetch_all(conn)
        .await
}

async fn run(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    process: ProcessId,
) -> Result<(), sqlx::Error> {
    schema
        .query(statement)
        .bind(process.0)
        .execute(conn)
        .await?;
    Ok(())
}
