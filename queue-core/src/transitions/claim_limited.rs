//! ready → claimed, blocked or finished, from lanes with limits

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::claim::{ClaimedJob, Lane, Track, claimed_job, in_lane_order};
use super::end::release;
use super::run::Claim;
use super::unblock::unblock;
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;

const CLAIM_SEATS: &str = include_str!("claim_seats.sql");
const CLAIM_LIMITED: &str = include_str!("claim_limited.sql");

/// What a claim from lanes with limits did.
#[derive(Debug, Default)]
pub struct LimitedClaim {
    /// The jobs that may run, in the order of the lanes.
    pub jobs: Vec<ClaimedJob>,
    /// The jobs for which there was no room.
    pub parked: Vec<Parked>,
}

/// A job for which a limit left no room.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// The queue it stood in.
    pub queue: String,
    /// Its priority.
    pub priority: i16,
    /// The track it stood on.
    pub track: Track,
    /// The place it stood at.
    pub seq: i64,
    /// The key that has no room.
    pub key: String,
    /// The key that it had waited for before, and been let go on.
    pub waited_for: Option<String>,
    /// What became of it: `blocked`, `discarded` or `cancelled`.
    pub fate: String,
}

/// Claims up to `limit` jobs as [`claim`](super::claim::claim) does, from lanes whose jobs have
/// limits: the simple ones first, and then of the others, looking at `window` of them, or as many as
/// there is still room for, those that their limits leave room for. The rest is parked.
///
/// # Errors
/// Returns what the server answered. The claim may have been committed all the same.
pub async fn claim_limited(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    lanes: &[Lane],
    kinds: &[String],
    limit: usize,
    window: usize,
) -> Result<LimitedClaim, sqlx::Error> {
    let columns = Columns::of(lanes);
    let mut claim = LimitedClaim::default();
    let seats = columns
        .bind(sqlx::query(schema.sql(CLAIM_SEATS)), kinds)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(process.0)
        .fetch_all(&mut *conn)
        .await?;
    let mut is_left = false;
    for row in &seats {
        match row.try_get(FATE)? {
            "claimed" => claim.jobs.push(claimed_job(row)?),
            _ => is_left = true,
        }
    }
    if is_left {
        let room = limit - claim.jobs.len();
        let rows = columns
            .bind(sqlx::query(schema.sql(CLAIM_LIMITED)), kinds)
            .bind(i64::try_from(room).unwrap_or(i64::MAX))
            .bind(i64::try_from(window.max(room)).unwrap_or(i64::MAX))
            .bind(process.0)
            .fetch_all(&mut *conn)
            .await?;
        decide(conn, schema, process, &rows, &mut claim).await?;
    }
    in_lane_order(lanes, &mut claim.jobs);
    Ok(claim)
}

/// Takes in what became of jobs, gives back those that were claimed only in part, and looks for room
/// once more.
async fn decide(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    rows: &[PgRow],
    claim: &mut LimitedClaim,
) -> Result<(), sqlx::Error> {
    let mut partial = Vec::new();
    for row in rows {
        match row.try_get(FATE)? {
            "claimed" => claim.jobs.push(claimed_job(row)?),
            "partial" => partial.push(claimed_job(row)?),
            _ => claim.parked.push(parked(row)?),
        }
    }
    give_up(conn, schema, process, &partial).await?;
    look_once_more(conn, schema, &claim.parked, &partial).await
}

const FATE: usize = 16;

fn parked(row: &PgRow) -> Result<Parked, sqlx::Error> {
    Ok(Parked {
        job_id: JobId(row.try_get(0)?),
        seq: row.try_get(1)?,
        priority: row.try_get(4)?,
        queue: row.try_get(7)?,
        kind: row.try_get(8)?,
        track: Track::try_from(row.try_get::<i16, _>(15)?)?,
        fate: row.try_get(FATE)?,
        key: row.try_get(18)?,
        waited_for: row.try_get(19)?,
    })
}

/// Gives back jobs of which another claim took a slot at the same moment.
async fn give_up(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    partial: &[ClaimedJob],
) -> Result<(), sqlx::Error> {
    if !partial.is_empty() {
        let claims: Vec<Claim> = partial.iter().map(|job| job.claim).collect();
        release(conn, schema, process, &claims).await?;
    }
    Ok(())
}

/// Looks for room that was made while jobs were being parked, by giving jobs back, or by jobs that
/// were let go on for one key and then found another that has no room.
async fn look_once_more(
    conn: &mut PgConnection,
    schema: &Schema,
    parked: &[Parked],
    given_up: &[ClaimedJob],
) -> Result<(), sqlx::Error> {
    let blocked = parked.iter().filter(|job| job.fate == "blocked");
    let keys: Vec<String> = blocked
        .map(|job| &job.key)
        .chain(parked.iter().filter_map(|job| job.waited_for.as_ref()))
        .chain(given_up.iter().flat_map(|job| &job.keys))
        .cloned()
        .collect();
    unblock(conn, schema, &keys).await?;
    Ok(())
}

/// The lanes, as the statements take them.
struct Columns<'a> {
    queues: Vec<&'a str>,
    priorities: Vec<i16>,
    tracks: Vec<i16>,
    above: Vec<i64>,
    up_to: Vec<i64>,
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl<'a> Columns<'a> {
    fn of(lanes: &'a [Lane]) -> Self {
        Self {
            queues: lanes.iter().map(|lane| lane.queue.as_str()).collect(),
            priorities: lanes.iter().map(|lane| lane.priority).collect(),
            tracks: lanes.iter().map(|lane| lane.track as i16).collect(),
            above: lanes.iter().map(|lane| lane.above).collect(),
            up_to: lanes.iter().map(|lane| lane.up_to).collect(),
        }
    }

    /// Binds the lanes and the kinds, the first six values of both statements.
    fn bind<'q>(&'q self, query: Query<'q>, kinds: &'q [String]) -> Query<'q> {
        query
            .bind(&self.queues)
            .bind(&self.priorities)
            .bind(&self.tracks)
            .bind(&self.above)
            .bind(&self.up_to)
            .bind(kinds)
    }
}
