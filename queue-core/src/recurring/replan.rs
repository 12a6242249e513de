//! Brings back plans that a wrong clock has moved too far ahead.
//!
//! If the database's clock is years ahead for a moment, a scheduler moves plans years ahead, and the
//! recurring jobs are not due until then. Due times that were decided meanwhile stay decided: each
//! has its firing.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection as _, FromRow, PgConnection};

use super::fire::MOVE;
use crate::schedule::Schedule;
use crate::sql::Schema;

const LOCK_FAR: &str = include_str!("lock_far.sql");

/// How far a plan must be ahead of its schedule to be brought back.
const TOO_FAR: TimeDelta = TimeDelta::days(1);

/// A row of `lock_far.sql`.
#[derive(FromRow)]
struct Far {
    name: String,
    schedule: String,
    zone: String,
    next_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// Brings back plans that are more than a day after the next due time, and returns the names of
/// their recurring jobs. Now is the database's clock unless given. Ignores recurring jobs that are
/// paused or unreadable.
pub async fn replan(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let rows: Vec<Far> = schema
        .query_as(LOCK_FAR)
        .bind(now)
        .fetch_all(&mut *tx)
        .await?;
    let mut replanned = Vec::new();
    for row in rows {
        let schedule = Schedule::of_row(&row.schedule, &row.zone).ok();
        let next_at = schedule.and_then(|schedule| schedule.next_after(row.now));
        if next_at.is_some_and(|next_at| row.next_at - next_at > TOO_FAR) {
            schema
                .query(MOVE)
                .bind(&row.name)
                .bind(next_at)
                .execute(&mut *tx)
                .await?;
            replanned.push(row.name);
        }
    }
    tx.commit().await?;
    Ok(replanned)
}
