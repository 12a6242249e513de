//! ready → claimed, blocked or finished, from lanes with limits

use sqlx::postgres::{PgBindIterExt as _, PgRow};
use sqlx::{FromRow, PgConnection, Row as _};

use super::claim::{ClaimedJob, Lane, Track, claimed_jobs, in_lane_order};
use super::end::release;
use super::run::Claim;
use super::unblock::unblock;
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const CLAIM_SEATS: &str = concat!(
    include_str!("claim_seats.sql"),
    include_str!("claimed_jobs.sql")
);
const CLAIM_LIMITED: &str = concat!(
    include_str!("claim_limited.sql"),
    include_str!("count.sql"),
    ")\n",
    include_str!("claimed_jobs.sql")
);

/// What [`claim_limited`] did.
#[derive(Debug, Default)]
pub struct LimitedClaim {
    /// The jobs that may run, in the order of the lanes.
    pub jobs: Vec<ClaimedJob>,
    /// The jobs without room.
    pub parked: Vec<Parked>,
    /// The blocked jobs that newer ones among those have replaced. They are cancelled.
    pub replaced: Vec<Parked>,
}

/// A job whose limit has no room.
#[derive(Clone, Debug, FromRow)]
pub struct Parked {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its tenant, if it has ended.
    pub tenant: Option<String>,
    /// Its priority.
    pub priority: i16,
    /// Its track.
    pub track: Track,
    /// Its place in line.
    pub seq: i64,
    /// The key that has no room.
    pub key: String,
    /// The key that it was blocked by before, if it was unblocked.
    pub waited_for: Option<String>,
    /// What it became: `blocked`, `discarded`, or `cancelled` because of a newer one; `replaced` if it
    /// was blocked before.
    pub decision: String,
}

/// Claims up to `limit` jobs as [`claim`](super::claim::claim) does, from lanes whose jobs have limits.
/// Claims simple jobs first. Of the others it reads up to `window`, claims those whose limits have room,
/// and parks the rest.
///
/// # Errors
/// If the connection broke, the claim may have been committed all the same.
pub async fn claim_limited(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    lanes: &[Lane],
    kinds: &[String],
    limit: usize,
    window: usize,
) -> Result<LimitedClaim, sqlx::Error> {
    let with_lanes = |statement| {
        schema
            .query(statement)
            .bind(lanes.iter().map(|lane| &lane.queue).bind_iter())
            .bind(lanes.iter().map(|lane| lane.priority).bind_iter())
            .bind(lanes.iter().map(|lane| lane.track as i16).bind_iter())
            .bind(lanes.iter().map(|lane| lane.above).bind_iter())
            .bind(lanes.iter().map(|lane| lane.up_to).bind_iter())
            .bind(kinds)
    };
    let mut claim = LimitedClaim::default();
    let mut claimed = Vec::new();
    let seats = with_lanes(CLAIM_SEATS)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(process.0)
        .fetch_all(&mut *conn)
        .await?;
    let mut is_left = false;
    for row in &seats {
        match row.try_get("decision")? {
            "claimed" => claimed.push(row),
            _ => is_left = true,
        }
    }
    claim.jobs = claimed_jobs(claimed)?;
    if is_left {
        let room = limit - claim.jobs.len();
        let rows = with_lanes(CLAIM_LIMITED)
            .bind(i64::try_from(room).unwrap_or(i64::MAX))
            .bind(i64::try_from(window.max(room)).unwrap_or(i64::MAX))
            .bind(process.0)
            .fetch_all(&mut *conn)
            .await?;
        sort_rows(conn, schema, process, &rows, &mut claim).await?;
    }
    in_lane_order(lanes, &mut claim.jobs);
    Ok(claim)
}

/// Sorts the rows of a claim, releases jobs that were claimed only in part, and unblocks jobs of keys
/// that have room.
async fn sort_rows(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    rows: &[PgRow],
    claim: &mut LimitedClaim,
) -> Result<(), sqlx::Error> {
    let (mut claimed, mut partial) = (Vec::new(), Vec::new());
    for row in rows {
        match row.try_get("decision")? {
            "claimed" => claimed.push(row),
            "partial" => partial.push(row),
            "replaced" => claim.replaced.push(Parked::from_row(row)?),
            _ => claim.parked.push(Parked::from_row(row)?),
        }
    }
    claim.jobs.append(&mut claimed_jobs(claimed)?);
    let partial = claimed_jobs(partial)?;
    // These did not get all their slots: another claim took one at the same moment.
    if !partial.is_empty() {
        let claims: Vec<Claim> = partial.iter().map(|job| job.claim).collect();
        release(conn, schema, process, &claims).await?;
    }
    let keys = keys_with_room(&claim.parked, &partial);
    unblock(conn, schema, &keys).await?;
    Ok(())
}

/// Returns the keys that may have room: slots that were freed while jobs were parked, slots of released
/// jobs, and room left by unblocked jobs that another key then blocked.
fn keys_with_room(parked: &[Parked], released: &[ClaimedJob]) -> Vec<String> {
    let blocked = parked.iter().filter(|job| job.decision == "blocked");
    blocked
        .map(|job| &job.key)
        .chain(parked.iter().filter_map(|job| job.waited_for.as_ref()))
        .chain(released.iter().flat_map(|job| &job.keys))
        .cloned()
        .collect()
}
