//! Making a process quiet, resuming and stopping it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::sql::Schema;

pub use crate::process::ProcessRequest;

const ASK: &str = include_str!("ask.sql");

/// Asks a process to be quiet or to stop, in the name of `who`, or, with no request, to claim jobs again. It
/// reads that with its next heartbeat. Returns whether this changes what it was asked for: nothing changes
/// if it is stopping. Returns nothing if there is no such process.
pub async fn ask(
    conn: &mut PgConnection,
    schema: &Schema,
    process: Uuid,
    request: Option<ProcessRequest>,
    who: Option<&str>,
) -> Result<Option<bool>, sqlx::Error> {
    schema
        .query_scalar(ASK)
        .bind(process)
        .bind(request)
        .bind(who)
        .fetch_optional(conn)
        .await
}
