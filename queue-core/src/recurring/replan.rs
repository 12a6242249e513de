//! Brings back plans that a wrong clock has moved too far ahead.
//!
//! If the database's clock is years ahead for a moment, a scheduler moves plans years ahead, and the
//! recurring jobs are not due until then. Due times that were decided meanwhile stay decided: each
//! has its firing.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::fire::MOVE;
use crate::schedule::{Schedule, parse_zone};
use crate::sql::Schema;

const LOCK_FAR: &str = include_str!("lock_far.sql");

/// How far a plan must be ahead of its schedule to be brought back.
const TOO_FAR: TimeDelta = TimeDelta::days(1);

/// Brings back plans that are more than a day after the next due time, and returns the names of
/// their recurring jobs. Now is the database's clock unless given. Ignores recurring jobs that are
/// paused or not understood.
pub async fn replan(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let rows = sqlx::query(schema.sql(LOCK_FAR))
        .bind(now)
        .fetch_all(&mut *tx)
        .await?;
    let mut replanned = Vec::new();
    for row in &rows {
        let planned: DateTime<Utc> = row.try_get("next_at")?;
        let Some(next_at) = next_due_time(row)? else {
            continue;
        };
        if planned - next_at > TOO_FAR {
            let name: String = row.try_get("name")?;
            sqlx::query(schema.sql(MOVE))
                .bind(&name)
                .bind(next_at)
                .execute(&mut *tx)
                .await?;
            replanned.push(name);
        }
    }
    tx.commit().await?;
    Ok(replanned)
}

/// Returns the first due time after now, if the row is understood and there is one.
fn next_due_time(row: &PgRow) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let (text, zone): (&str, &str) = (row.try_get("schedule")?, row.try_get("zone")?);
    let now = row.try_get("now")?;
    let zone = parse_zone(zone).ok();
    let schedule = zone.and_then(|zone| Schedule::parse(text, zone).ok());
    Ok(schedule.and_then(|schedule| schedule.next_after(now)))
}
