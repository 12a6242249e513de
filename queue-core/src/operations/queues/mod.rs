//! Pausing, resuming and clearing a queue, and making it fair.

use sqlx::PgConnection;

use crate::job::{JobId, Outcome};
use crate::names::{InvalidName, check_queue};
use crate::sql::Schema;
use crate::transitions::cancel::cancel_waiting;

const PAUSE: &str = include_str!("pause.sql");
const RESUME: &str = include_str!("resume.sql");
const SET_FAIR: &str = include_str!("set_fair.sql");
const FRONT: &str = include_str!("front.sql");

/// Why a queue was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The database returned an error, or could not be reached.
    #[error("could not change the queue")]
    Database(#[from] sqlx::Error),
}

/// Pauses a queue: no more of its jobs are claimed, and running jobs go on. A queue can be paused before
/// its first job. Returns false if it was paused already.
///
/// # Errors
/// Refuses an invalid name.
pub async fn pause(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
) -> Result<bool, QueueError> {
    pause_because(conn, schema, queue, None, None).await
}

/// Pauses a queue like [`pause`], and records who did it, and why, for those who find it paused.
///
/// # Errors
/// Refuses an invalid name.
pub async fn pause_because(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
    who: Option<&str>,
    why: Option<&str>,
) -> Result<bool, QueueError> {
    check_queue(queue)?;
    let paused = schema
        .query(PAUSE)
        .bind(queue)
        .bind(who)
        .bind(why)
        .execute(conn)
        .await?;
    Ok(paused.rows_affected() == 1)
}

/// Resumes a queue, and wakes idle workers. Returns whether it was paused.
///
/// # Errors
/// Refuses an invalid name.
pub async fn resume(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
) -> Result<bool, QueueError> {
    check_queue(queue)?;
    let resumed = schema
        .query(RESUME)
        .bind(queue)
        .fetch_optional(conn)
        .await?;
    Ok(resumed.is_some())
}

/// Makes a queue fair, so that the tenants of its jobs take turns, or ends that. Jobs that are ready already are
/// claimed as before: the change is about those that become ready later. Returns whether it is new.
///
/// # Errors
/// Refuses an invalid name.
pub async fn set_fair(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
    is_fair: bool,
) -> Result<bool, QueueError> {
    check_queue(queue)?;
    let changed = schema
        .query(SET_FAIR)
        .bind(queue)
        .bind(is_fair)
        .execute(conn)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// A place in the line of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    priority: i16,
    track: i16,
    seq: i64,
}

impl Place {
    /// The place before every job.
    pub const FRONT: Self = Self {
        priority: i16::MIN,
        track: i16::MIN,
        seq: i64::MIN,
    };
}

/// The result of one call of [`clear`].
#[derive(Clone, Debug)]
pub struct ClearedBatch {
    /// The jobs that were discarded, without those that a worker claimed first.
    pub discarded: Vec<JobId>,
    /// Where the next call begins; none at the end of the line.
    pub next: Option<Place>,
}

/// Discards up to `limit` ready jobs of a queue that come after `from` in its line. Does not touch
/// scheduled, blocked, running and failed jobs.
///
/// # Errors
/// Refuses an invalid name.
pub async fn clear(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: &str,
    from: Place,
    limit: u32,
) -> Result<ClearedBatch, QueueError> {
    check_queue(queue)?;
    let front: Vec<(JobId, i16, i16, i64)> = schema
        .query_as(FRONT)
        .bind(queue)
        .bind(from.priority)
        .bind(from.track)
        .bind(from.seq)
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
    let jobs: Vec<JobId> = front.iter().map(|&(id, ..)| id).collect();
    let next = front.last().map(|&(_, priority, track, seq)| Place {
        priority,
        track,
        seq,
    });
    let discarded = cancel_waiting(conn, schema, &jobs, Outcome::Discarded).await?;
    Ok(ClearedBatch { discarded, next })
}
