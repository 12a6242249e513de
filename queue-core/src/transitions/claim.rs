//! ready → claimed

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::postgres::PgBindIterExt as _;
use sqlx::{FromRow, PgConnection};

use super::run::Claim;
use crate::process::ProcessId;
use crate::sql::Schema;

const CLAIM: &str = concat!(include_str!("claim.sql"), include_str!("claimed_jobs.sql"));
const LANES: &str = include_str!("lanes.sql");
const LINE_END: &str = "select last_value, pg_current_snapshot()::text from queue.job_seq";

/// The lines in which ready jobs of a queue wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[repr(i16)]
pub enum Track {
    /// Jobs without limits.
    Open = 0,
    /// Jobs with limits.
    Limited = 1,
    /// Jobs that were blocked. They start before other jobs with limits.
    Unblocked = 2,
}

/// One priority and track of one queue, between two places in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The queue's name.
    pub queue: String,
    /// The priority.
    pub priority: i16,
    /// The track.
    pub track: Track,
    /// The claim takes jobs after this place.
    pub above: i64,
    /// The last place that the claim reads.
    pub up_to: i64,
}

/// A job that this process runs and ends.
#[derive(Debug, FromRow)]
pub struct ClaimedJob {
    /// The claim, which ends its run.
    #[sqlx(flatten)]
    pub claim: Claim,
    /// Its place in line.
    pub seq: i64,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Its priority; smaller is sooner.
    pub priority: i16,
    /// Runs so far that ended in an error.
    pub failures: i16,
    /// The runs that may end in an error before it fails.
    pub attempts_max: i16,
    /// Runs so far that ended with the death of their process.
    pub crashes: i16,
    /// The crashes that make it fail.
    pub crashes_max: i16,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it became ready.
    pub ready_at: DateTime<Utc>,
    /// When it was claimed.
    pub claimed_at: DateTime<Utc>,
    /// Its labels.
    pub tags: Vec<String>,
    /// Its track.
    pub track: Track,
    /// The keys whose slots it holds.
    pub keys: Vec<String>,
    /// Its arguments, as JSON.
    #[sqlx(json)]
    pub args: Box<RawValue>,
}

/// Claims up to `limit` jobs of the given kinds for a process, from the lanes in their order, and
/// returns them in that order. Skips paused queues, and queues and kinds that have a limit: see
/// [`claim_limited`](super::claim_limited::claim_limited).
///
/// # Errors
/// If the connection broke, the claim may have been committed all the same;
/// [`release_unknown`](super::end::release_unknown) releases its jobs.
pub async fn claim(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    lanes: &[Lane],
    kinds: &[String],
    limit: usize,
) -> Result<Vec<ClaimedJob>, sqlx::Error> {
    let mut jobs = schema
        .query_as(CLAIM)
        .bind(lanes.iter().map(|lane| &lane.queue).bind_iter())
        .bind(lanes.iter().map(|lane| lane.priority).bind_iter())
        .bind(lanes.iter().map(|lane| lane.above).bind_iter())
        .bind(lanes.iter().map(|lane| lane.up_to).bind_iter())
        .bind(kinds)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(process.0)
        .fetch_all(conn)
        .await?;
    in_lane_order(lanes, &mut jobs);
    Ok(jobs)
}

pub(super) fn in_lane_order(lanes: &[Lane], jobs: &mut [ClaimedJob]) {
    jobs.sort_by_key(|job| (position(lanes, job), job.seq));
}

fn position(lanes: &[Lane], job: &ClaimedJob) -> Option<usize> {
    lanes.iter().position(|lane| {
        lane.priority == job.priority && lane.track == job.track && lane.queue == job.queue
    })
}

/// A lane that has ready jobs.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundLane {
    /// The queue's name.
    pub queue: String,
    /// The priority.
    pub priority: i16,
    /// The track.
    pub track: Track,
    /// Whether its jobs have limits: their own, or one of their queue or of some kind.
    pub is_gated: bool,
}

/// Returns the lanes that have ready jobs.
pub async fn lanes(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<FoundLane>, sqlx::Error> {
    schema.query_as(LANES).fetch_all(conn).await
}

/// The end of the line, and the transactions that may still add jobs before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineEnd {
    /// The last place in line that has been given out.
    pub place: i64,
    /// The transactions that are open: their jobs appear when they commit, at places that were given
    /// out before.
    pub open_transactions: Vec<u64>,
}

/// Returns the end of the line. The place is read after the list of open transactions: a
/// transaction that opens in between may have a place below it.
pub async fn line_end(conn: &mut PgConnection, schema: &Schema) -> Result<LineEnd, sqlx::Error> {
    let (place, snapshot): (i64, String) = schema.query_as(LINE_END).fetch_one(conn).await?;
    let open_transactions = open_transactions(&snapshot)
        .ok_or_else(|| sqlx::Error::Decode(format!("`{snapshot}` is not a snapshot").into()))?;
    Ok(LineEnd {
        place,
        open_transactions,
    })
}

/// Reads the open transactions out of a snapshot's text, `xmin:xmax:xid,xid`.
fn open_transactions(snapshot: &str) -> Option<Vec<u64>> {
    let (_, listed) = snapshot.rsplit_once(':')?;
    listed
        .split_terminator(',')
        .map(|xid| xid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_transactions_are_the_list_at_the_end_of_a_snapshot() {
        assert_eq!(open_transactions("10:20:10,14,15"), Some(vec![10, 14, 15]));
        assert_eq!(open_transactions("20:20:"), Some(vec![]));
        assert_eq!(open_transactions("20:20:x"), None);
        assert_eq!(open_transactions(""), None);
    }
}
