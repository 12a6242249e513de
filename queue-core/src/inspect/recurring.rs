//! Schedules: when each is due, and what became of it when it was.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, Row};

use crate::job::JobId;
use crate::schedule::{Schedule, parse_zone};
use crate::sql::Schema;

const LIST: &str = include_str!("recurring_list.sql");
const SHOW: &str = include_str!("recurring_show.sql");
const FIRINGS: &str = include_str!("recurring_firings.sql");

/// How many coming due times are told.
const UPCOMING: usize = 5;

/// A schedule at a glance.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct RecurringJobSummary {
    /// Its name.
    pub name: String,
    /// Its times, as they were written.
    pub schedule: String,
    /// The zone whose clock they are by.
    pub zone: String,
    /// Its times in words; nothing when this program does not understand them.
    #[sqlx(skip)]
    pub words: Option<String>,
    /// The kind of its jobs.
    pub kind: String,
    /// The queue of its jobs.
    pub queue: String,
    /// The source that declares it; nothing when it was added at run time.
    pub source: Option<String>,
    /// When it was paused, if it is.
    pub paused_at: Option<DateTime<Utc>>,
    /// The first due time that has not been decided about. While it is paused that may be past.
    pub next_at: Option<DateTime<Utc>>,
    /// The last due time that was decided about.
    pub last_due_at: Option<DateTime<Utc>>,
    /// What became of it: `enqueued`, `missed`, `overlap` or `failed`.
    pub last_outcome: Option<String>,
    /// The job that was enqueued for it.
    pub last_job_id: Option<JobId>,
}

/// Everything that is known of a schedule.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct RecurringJobDetails {
    /// Its name.
    pub name: String,
    /// Its times, as they were written.
    pub schedule: String,
    /// The zone whose clock they are by.
    pub zone: String,
    /// Its times in words; nothing when this program does not understand them.
    #[sqlx(skip)]
    pub words: Option<String>,
    /// The kind of its jobs.
    pub kind: String,
    /// The queue of its jobs.
    pub queue: String,
    /// The priority of its jobs; smaller is sooner.
    pub priority: i16,
    /// How many attempts of a job may end in an error.
    pub attempts_max: i16,
    /// How many times the process of a job may die under it.
    pub crashes_max: i16,
    /// The labels of its jobs.
    pub tags: Vec<String>,
    /// The arguments of its jobs, which may hold data of people.
    pub args: serde_json::Value,
    /// What becomes of missed due times: `skip`, `once` or `all`.
    pub missed: String,
    /// How many of them are looked at one by one.
    pub missed_max: i32,
    /// What becomes of a due time while an earlier job has not ended: `allow`, `skip` or `queue`.
    pub overlap: String,
    /// How much later than its due time a job may start.
    pub jitter_seconds: f64,
    /// The source that declares it; nothing when it was added at run time.
    pub source: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When what it says was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was paused, if it is.
    pub paused_at: Option<DateTime<Utc>>,
    /// The first due time that has not been decided about. While it is paused that may be past.
    pub next_at: Option<DateTime<Utc>>,
    /// The next due times, from the plan on: those before it have been decided about.
    #[sqlx(skip)]
    pub upcoming: Vec<DateTime<Utc>>,
    /// The last firings, newest first.
    #[sqlx(skip)]
    pub firings: Vec<FiringDetails>,
}

/// What became of a due time, or of a wish to run a schedule by hand.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct FiringDetails {
    /// The due time; nothing when it was run by hand.
    pub due_at: Option<DateTime<Utc>>,
    /// Set when it is about all due times from this one on.
    pub since: Option<DateTime<Utc>>,
    /// When it was decided.
    pub fired_at: DateTime<Utc>,
    /// What became of it: `enqueued`, `missed`, `overlap` or `failed`.
    pub outcome: String,
    /// The job that was enqueued, which may have been cleared since.
    pub job_id: Option<JobId>,
    /// Why none was.
    pub reason: Option<String>,
}

/// Lists every schedule, by name.
///
/// # Errors
/// Returns what the server answered.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<RecurringJobSummary>, sqlx::Error> {
    let mut schedules: Vec<RecurringJobSummary> =
        sqlx::query_as(schema.sql(LIST)).fetch_all(conn).await?;
    for summary in &mut schedules {
        let times = understood(&summary.schedule, &summary.zone);
        summary.words = times.map(|times| times.describe());
    }
    Ok(schedules)
}

/// Tells everything about one schedule, with up to `firings` of its last firings; nothing when
/// there is no such schedule.
///
/// # Errors
/// Returns what the server answered.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    firings: u32,
) -> Result<Option<RecurringJobDetails>, sqlx::Error> {
    let row = sqlx::query(schema.sql(SHOW))
        .bind(name)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut details = RecurringJobDetails::from_row(&row)?;
    if let Some(times) = understood(&details.schedule, &details.zone) {
        details.words = Some(times.describe());
        details.upcoming = upcoming(&times, details.next_at, row.try_get("now")?);
    }
    details.firings = sqlx::query_as(schema.sql(FIRINGS))
        .bind(name)
        .bind(i64::from(firings))
        .fetch_all(conn)
        .await?;
    Ok(Some(details))
}

/// Returns the first due times after now that have not been decided about.
fn upcoming(
    schedule: &Schedule,
    next_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let planned = next_at.filter(|next_at| *next_at > now);
    let after_it = schedule.upcoming(planned.unwrap_or(now));
    planned.into_iter().chain(after_it).take(UPCOMING).collect()
}

/// Parses the times of a schedule. Returns nothing if another version of the program wrote what
/// this one does not understand.
fn understood(text: &str, zone: &str) -> Option<Schedule> {
    Schedule::parse(text, parse_zone(zone).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coming_times_begin_with_the_plan_or_now_whichever_is_later() {
        let at = |hour: u32| -> DateTime<Utc> {
            format!("2030-06-01T{hour:02}:00:00Z").parse().unwrap()
        };
        let schedule: Schedule = "@hourly".parse().unwrap();
        for (next_at, first) in [(Some(8), 11), (None, 11), (Some(11), 11), (Some(14), 14)] {
            let coming = upcoming(&schedule, next_at.map(at), at(10));
            assert_eq!(coming[..2], [at(first), at(first + 1)], "{next_at:?}");
        }
    }
}
