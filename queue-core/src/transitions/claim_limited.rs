//! ready → claimed, blocked or finished, from lanes with limits

use std::collections::HashMap;

use sqlx::postgres::{PgBindIterExt as _, PgRow};
use sqlx::{Connection as _, FromRow, PgConnection, Row as _};

use super::admit::{Asked, Decision, Room, Take, Waiting, admit};
use super::claim::{ClaimedJob, FairLane, Lane, Track, Turn, claimed_jobs, in_lane_order};
use super::end::release;
use super::run::Claim;
use super::unblock::unblock;
use crate::job::JobId;
use crate::limit::Conflict;
use crate::process::ProcessId;
use crate::sql::{Query, Schema};

const CLAIM_SEATS: &str = concat!(
    include_str!("claim_seats.sql"),
    include_str!("claimed_jobs.sql")
);
const CLAIM_FRONT: &str = concat!(
    include_str!("claim_front.sql"),
    include_str!("front_limits.sql")
);
const CLAIM_FRONT_FAIR: &str = concat!(
    include_str!("claim_front_fair.sql"),
    include_str!("front_limits.sql")
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
    /// The jobs that got only some of their slots and starts, because another claim took one at the same
    /// moment. They are claimed until [`after_claim`] releases them.
    pub partial: Vec<ClaimedJob>,
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
/// and parks the rest. Call [`after_claim`] after it.
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
    let mut claim = LimitedClaim::default();
    let mut claimed = Vec::new();
    let seats = bind_lanes(schema.query(CLAIM_SEATS), lanes, kinds)
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
        let window = i64::try_from(window.max(room)).unwrap_or(i64::MAX);
        let front = bind_lanes(schema.query(CLAIM_FRONT), lanes, kinds).bind(window);
        admit_front(conn, schema, process, front, room, &mut claim).await?;
    }
    in_lane_order(lanes, &mut claim.jobs);
    Ok(claim)
}

/// Claims up to `limit` jobs with limits of tenants that take turns, and parks those whose limits have no room.
pub(super) async fn claim_limited_in_turns(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    lane: &FairLane,
    turns: &[&Turn],
    kinds: &[String],
    limit: usize,
) -> Result<LimitedClaim, sqlx::Error> {
    let front = schema
        .query(CLAIM_FRONT_FAIR)
        .bind(&lane.queue)
        .bind(lane.priority)
        .bind(lane.track as i16)
        .bind(turns.iter().map(|turn| turn.above).bind_iter())
        .bind(turns.iter().map(|turn| turn.up_to).bind_iter())
        .bind(kinds)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(turns.iter().map(|turn| &turn.tenant).bind_iter())
        .bind(turns.iter().map(|turn| turn.jobs).bind_iter());
    let mut claim = LimitedClaim::default();
    admit_front(conn, schema, process, front, limit, &mut claim).await?;
    Ok(claim)
}

/// Reads the first jobs, decides about them, and carries that out.
async fn admit_front(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    front: Query<'_>,
    room: usize,
    claim: &mut LimitedClaim,
) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    let front = Front::read(&mut tx, front).await?;
    let decisions = admit(&front.jobs, &front.rooms, room);
    let rows = front
        .carry_out(&mut tx, schema, process, &decisions)
        .await?;
    tx.commit().await?;
    sort_rows(&rows, claim)
}

fn bind_lanes<'q>(query: Query<'q>, lanes: &'q [Lane], kinds: &'q [String]) -> Query<'q> {
    query
        .bind(lanes.iter().map(|lane| &lane.queue).bind_iter())
        .bind(lanes.iter().map(|lane| lane.priority).bind_iter())
        .bind(lanes.iter().map(|lane| lane.track as i16).bind_iter())
        .bind(lanes.iter().map(|lane| lane.above).bind_iter())
        .bind(lanes.iter().map(|lane| lane.up_to).bind_iter())
        .bind(kinds)
}

/// The first jobs of the lanes, which are locked, and what is left of their keys.
#[derive(Default)]
struct Front {
    jobs: Vec<Waiting>,
    rooms: HashMap<String, Room>,
}

impl Front {
    /// Reads and locks them.
    async fn read(tx: &mut PgConnection, query: Query<'_>) -> Result<Self, sqlx::Error> {
        let rows = query.fetch_all(tx).await?;
        let mut front = Self::default();
        for row in &rows {
            front.add(row)?;
        }
        Ok(front)
    }

