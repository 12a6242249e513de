//! claimed → ready, given back

use sqlx::PgConnection;

use super::run::{Claim, notified_job_ids};
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const RELEASE: &str = include_str!("release.sql");
const RELEASE_UNKNOWN: &str = include_str!("release_unknown.sql");

/// Gives jobs back at their old places in line, and returns the jobs it gave back. This costs no
/// attempt, but the next claim is another run, with another number.
///
/// # Errors
/// Returns what the server answered.
pub async fn release(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    claims: &[Claim],
) -> Result<Vec<JobId>, sqlx::Error> {
    give_back(conn, schema, RELEASE, process, claims).await
}

/// Gives back the jobs that are claimed for a process by other claims than those it knows of, and
/// returns them. No claim of this process may be under way.
///
/// # Errors
/// Returns what the server answered.
pub async fn release_unknown(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    known: &[Claim],
) -> Result<Vec<JobId>, sqlx::Error> {
    give_back(conn, schema, RELEASE_UNKNOWN, process, known).await
}

async fn give_back(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    process: ProcessId,
    claims: &[Claim],
) -> Result<Vec<JobId>, sqlx::Error> {
    let ids: Vec<i64> = claims.iter().map(|claim| claim.job_id.0).collect();
    let attempts: Vec<i32> = claims.iter().map(|claim| claim.attempt).collect();
    sqlx::query_as(schema.sql(statement))
        .bind(process.0)
        .bind(ids)
        .bind(attempts)
        .fetch_all(conn)
        .await
        .map(notified_job_ids)
}
