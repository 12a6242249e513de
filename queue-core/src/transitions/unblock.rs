//! blocked → ready
//!
//! A job is blocked when its key has no room, and a key has room again when one of its slots is
//! freed. Both may happen at the same moment, and neither locks the key. Therefore whoever frees a
//! slot looks for blocked jobs after that is committed, and whoever blocks a job looks once more
//! after that: each writes before it looks, so that one of them sees the other. Whatever they both
//! miss, because a process died in between or a limit was changed, is found by the next pass over
//! all keys that jobs wait for.

use std::time::Duration;

use sqlx::PgConnection;

use super::run::notified_job_ids;
use crate::job::JobId;
use crate::sql::Schema;

const UNBLOCK: &str = include_str!("unblock.sql");
const BLOCKED_KEYS: &str = include_str!("blocked_keys.sql");
const RUN_ANYWAY: &str = include_str!("run_anyway.sql");

/// The most jobs of one key that one call moves.
const UNBLOCKED_MAX: i32 = 200;

/// What a look at some keys did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unblocked {
    /// The jobs that were made ready.
    pub jobs: u64,
    /// The keys that have a rate and jobs that wait for it, with the time until their next start.
    pub next_starts: Vec<(String, Duration)>,
}

/// Makes as many jobs ready as the keys have room for. It costs no attempt. Asked after the slots
/// of the keys were freed, in another transaction.
///
/// # Errors
/// Returns what the server answered.
pub async fn unblock(
    conn: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<Unblocked, sqlx::Error> {
    if keys.is_empty() {
        return Ok(Unblocked::default());
    }
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let (jobs, keys, waits, _notified): (i64, Vec<String>, Vec<i64>, i64) =
        sqlx::query_as(schema.sql(UNBLOCK))
            .bind(keys)
            .bind(UNBLOCKED_MAX)
            .fetch_one(conn)
            .await?;
    let waits = waits
        .into_iter()
        .map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
    Ok(Unblocked {
        jobs: jobs.unsigned_abs(),
        next_starts: keys.into_iter().zip(waits).collect(),
    })
}

/// Finds up to `limit` keys that jobs wait for, in their order, behind the key `after`.
///
/// # Errors
/// Returns what the server answered.
pub async fn blocked_keys(
    conn: &mut PgConnection,
    schema: &Schema,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(schema.sql(BLOCKED_KEYS))
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
}

/// Makes blocked jobs ready although their keys have no room, once and marked as such, and returns
/// them. They hold no slot, unless their queue has a limit: that one they keep to. If they are tried
/// again, their limits count again.
///
/// # Errors
/// Returns what the server answered.
pub async fn run_anyway(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    let ids: Vec<i64> = jobs.iter().map(|job| job.0).collect();
    sqlx::query_as(schema.sql(RUN_ANYWAY))
        .bind(ids)
        .fetch_all(conn)
        .await
        .map(notified_job_ids)
}
