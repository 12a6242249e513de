//! Counts of runs that have ended: how many jobs were done, failed and were retried in each minute.
//!
//! Each process counts in memory and appends its counts with its heartbeat, so that a job pays nothing for
//! them; a process that is killed loses those of one interval. Maintenance adds them up.

use std::ops::AddAssign;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::Serialize;
use sqlx::postgres::PgBindIterExt as _;
use sqlx::postgres::types::PgInterval;
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const APPEND: &str = include_str!("append.sql");
const FOLD: &str = include_str!("fold.sql");
const BARS: &str = include_str!("bars.sql");

/// The name that stands for all queues.
pub(crate) const ALL: &str = "*";

/// Runs that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, FromRow)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counts {
    /// Jobs that did their work.
    pub done: i64,
    /// Jobs that were discarded.
    pub discarded: i64,
    /// Jobs that were cancelled.
    pub cancelled: i64,
    /// Jobs that failed for good.
    pub failed: i64,
    /// Runs that ended in an error, and whose jobs are tried again.
    pub retried: i64,
    /// How long the jobs had been ready before they ran, in milliseconds, added up.
    pub waited_ms: i64,
    /// How long they ran, in milliseconds, added up.
    pub ran_ms: i64,
}

impl Counts {
    /// Returns the number of jobs that have finished: done, discarded or cancelled.
    pub fn finished(&self) -> i64 {
        self.done + self.discarded + self.cancelled
    }

    /// Returns the number of runs that ended in an error.
    pub fn errors(&self) -> i64 {
        self.failed + self.retried
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.discarded += other.discarded;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.retried += other.retried;
        self.waited_ms += other.waited_ms;
        self.ran_ms += other.ran_ms;
    }
}

/// The counts of one kind in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindCounts {
    /// The queue's name.
    pub queue: String,
    /// The kind's name.
    pub kind: String,
    /// What has ended.
    pub counts: Counts,
}

/// Adds the counts of a process to those of the present minute, by the clock of the database.
pub async fn append(
    conn: &mut PgConnection,
    schema: &Schema,
    counts: &[KindCounts],
) -> Result<(), sqlx::Error> {
    let all = || counts.iter();
    let of = |column: fn(&Counts) -> i64| all().map(move |kind| column(&kind.counts));
    schema
        .query(APPEND)
        .bind(all().map(|kind| &kind.queue).bind_iter())
        .bind(all().map(|kind| &kind.kind).bind_iter())
        .bind(of(|counts| counts.done).bind_iter())
        .bind(of(|counts| counts.discarded).bind_iter())
        .bind(of(|counts| counts.cancelled).bind_iter())
        .bind(of(|counts| counts.failed).bind_iter())
        .bind(of(|counts| counts.retried).bind_iter())
        .bind(of(|counts| counts.waited_ms).bind_iter())
        .bind(of(|counts| counts.ran_ms).bind_iter())
        .execute(conn)
        .await?;
    Ok(())
}

/// Adds up old counts, up to `limit` rows of each span of time: minutes are kept for a day, hours for 30
/// days, days for a year. Returns the rows of the span that had the most; there may be more of it when they
/// are `limit`.
pub async fn fold(
    conn: &mut PgConnection,
    schema: &Schema,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let folded: i64 = schema
        .query_scalar(FOLD)
        .bind(i64::from(limit))
        .fetch_one(conn)
        .await?;
    Ok(folded.unsigned_abs())
}

/// The time that a chart is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// The last hour, by minutes.
    #[default]
    Hour,
    /// The last 24 hours, by 30 minutes.
    Day,
    /// The last 7 days, by 3 hours.
    Week,
}

impl Range {
    /// Returns how long one bar is.
    pub fn width(self) -> Duration {
        Duration::from_secs(
            60 * match self {
                Self::Hour => 1,
                Self::Day => 30,
                Self::Week => 180,
            },
        )
    }

    /// Returns the number of bars.
    pub fn bars(self) -> usize {
        match self {
            Self::Hour => 60,
            Self::Day => 48,
            Self::Week => 56,
        }
    }

    /// Returns how long the range is.
    pub fn length(self) -> Duration {
        self.width() * u32::try_from(self.bars()).unwrap_or(u32::MAX)
    }

    /// Returns when each bar begins, the last of which contains `now`.
    pub fn starts(self, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let width = TimeDelta::from_std(self.width()).unwrap_or(TimeDelta::MAX);
        let last = now.duration_trunc(width).unwrap_or(now);
        let back = (0..self.bars()).rev();
        back.map(|back| last - width * i32::try_from(back).unwrap_or(i32::MAX))
            .collect()
    }
}

/// What ended in one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, FromRow)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bar {
    /// When the span begins.
    pub at: DateTime<Utc>,
    /// What has ended.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub counts: Counts,
}

impl AddAssign<&Self> for Bar {
    fn add_assign(&mut self, other: &Self) {
        self.counts.add(&other.counts);
    }
}

/// Returns what ended in one queue, or in all if none is named, in each span up to `now`. Hours that are
/// kept as such fall into the span in which they begin.
pub async fn bars(
    conn: &mut PgConnection,
    schema: &Schema,
    queue: Option<&str>,
    range: Range,
    now: DateTime<Utc>,
) -> Result<Vec<Bar>, sqlx::Error> {
    let width = TimeDelta::from_std(range.width()).unwrap_or(TimeDelta::MAX);
    let starts = range.starts(now);
    let found: Vec<Bar> = schema
        .query_as(BARS)
        .bind(queue.unwrap_or(ALL))
        .bind(starts.first())
        .bind(PgInterval::try_from(width).map_err(sqlx::Error::Encode)?)
        .fetch_all(conn)
        .await?;
    let counts_at = |at: &DateTime<Utc>| {
        let bar = found.iter().find(|bar| bar.at == *at);
        bar.map_or_else(Counts::default, |bar| bar.counts)
    };
    let bars = starts.into_iter();
    Ok(bars
        .map(|at| Bar {
            at,
            counts: counts_at(&at),
        })
        .collect())
}
