//! What there is to do, read by one statement for all parts of a process.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use crate::recurring::Kinds;
use crate::sql::Schema;
use crate::transitions::claim::{FoundLane, Lane, Track, bind_known};
use crate::transitions::promote::DuePlace;

const LOOK: &str = concat!(
    include_str!("look.sql"),
    "from (\n",
    include_str!("transitions/lanes.sql"),
    "\n) as lane"
);

/// The places from which to look: before them nothing was found. By default everything is read, also the
/// dead index entries of all jobs claimed and promoted since the last vacuum.
#[derive(Clone, Debug, Default)]
pub struct LookFrom {
    /// The lanes that are known, above their floors.
    pub lanes: Vec<Lane>,
    /// The place up to which scheduled jobs were promoted.
    pub scheduled: DuePlace,
}

/// What there is to do now, and when there will be more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The lanes that have ready jobs, and those that were known.
    pub lanes: Vec<FoundLane>,
    /// The time until the next scheduled job is due, if any is scheduled.
    pub next_scheduled: Option<Duration>,
    /// The time until the next recurring job is due, if any is planned.
    pub next_recurring: Option<Duration>,
    /// Whether a job is blocked.
    pub has_blocked: bool,
    /// Whether jobs may have to be woken because of an event.
    pub has_open_events: bool,
}

/// The row of `look.sql`. The arrays have an element for each lane.
#[derive(FromRow)]
struct Row {
    queues: Vec<String>,
    priorities: Vec<i16>,
    tracks: Vec<Track>,
    have_jobs: Vec<bool>,
    are_gated: Vec<bool>,
    scheduled_in: Option<i64>,
    recurring_in: Option<i64>,
    has_blocked: bool,
    has_open_events: bool,
}

/// Looks for ready, scheduled, recurring and blocked jobs, and for open events. A scheduler of these kinds decides about the
/// recurring ones.
pub async fn look(
    conn: &mut PgConnection,
    schema: &Schema,
    from: &LookFrom,
    kinds: &Kinds,
) -> Result<Look, sqlx::Error> {
    let row: Row = bind_known(schema.query_as(LOOK), &from.lanes)
        .bind(from.scheduled.due_at)
        .bind(from.scheduled.job_id)
        .bind(&kinds.known)
        .fetch_one(conn)
        .await?;
    Ok(Look {
        next_scheduled: row.scheduled_in.map(from_now),
        next_recurring: row.recurring_in.map(from_now),
        has_blocked: row.has_blocked,
        has_open_events: row.has_open_events,
        lanes: row.lanes(),
    })
}

impl Row {
    fn lanes(self) -> Vec<FoundLane> {
        let order = self.priorities.into_iter().zip(self.tracks);
        let state = self.have_jobs.into_iter().zip(self.are_gated);
        let lanes = self.queues.into_iter().zip(order.zip(state));
        lanes
            .map(
                |(queue, ((priority, track), (has_jobs, is_gated)))| FoundLane {
                    queue,
                    priority,
                    track,
                    has_jobs,
                    is_gated,
                },
            )
            .collect()
    }
}

fn from_now(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
