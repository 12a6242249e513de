//! blocked → ready
//!
//! A job is blocked when its key has no room. The key has room again when one of its slots is freed.
//! Both may happen at the same moment, and neither locks the key. So the process that frees a slot
//! unblocks jobs of its key after the commit, and the process that blocks a job does the same after its
//! commit: each writes before it reads, so that one of them sees the other. If a process dies in
//! between, or a limit changes, the next pass over all keys with blocked jobs finds the room.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt as _;

use super::enqueue::AFTER;
use crate::job::JobId;
use crate::sql::Schema;

const UNBLOCK: &str = include_str!("unblock.sql");
const BLOCKED_KEYS: &str = include_str!("blocked_keys.sql");
const RUN_ANYWAY: &str = include_str!("run_anyway.sql");

/// The most jobs of one key that one call moves.
const UNBLOCKED_MAX: i32 = 200;

/// What [`unblock`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unblocked {
    /// The jobs that were made ready.
    pub jobs: u64,
    /// The keys with a rate and blocked jobs, with the time until their next start.
    pub next_starts: Vec<(String, Duration)>,
}

/// Makes as many blocked jobs ready as the keys have room for. Call it after the commit of the
/// transaction that freed slots of the keys.
pub async fn unblock(
    conn: &mut PgConnection,
    schema: &Schema,
    keys: &[String],
) -> Result<Unblocked, sqlx::Error> {
    if keys.is_empty() {
        return Ok(Unblocked::default());
    }
    // Jobs that wait for other jobs are blocked by a key that never has room.
    let keys: BTreeSet<&String> = keys.iter().filter(|key| *key != AFTER).collect();
    let (jobs, keys, waits, _notified): (i64, Vec<String>, Vec<i64>, i64) = schema
        .query_as(UNBLOCK)
        .bind(keys.iter().bind_iter())
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

/// Returns up to `limit` keys with blocked jobs, in order, after the key `after`.
pub async fn blocked_keys(
    conn: &mut PgConnection,
    schema: &Schema,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, sqlx::Error> {
    schema
        .query_scalar(BLOCKED_KEYS)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
}

/// Makes blocked jobs ready although their keys have no room, and returns them. They take no slots,
/// except of a limit of their queue. If they are retried, their limits apply again.
pub async fn run_anyway(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    schema
        .query_scalar(RUN_ANYWAY)
        .bind(jobs)
        .fetch_all(conn)
        .await
}
