//! Depths: how many jobs each queue had in each state, sampled once a minute.
//!
//! The cost of a sample is bounded: it counts up to [`COUNT_MAX`] rows of each table, and is left out if that
//! takes longer than two seconds. Hours and days keep the most of their samples.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::Serialize;
use sqlx::postgres::PgBindIterExt as _;
use sqlx::postgres::types::PgInterval;
use sqlx::{Connection as _, FromRow, PgConnection};

use crate::counts::{ALL, Range};
use crate::db::is_out_of_time;
use crate::inspect::COUNT_MAX;
use crate::inspect::merged::longest;
use crate::sql::Schema;

const SAMPLE: &str = include_str!("sample.sql");
const BARS: &str = include_str!("bars.sql");
const READY: &str = include_str!("ready.sql");
const LIMIT_TIME: &str = "set local statement_timeout = '2s'";

/// The most old rows that one sample removes of each span: more than it adds.
const CLEARED_MAX: i64 = 5_000;

/// The hours of [`ready_by_hour`].
const HOURS: usize = 24;

/// How long until the next minute if a sample was left out.
const MINUTE: Duration = Duration::from_secs(60);

/// Samples the present minute, by the clock of the database, unless another process has done that. Returns
/// how long it is until the next minute.
pub async fn sample(conn: &mut PgConnection, schema: &Schema) -> Result<Duration, sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query(LIMIT_TIME)
        .persistent(false)
        .execute(&mut *tx)
        .await?;
    let sampled = schema
        .query_scalar(SAMPLE)
        .bind(i64::from(COUNT_MAX))
        .bind(CLEARED_MAX)
        .fetch_one(&mut *tx)
        .await;
    let next: i64 = match sampled {
        Err(error) if is_out_of_time(&error) => {
            tx.rollback().await?;
            return Ok(MINUTE);
        }
        sampled => sampled?,
    };
    tx.commit().await?;
    Ok(Duration::from_millis(next.unsigned_abs()))
}

/// The most jobs that were seen in each state in one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, FromRow)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Depth {
    /// When the span begins.
    pub at: DateTime<Utc>,
    /// Jobs that waited for a worker.
    pub ready: i64,
    /// Jobs that waited until they were due.
    pub scheduled: i64,
    /// Jobs whose limit had no room.
    pub blocked: i64,
    /// Jobs that were claimed.
    pub running: i64,
    /// Jobs that had failed.
    pub failed: i64,
    /// How long the oldest ready job had been ready; none without ready jobs.
    pub oldest_ready_seconds: Option<f64>,
    /// Whether there were more: counting stopped at a million jobs.
    pub at_least: bool,
}

impl AddAssign<&Self> for Depth {
    fn add_assign(&mut self, other: &Self) {
        self.ready += other.ready;
        self.scheduled += other.scheduled;
        self.blocked += other.blocked;
        self.running += other.running;
        self.failed += other.failed;
        self.oldest_ready_seconds = longest(self.oldest_ready_seconds, other.oldest_ready_seconds);
        self.at_least |= other.at_least;
    }
}

/// Returns the depths of one queue, or of all together if none is named, in each span up to `now` in which
/// there was a sample.
pub async fn depths(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: Option<&str>,
    range: Range,
    now: DateTime<Utc>,
) -> Result<Vec<Depth>, sqlx::Error> {
    let span: i16 = if range == Range::Week { 60 } else { 1 };
    let width = TimeDelta::from_std(range.width()).unwrap_or(TimeDelta::MAX);
    schema
        .query_as(BARS)
        .bind(queue.unwrap_or(ALL))
        .bind(span)
        .bind(range.starts(now).first())
        .bind(PgInterval::try_from(width).map_err(sqlx::Error::Encode)?)
        .fetch_all(conn)
        .await
}

/// Returns the most ready jobs of some queues in each of the last 24 hours, the oldest first.
pub async fn ready_by_hour(
    conn: &mut PgConnection,
    schema: &Schema,
    queues: impl ExactSizeIterator<Item = &str>,
    now: DateTime<Utc>,
) -> Result<HashMap<String, Vec<i64>>, sqlx::Error> {
    let first =
        now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now) - TimeDelta::hours(HOURS as i64 - 1);
    let rows: Vec<(String, DateTime<Utc>, i64)> = schema
        .query_as(READY)
        .bind(queues.bind_iter())
        .bind(first)
        .fetch_all(conn)
        .await?;
    let mut hours = HashMap::new();
    for (queue, at, ready) in rows {
        let of_queue = hours.entry(queue).or_insert_with(|| vec![0; HOURS]);
        let hour = usize::try_from((at - first).num_hours());
        if let Some(hour) = hour.ok().and_then(|hour| of_queue.get_mut(hour)) {
            *hour = ready;
        }
    }
    Ok(hours)
}
