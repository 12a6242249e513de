//! ready → claimed

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::postgres::{PgBindIterExt as _, PgRow};
use sqlx::types::Json;
use sqlx::{Column as _, FromRow, PgConnection, Row as _};

use super::run::Claim;
use crate::context::Context;
use crate::encryption::{Place, Unopened};
use crate::process::ProcessId;
use crate::sql::{QueryAs, Schema};

const CLAIM: &str = concat!(
    include_str!("claim.sql"),
    include_str!("take.sql"),
    include_str!("claimed_jobs.sql")
);
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
    /// Jobs of tenants without limits, in a fair queue. The tenants take turns.
    Fair = 3,
    /// Jobs of tenants with limits, in a fair queue. The tenants take turns.
    FairLimited = 4,
}

impl Track {
    /// Returns whether tenants take turns.
    pub fn is_fair(self) -> bool {
        matches!(self, Self::Fair | Self::FairLimited)
    }
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

/// One priority and track of a fair queue, on which tenants take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FairLane {
    /// The queue's name.
    pub queue: String,
    /// The priority.
    pub priority: i16,
    /// The track.
    pub track: Track,
}

/// What one claim takes of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The tenant.
    pub tenant: String,
    /// The claim takes jobs after this place.
    pub above: i64,
    /// The last place that the claim reads.
    pub up_to: i64,
    /// The most jobs.
    pub jobs: i64,
    /// How many of them start before the next tenant has its turn.
    pub weight: i16,
    /// Whether the jobs may have limits: their own, or one of their tenant, queue or kind.
    pub is_gated: bool,
}

/// A job that this process runs and ends.
#[derive(Debug)]
pub struct ClaimedJob {
    /// The claim, which ends its run.
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
    pub args: Box<RawValue>,
    /// Where it comes from, or why that cannot be read.
    pub context: Result<Arc<Context>, String>,
}

impl ClaimedJob {
    /// Decrypts its arguments, if they are encrypted. They stay encrypted on an error.
    pub fn open_args(&mut self, schema: &Schema) -> Result<(), Unopened> {
        if let Some(opened) = schema.open(&self.kind, Place::Args, self.args.get())? {
            self.args = opened;
        }
        Ok(())
    }

    /// Returns its tenant; none if its context cannot be read.
    pub fn tenant(&self) -> Option<&str> {
        self.context.as_ref().ok()?.tenant.as_deref()
    }
}

/// Declares the positions of the columns of [`ClaimedJob`], which are looked up by name.
macro_rules! columns {
    ($($name:ident),*) => {
        struct Columns {
            $($name: usize,)*
        }

        impl Columns {
            fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
                Ok(Self {
                    $($name: row.try_column(stringify!($name))?.ordinal(),)*
                })
            }
        }
    };
}

columns!(
    job_id,
    attempt,
    has_key,
    seq,
    queue,
    kind,
    priority,
    failures,
    attempts_max,
    crashes,
    crashes_max,
    created_at,
    ready_at,
    claimed_at,
    tags,
    track,
    keys,
    args,
    tenant,
    context,
    batch_id
);

/// Reads the rows of jobs that were claimed. The columns are looked up once for all rows, because that
/// takes longer than to read a row.
pub(super) fn claimed_jobs<'r>(
    rows: impl IntoIterator<Item = &'r PgRow>,
) -> Result<Vec<ClaimedJob>, sqlx::Error> {
    let mut rows = rows.into_iter().peekable();
    let Some(first) = rows.peek() else {
        return Ok(Vec::new());
    };
    let columns = Columns::of(first)?;
    rows.map(|row| columns.read(row)).collect()
}

impl Columns {
    fn read(&self, row: &PgRow) -> Result<ClaimedJob, sqlx::Error> {
        let tags: Option<Vec<String>> = row.try_get(self.tags)?;
        let keys: Option<Vec<String>> = row.try_get(self.keys)?;
        let Json(args) = row.try_get(self.args)?;
        Ok(ClaimedJob {
            claim: Claim {
                job_id: row.try_get(self.job_id)?,
                attempt: row.try_get(self.attempt)?,
                has_key: row.try_get(self.has_key)?,
                batch: row.try_get(self.batch_id)?,
            },
            seq: row.try_get(self.seq)?,
            queue: row.try_get(self.queue)?,
            kind: row.try_get(self.kind)?,
            priority: row.try_get(self.priority)?,
            failures: row.try_get(self.failures)?,
            attempts_max: row.try_get(self.attempts_max)?,
            crashes: row.try_get(self.crashes)?,
            crashes_max: row.try_get(self.crashes_max)?,
            created_at: row.try_get(self.created_at)?,
            ready_at: row.try_get(self.ready_at)?,
            claimed_at: row.try_get(self.claimed_at)?,
            tags: tags.unwrap_or_default(),
            track: row.try_get(self.track)?,
            keys: keys.unwrap_or_default(),
            args,
            context: self.context(row)?,
        })
    }
}

impl Columns {
    fn context(&self, row: &PgRow) -> Result<Result<Arc<Context>, String>, sqlx::Error> {
        let tenant: Option<String> = row.try_get(self.tenant)?;
        let json: Option<Json<&RawValue>> = row.try_get(self.context)?;
        if tenant.is_none() && json.is_none() {
            return Ok(Ok(Context::none()));
        }
        let context = Context::read(tenant, json.map(|json| json.0.get()));
        Ok(context.map(Arc::new).map_err(|error| error.to_string()))
    }
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
    let rows = schema
        .query(CLAIM)
        .bind(lanes.iter().map(|lane| &lane.queue).bind_iter())
        .bind(lanes.iter().map(|lane| lane.priority).bind_iter())
        .bind(lanes.iter().map(|lane| lane.above).bind_iter())
        .bind(lanes.iter().map(|lane| lane.up_to).bind_iter())
        .bind(kinds)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(process.0)
        .fetch_all(conn)
        .await?;
    let mut jobs = claimed_jobs(&rows)?;
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

/// A lane that has ready jobs, or was asked about.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct FoundLane {
    /// The queue's name.
    pub queue: String,
    /// The priority.
    pub priority: i16,
    /// The track.
    pub track: Track,
    /// Whether it has ready jobs.
    pub has_jobs: bool,
    /// Whether its jobs have limits: their own, or one of their queue or of some kind.
    pub is_gated: bool,
}

/// Returns the lanes that have ready jobs, and all of `known`. Of those, it reads only the places
/// above their lower bounds.
pub async fn lanes(
    conn: &mut PgConnection,
    schema: &Schema,
    known: &[Lane],
) -> Result<Vec<FoundLane>, sqlx::Error> {
    let query = bind_known(schema.query_as(LANES), known);
    query.fetch_all(conn).await
}

/// Binds the parameters of `lanes.sql`.
pub(crate) fn bind_known<'q, O>(query: QueryAs<'q, O>, known: &'q [Lane]) -> QueryAs<'q, O> {
    query
        .bind(known.iter().map(|lane| &lane.queue).bind_iter())
        .bind(known.iter().map(|lane| lane.priority).bind_iter())
        .bind(known.iter().map(|lane| lane.track as i16).bind_iter())
        .bind(known.iter().map(|lane| lane.above).bind_iter())
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
