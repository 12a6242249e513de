//! Brings back plans that a clock which was ahead has moved on.
//!
//! One look at a clock that is wrong for a moment is enough to move a plan years ahead, and nobody
//! would look at that schedule until then. What was decided meanwhile stays decided: a due time
//! that comes round again has its firing already.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::fire::MOVE;
use crate::schedule::{Schedule, parse_zone};
use crate::sql::Schema;

const LOCK_FAR: &str = include_str!("lock_far.sql");

/// How much later than it should a plan is, at least, when it is brought back.
const TOO_FAR: TimeDelta = TimeDelta::days(1);

/// Brings back the plans that lie more than a day after the first due time from now on, and returns
/// the names of their schedules. Now is the database's clock unless given. Those that are paused or
/// not understood are left alone.
///
/// # Errors
/// Returns what the server answered.
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

/// Returns the first due time of a row after now; none, when there is none or the row is not
/// understood.
fn next_due_time(row: &PgRow) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let (text, zone): (&str, &str) = (row.try_get("schedule")?, row.try_get("zone")?);
    let now = row.try_get("now")?;
    let zone = parse_zone(zone).ok();
    let schedule = zone.and_then(|zone| Schedule::parse(text, zone).ok());
    Ok(schedule.and_then(|schedule| schedule.next_after(now)))
}
