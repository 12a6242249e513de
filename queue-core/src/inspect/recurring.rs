//! Recurring jobs: when each is due, and the outcomes of its due times.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{FromRow, PgConnection, Row};

use crate::encryption::Place;
use crate::job::JobId;
use crate::schedule::Schedule;
use crate::sql::Schema;

const LIST: &str = include_str!("recurring_list.sql");
const SHOW: &str = include_str!("recurring_show.sql");
const FIRINGS: &str = include_str!("recurring_firings.sql");

/// How many due times to come are returned.
const UPCOMING: usize = 5;

/// A recurring job in a list.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecurringJobSummary {
    /// Its name.
    pub name: String,
    /// The text of its schedule.
    pub schedule: String,
    /// The time zone of its schedule.
    pub zone: String,
    /// Its schedule in words; `None` if it cannot be parsed.
    #[sqlx(skip)]
    pub words: Option<String>,
    /// The kind of its jobs.
    pub kind: String,
    /// The queue of its jobs.
    pub queue: String,
    /// The source that declares it; `None` if it was added at run time.
    pub source: Option<String>,
    /// When it was paused, if it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Its first due time that is not decided. It may be past while the recurring job is paused.
    pub next_at: Option<DateTime<Utc>>,
    /// Its last due time that was decided.
    pub last_due_at: Option<DateTime<Utc>>,
    /// The outcome of that due time: `enqueued`, `missed`, `overlap` or `failed`.
    pub last_outcome: Option<String>,
    /// The job that was enqueued for that due time.
    pub last_job_id: Option<JobId>,
}

/// Everything about a recurring job.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecurringJobDetails {
    /// Its name.
    pub name: String,
    /// The text of its schedule.
    pub schedule: String,
    /// The time zone of its schedule.
    pub zone: String,
    /// Its schedule in words; `None` if it cannot be parsed.
    #[sqlx(skip)]
    pub words: Option<String>,
    /// The kind of its jobs.
    pub kind: String,
    /// The queue of its jobs.
    pub queue: String,
    /// The priority of its jobs; smaller is sooner.
    pub priority: i16,
    /// How many failures a job may have.
    pub attempts_max: i16,
    /// How many times the process of a job may die while it runs.
    pub crashes_max: i16,
    /// The tags of its jobs.
    pub tags: Vec<String>,
    /// The arguments of its jobs, which may contain personal data.
    #[sqlx(json)]
    pub args: Box<RawValue>,
    /// The policy for missed due times: `skip`, `once` or `all`.
    pub missed: String,
    /// How many missed due times are handled one by one.
    pub missed_max: i32,
    /// The policy for overlapping jobs: `allow`, `skip` or `queue`.
    pub overlap: String,
    /// How long after its due time a job may start.
    pub jitter_seconds: f64,
    /// The source that declares it; `None` if it was added at run time.
    pub source: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When its definition was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was paused, if it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Its first due time that is not decided. It may be past while the recurring job is paused.
    pub next_at: Option<DateTime<Utc>>,
    /// Its next due times, from `next_at` on.
    #[sqlx(skip)]
    pub upcoming: Vec<DateTime<Utc>>,
    /// Its last firings, newest first.
    #[sqlx(skip)]
    pub firings: Vec<FiringDetails>,
}

/// The record of a due time, or of a run by hand.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FiringDetails {
    /// The due time; `None` for a run by hand.
    pub due_at: Option<DateTime<Utc>>,
    /// Set if the firing covers all due times from this one on.
    pub since: Option<DateTime<Utc>>,
    /// When the due time was decided.
    pub fired_at: DateTime<Utc>,
    /// The outcome: `enqueued`, `missed`, `overlap` or `failed`.
    pub outcome: String,
    /// The job that was enqueued. It may have been cleared since.
    pub job_id: Option<JobId>,
    /// Why no job was enqueued.
    pub reason: Option<String>,
}

/// Lists all recurring jobs, by name.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<RecurringJobSummary>, sqlx::Error> {
    let mut recurring_jobs: Vec<RecurringJobSummary> =
        schema.query_as(LIST).fetch_all(conn).await?;
    for summary in &mut recurring_jobs {
        let schedule = Schedule::of_row(&summary.schedule, &summary.zone);
        summary.words = schedule.ok().map(|schedule| schedule.describe());
    }
    Ok(recurring_jobs)
}

/// Returns a recurring job with up to `firings` of its last firings; `None` if there is no such
/// recurring job.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    firings: u32,
) -> Result<Option<RecurringJobDetails>, sqlx::Error> {
    let row = schema
        .query(SHOW)
        .bind(name)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut details = RecurringJobDetails::from_row(&row)?;
    schema.show(&details.kind, Place::Args, &mut details.args);
    if let Ok(schedule) = Schedule::of_row(&details.schedule, &details.zone) {
        details.words = Some(schedule.describe());
        details.upcoming = upcoming(&schedule, details.next_at, row.try_get("now")?);
    }
    details.firings = schema
        .query_as(FIRINGS)
        .bind(name)
        .bind(i64::from(firings))
        .fetch_all(conn)
        .await?;
    Ok(Some(details))
}

/// Returns the next due times: those after now that are not decided.
fn upcoming(
    schedule: &Schedule,
    next_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let planned = next_at.filter(|next_at| *next_at > now);
    let after_it = schedule.upcoming(planned.unwrap_or(now));
    planned.into_iter().chain(after_it).take(UPCOMING).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upcoming_due_times_begin_with_the_plan_or_after_now() {
        let at = |hour: u32| -> DateTime<Utc> {
            format!("2030-06-01T{hour:02}:00:00Z").parse().unwrap()
        };
        let schedule: Schedule = "@hourly".parse().unwrap();
        for (next_at, first) in [(Some(8), 11), (None, 11), (Some(11), 11), (Some(14), 14)] {
            let upcoming = upcoming(&schedule, next_at.map(at), at(10));
            assert_eq!(upcoming[..2], [at(first), at(first + 1)], "{next_at:?}");
        }
    }
}
