//! scheduled → ready

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::sql::Schema;

const PROMOTE: &str = include_str!("promote.sql");
const NEXT_DUE: &str = include_str!("next_due.sql");

/// A place in the order in which scheduled jobs become ready. The default is before all jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuePlace {
    pub(crate) due_at: Option<DateTime<Utc>>,
    pub(crate) job_id: i64,
}

/// What [`promote_after`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The number of jobs that became ready.
    pub jobs: u64,
    /// The place of the last of them.
    pub last: Option<DuePlace>,
}

/// The next scheduled job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextDue {
    /// The time until it is due, if any is scheduled.
    pub wait: Option<Duration>,
    /// The place up to which no job is scheduled, at the latest a second ago: a job that is committed
    /// within a second of its due time comes after it.
    pub floor: DuePlace,
}

/// Makes up to `limit` jobs ready that are due at `now` (by default the database's clock), earliest
/// first, and returns how many.
pub async fn promote(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let all = DuePlace::default();
    Ok(promote_after(conn, schema, all, now, limit).await?.jobs)
}

/// Does the same as [`promote`] with jobs after a place.
pub async fn promote_after(
    conn: &mut PgConnection,
    schema: &Schema,
    after: DuePlace,
    now: Option<DateTime<Utc>>,
    limit: u32,
) -> Result<Promoted, sqlx::Error> {
    let (promoted, due_at, job_id, _notified): (i64, _, Option<i64>, i64) = schema
        .query_as(PROMOTE)
        .bind(now)
        .bind(i64::from(limit))
        .bind(after.due_at)
        .bind(after.job_id)
        .fetch_one(conn)
        .await?;
    Ok(Promoted {
        jobs: promoted.unsigned_abs(),
        last: job_id.map(|job_id| DuePlace { due_at, job_id }),
    })
}

/// Returns when the next scheduled job after a place is due.
pub async fn next_due(
    conn: &mut PgConnection,
    schema: &Schema,
    after: DuePlace,
) -> Result<NextDue, sqlx::Error> {
    let (wait, due_at, job_id, settled_at): (Option<i64>, _, Option<i64>, _) = schema
        .query_as(NEXT_DUE)
        .bind(after.due_at)
        .bind(after.job_id)
        .fetch_one(conn)
        .await?;
    let settled = DuePlace {
        due_at: settled_at,
        job_id: 0,
    };
    let before_next = job_id.map(|job_id| DuePlace {
        due_at,
        job_id: job_id - 1,
    });
    Ok(NextDue {
        wait: wait.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())),
        floor: before_next.map_or(settled, |place| place.min(settled)),
    })
}
