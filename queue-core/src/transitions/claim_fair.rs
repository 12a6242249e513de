//! ready → claimed, for jobs of tenants that take turns

use std::collections::HashMap;

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{FromRow, PgConnection};

use super::claim::{ClaimedJob, FairLane, Turn, claimed_jobs};
use super::claim_limited::{LimitedClaim, claim_limited_in_turns};
use crate::process::ProcessId;
use crate::sql::Schema;

const CLAIM_FAIR: &str = concat!(
    include_str!("claim_fair.sql"),
    include_str!("take.sql"),
    include_str!("claimed_jobs.sql")
);
const TENANTS_IN_TURN: &str = include_str!("tenants_in_turn.sql");

/// Claims up to `limit` jobs of a lane as [`claim`](super::claim::claim) does, of each tenant those of its
/// turn, and returns them in the order in which tenants take turns. Call
/// [`after_claim`](super::claim_limited::after_claim) after it.
///
/// # Errors
/// If the connection broke, the claim may have been committed all the same.
pub async fn claim_fair(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    lane: &FairLane,
    turns: &[Turn],
    kinds: &[String],
    limit: usize,
) -> Result<LimitedClaim, sqlx::Error> {
    let (gated, open): (Vec<&Turn>, Vec<&Turn>) = turns.iter().partition(|turn| turn.is_gated);
    let mut claim = LimitedClaim::default();
    if !open.is_empty() {
        claim.jobs = claim_open(conn, schema, process, lane, &open, kinds, limit).await?;
    }
    let room = limit - claim.jobs.len();
    if !gated.is_empty() && room > 0 {
        let limited =
            claim_limited_in_turns(conn, schema, process, lane, &gated, kinds, room).await?;
        claim.jobs.extend(limited.jobs);
        (claim.parked, claim.replaced) = (limited.parked, limited.replaced);
        claim.partial = limited.partial;
    }
    in_turn_order(turns, &mut claim.jobs);
    Ok(claim)
}

async fn claim_open(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    lane: &FairLane,
    turns: &[&Turn],
    kinds: &[String],
    limit: usize,
) -> Result<Vec<ClaimedJob>, sqlx::Error> {
    let rows = schema
        .query(CLAIM_FAIR)
        .bind(&lane.queue)
        .bind(lane.priority)
        .bind(turns.iter().map(|turn| &turn.tenant).bind_iter())
        .bind(turns.iter().map(|turn| turn.above).bind_iter())
        .bind(kinds)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(process.0)
        .bind(turns.iter().map(|turn| turn.up_to).bind_iter())
        .bind(turns.iter().map(|turn| turn.jobs).bind_iter())
        .fetch_all(conn)
        .await?;
    claimed_jobs(&rows)
}

/// Sorts jobs so that the tenants take turns, with as many jobs in each as their weight.
fn in_turn_order(turns: &[Turn], jobs: &mut [ClaimedJob]) {
    let places = turns.iter().zip(0_usize..);
    let places: HashMap<&str, (usize, &Turn)> = places
        .map(|(turn, place)| (&*turn.tenant, (place, turn)))
        .collect();
    jobs.sort_by_key(|job| job.seq);
    let mut before = vec![0; turns.len()];
    let mut order = HashMap::new();
    for job in &*jobs {
        if let Some((place, turn)) = job.tenant().and_then(|tenant| places.get(tenant)) {
            order.insert(job.claim.job_id, (before[*place] / turn.weight, *place));
            before[*place] += 1;
        }
    }
    jobs.sort_by_key(|job| order.get(&job.claim.job_id).copied());
}

/// A tenant that has jobs in a lane.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct TenantInTurn {
    /// The tenant.
    pub tenant: String,
    /// How many of its jobs start in a turn; 0 while it is paused.
    pub weight: i16,
    /// Whether its jobs may have limits.
    pub is_gated: bool,
}

/// Lists up to `limit` tenants with jobs in a lane, in the order of their names, beginning after a name and
/// going on at the first.
pub async fn tenants_in_turn(
    conn: &mut PgConnection,
    schema: &Schema,
    lane: &FairLane,
    after: &str,
    limit: i32,
) -> Result<Vec<TenantInTurn>, sqlx::Error> {
    schema
        .query_as(TENANTS_IN_TURN)
        .bind(&lane.queue)
        .bind(lane.priority)
        .bind(lane.track as i16)
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await
}