    /// Adds a job, or a limit of the last one.
    fn add(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let job_id = row.try_get("job_id")?;
        if self.jobs.last().is_none_or(|last| last.job_id != job_id) {
            self.jobs.push(Waiting {
                job_id,
                attempt: row.try_get("attempt")?,
                limits: Vec::new(),
            });
        }
        let key: Option<String> = row.try_get("key")?;
        let (Some(job), Some(key)) = (self.jobs.last_mut(), key) else {
            return Ok(());
        };
        if row.try_get("is_first")? {
            let room = Room {
                used: row.try_get("used")?,
                top: row.try_get("top")?,
                numbers: row.try_get("numbers")?,
                starts: row.try_get("free_starts")?,
                is_expired: row.try_get::<Option<bool>, _>("is_expired")? == Some(true),
            };
            self.rooms.insert(key.clone(), room);
        }
        job.limits.push(Asked {
            key,
            slots: row.try_get("slots")?,
            conflict: match row.try_get("conflict")? {
                Some("discard") => Conflict::Discard,
                Some("replace") => Conflict::Replace,
                _ => Conflict::Block,
            },
            is_behind: row.try_get("is_behind")?,
            hold: row.try_get("hold")?,
            space: row.try_get("space")?,
            burst: row.try_get("burst")?,
        });
        Ok(())
    }

    /// Claims and parks the jobs as decided. Returns a row for each of them.
    async fn carry_out(
        &self,
        tx: &mut PgConnection,
        schema: &Schema,
        process: ProcessId,
        decisions: &[Decision],
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let (mut taken, mut parked) = (Vec::new(), Vec::new());
        for (job, decision) in self.jobs.iter().zip(decisions) {
            match decision {
                Decision::Claim(takes) => taken.extend(Taken::of(job, takes)),
                Decision::Park(parking) => parked.push((job.job_id, parking)),
                Decision::Leave => {}
            }
        }
        if taken.is_empty() && parked.is_empty() {
            return Ok(Vec::new());
        }
        let query = schema
            .query(CLAIM_LIMITED)
            .bind(taken.iter().map(|taken| taken.job_id.0).bind_iter())
            .bind(
                taken
                    .iter()
                    .map(|taken| taken.asked.map(|asked| &asked.key))
                    .bind_iter(),
            )
            .bind(taken.iter().map(|taken| taken.number).bind_iter())
            .bind(
                taken
                    .iter()
                    .map(|taken| taken.asked?.hold.as_ref())
                    .bind_iter(),
            )
            .bind(taken.iter().map(|taken| taken.nth).bind_iter())
            .bind(
                taken
                    .iter()
                    .map(|taken| taken.asked?.space.as_ref())
                    .bind_iter(),
            )
            .bind(taken.iter().map(|taken| taken.asked?.burst).bind_iter())
            .bind(process.0)
            .bind(parked.iter().map(|(job_id, _)| job_id.0).bind_iter())
            .bind(parked.iter().map(|(_, parking)| &parking.key).bind_iter())
            .bind(
                parked
                    .iter()
                    .map(|(_, parking)| parking.becomes)
                    .bind_iter(),
            )
            .bind(
                parked
                    .iter()
                    .map(|(_, parking)| parking.replaces)
                    .bind_iter(),
            );
        query.fetch_all(tx).await
    }
}

/// What a job takes of a key; of none, if it has no limits.
struct Taken<'a> {
    job_id: JobId,
    asked: Option<&'a Asked>,
    number: Option<i32>,
    nth: Option<i32>,
}

impl<'a> Taken<'a> {
    fn of(job: &'a Waiting, takes: &[Take]) -> Vec<Self> {
        let job_id = job.job_id;
        let limits = job.limits.iter().zip(takes).map(|(asked, take)| Self {
            job_id,
            asked: Some(asked),
            number: take.number,
            nth: Some(take.nth),
        });
        let mut taken: Vec<Self> = limits.collect();
        if taken.is_empty() {
            taken.push(Self {
                job_id,
                asked: None,
                number: None,
                nth: None,
            });
        }
        taken
    }
}

/// Sorts the rows of a claim.
fn sort_rows(rows: &[PgRow], claim: &mut LimitedClaim) -> Result<(), sqlx::Error> {
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
    claim.partial = claimed_jobs(partial)?;
    Ok(())
}

/// Releases the jobs that a claim got only in part, and unblocks jobs of keys that have room. Call it after
/// the commit of the claim: slots that are freed meanwhile unblock nothing that is not committed.
pub async fn after_claim(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    claim: &LimitedClaim,
) -> Result<(), sqlx::Error> {
    if !claim.partial.is_empty() {
        let claims: Vec<Claim> = claim.partial.iter().map(|job| job.claim).collect();
        release(conn, schema, process, &claims).await?;
    }
    unblock(conn, schema, &keys_with_room(&claim.parked, &claim.partial)).await?;
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
