//! Lists of jobs, and all details of one.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Postgres, Row};
use uuid::Uuid;

use super::Count;
use super::progress::{JobProgress, progress};
use super::times::Times;
use crate::encryption::Place;
use crate::job::{BatchId, JobId, Outcome};
use crate::redact::Redaction;
use crate::sql::Schema;
use crate::state::JobState;
use crate::transitions::millis;

const LIST: &str = concat!(
    "with matching as (\nselect narrow.*\nfrom (\n",
    include_str!("jobs_states.sql"),
    include_str!("jobs_matching.sql"),
    include_str!("jobs_list.sql")
);
const IDS: &str = concat!(
    "with matching as (\nselect narrow.*\nfrom (\n",
    include_str!("jobs_states.sql"),
    include_str!("jobs_matching.sql"),
    "select job_id from matching order by job_id desc"
);
const COUNT: &str = concat!(
    "with matching as (\nselect narrow.*\nfrom (\n",
    include_str!("jobs_states.sql"),
    include_str!("jobs_matching.sql"),
    "select count(*) from matching"
);
const LIST_BY_INDEX: &str = concat!(
    include_str!("jobs_by_index.sql"),
    include_str!("jobs_list.sql")
);
const IDS_BY_INDEX: &str = concat!(
    include_str!("jobs_by_index.sql"),
    "select job_id from matching order by job_id desc"
);
const COUNT_BY_INDEX: &str = concat!(
    include_str!("jobs_by_index.sql"),
    "select count(*) from matching"
);
const PLACE: &str = concat!(
    "select job_id, (select created_at from queue.jobs where jobs.id = job_id)\nfrom (select job_id from (\n",
    include_str!("jobs_states.sql"),
    ") as narrow\nwhere $3::bigint is null or job_id < $3\norder by job_id desc\noffset $4 - 1\nlimit 1) as last"
);
const SHOW: &str = include_str!("job_show.sql");
const ATTEMPTS: &str = include_str!("job_attempts.sql");

/// Selects jobs: those that match every field that is set.
///
/// States, ids, tenants and batches are found by index. The other fields are compared job by job, newest
/// first, until enough jobs are found: if few jobs match, all jobs in the states are read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFilter {
    /// Jobs in one of these states; in any state if empty.
    pub states: Vec<JobState>,
    /// Of the finished jobs, those with one of these outcomes; with any if empty.
    pub outcomes: Vec<Outcome>,
    /// Jobs of this queue.
    pub queue: Option<String>,
    /// Jobs of this kind.
    pub kind: Option<String>,
    /// Jobs of this tenant.
    pub tenant: Option<String>,
    /// Jobs of this batch, without its callbacks.
    pub batch: Option<BatchId>,
    /// Jobs with this tag.
    pub tag: Option<String>,
    /// Jobs whose last error contains this text, in lower or upper case.
    pub error: Option<String>,
    /// Jobs whose arguments contain this JSON, as Postgres defines it: an object contains its fields.
    pub args: Option<Box<RawValue>>,
    /// Jobs that were enqueued longer ago than this, by the database's clock.
    pub older_than: Option<Duration>,
    /// Jobs with these ids.
    pub ids: Option<Vec<JobId>>,
}

/// A job in a list.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its state.
    pub state: JobState,
    /// How it ended, if it is finished: `done`, `discarded` or `cancelled`.
    pub outcome: Option<String>,
    /// Its priority; smaller is sooner.
    pub priority: i16,
    /// Runs so far, with the present one.
    pub attempt: i32,
    /// How many runs have ended in an error, since an operator's retry if there was one; none once it is
    /// finished.
    pub failures: Option<i16>,
    /// How many attempts may end in an error.
    pub attempts_max: i16,
    /// Its labels.
    pub tags: Vec<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Its arguments, which may hold personal data, if they were asked for.
    #[sqlx(json(nullable))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Box<RawValue>>,
    /// When it was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// When it is due, if it is scheduled; otherwise when it reached its state.
    pub at: DateTime<Utc>,
    /// The first line of its last error, if it is failed or scheduled for another attempt.
    pub error: Option<String>,
}

/// All details of a job.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobDetails {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its state.
    pub state: JobState,
    /// How it ended, if it is finished: `done`, `discarded` or `cancelled`.
    pub outcome: Option<String>,
    /// Its priority; smaller is sooner.
    pub priority: i16,
    /// Its labels.
    pub tags: Vec<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Where else it comes from, as JSON: the request, the user, the trace and further values, which may be
    /// personal data.
    #[sqlx(json(nullable))]
    pub context: Option<Box<RawValue>>,
    /// Its arguments, which may hold personal data.
    #[sqlx(json)]
    pub args: Box<RawValue>,
    /// Runs so far, with the present one.
    pub attempt: i32,
    /// How many attempts may end in an error.
    pub attempts_max: i16,
    /// How many runs have ended in an error; none once it is finished.
    pub failures: Option<i16>,
    /// How many crashes make it fail.
    pub crashes_max: i16,
    /// How many runs ended with the death of their process; none once it is finished.
    pub crashes: Option<i16>,
    /// Whether it was enqueued with a unique key.
    pub is_unique: bool,
    /// Whether it holds that key now.
    pub holds_key: bool,
    /// When it was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// When it is due, if it is scheduled.
    pub due_at: Option<DateTime<Utc>>,
    /// The event that it waits for, if it does; `@batch/ID` for the end of a batch.
    pub waits_for_event: Option<String>,
    /// When it became ready, if it is ready.
    pub ready_at: Option<DateTime<Utc>>,
    /// The limits it was enqueued with.
    #[sqlx(json)]
    pub limits: Vec<JobLimit>,
    /// Its batch.
    pub batch_id: Option<BatchId>,
    /// The jobs of its batch that it waits for or has waited for and that are not finished, up to 100.
    pub waits_for_jobs: Vec<JobId>,
    /// The batch whose end it waits for or has waited for.
    pub callback_of: Option<BatchId>,
    /// The key that has no room, if it is blocked; `@after` while it waits for other jobs.
    pub blocked_on: Option<String>,
    /// Since when it is blocked, if it is.
    pub blocked_at: Option<DateTime<Utc>>,
    /// The jobs that hold the slots of that key.
    #[sqlx(json)]
    pub blocked_by: Vec<Holder>,
    /// The time of the next start of that key, if the starts of its rate are used up.
    pub next_start_at: Option<DateTime<Utc>>,
    /// The keys whose slots it holds, if it is running.
    pub holds_slots_of: Vec<String>,
    /// When an operator ran it anyway.
    pub let_run_at: Option<DateTime<Utc>>,
    /// When it was claimed, if it is running.
    pub claimed_at: Option<DateTime<Utc>>,
    /// The process that runs it.
    pub process_id: Option<Uuid>,
    /// The name of that process, if it still has a row.
    pub process: Option<String>,
    /// When it was asked to stop, if it is running.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// When it failed, if it is failed.
    pub failed_at: Option<DateTime<Utc>>,
    /// When its last run began, if that run finished it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it finished.
    pub finished_at: Option<DateTime<Utc>>,
    /// The time from enqueueing to the start of the latest run; without a run, until now or until its end.
    #[sqlx(skip)]
    pub wait_seconds: f64,
    /// How long the latest run took, or has taken so far; none before the first.
    #[sqlx(skip)]
    pub run_seconds: Option<f64>,
    /// The attempts that ended in an error, first to last.
    #[sqlx(skip)]
    pub attempts: Vec<AttemptDetails>,
    /// How far it is.
    #[sqlx(skip)]
    #[serde(flatten)]
    pub progress: JobProgress,
}

/// A limit that a job was enqueued with. A limit set at run time for its key replaces it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobLimit {
    /// The key, with its group.
    pub key: String,
    /// How many may run at once; none if only starts are limited.
    pub to: Option<u32>,
    /// The time between two evenly spaced starts, if starts are limited.
    pub space_seconds: Option<f64>,
    /// How many may start at once after a pause, if starts are limited.
    pub burst: Option<u32>,
    /// How long it keeps its slot at most; none if until it ends.
    pub duration_seconds: Option<f64>,
    /// What happens to it when there is no room: `block`, `discard` or `replace`.
    pub on_conflict: String,
}

/// A job that holds a slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Holder {
    /// The job.
    pub job_id: JobId,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
}

/// An attempt that ended in an error.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AttemptDetails {
    /// Its number, from 1.
    pub attempt: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// The name of the process that ran it.
    pub process: String,
    /// The version of its program, if it is known.
    pub version: Option<String>,
    /// How it ended: `error`, `panic`, `timeout`, `crash`, `cancelled`,
    /// `undecodable`, or `step` for a step with tries left.
    pub ending: String,
    /// The error and its causes.
    pub error: String,
    /// The backtrace, if there is one.
    pub backtrace: Option<String>,
}

/// The most jobs that [`look`] reads, how many of them at a time, and how long it goes on.
const LOOKED_MAX: u32 = 20_000;
const STRETCH: u32 = 5_000;
const LOOK_TIME: Duration = Duration::from_millis(100);

/// What [`look`] found.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The matching jobs, newest first.
    pub jobs: Vec<JobSummary>,
    /// The last job that was read, and when it was enqueued, if there may be more matching ones beyond it.
    pub back_to: Option<(JobId, DateTime<Utc>)>,
}

/// Lists jobs like [`list_with_args`], but stops after 20,000 jobs or 100 ms if the filter has fields that no
/// index serves.
pub async fn look(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    below: Option<JobId>,
    limit: u32,
) -> Result<Looked, sqlx::Error> {
    let mut looked = Looked::default();
    if filter.is_indexed() {
        looked.jobs = list_with_args(conn, schema, filter, below, limit).await?;
        return Ok(looked);
    }
    let (began, mut below) = (Instant::now(), below);
    for _ in 0..LOOKED_MAX / STRETCH {
        looked.back_to = place(conn, schema, filter, below, STRETCH).await?;
        let from = looked.back_to.map(|(job, _)| job);
        let room = limit - u32::try_from(looked.jobs.len()).unwrap_or(limit);
        let found = summaries(conn, schema, filter, (below, from), room, true).await?;
        looked.jobs.extend(found);
        if looked.jobs.len() >= limit as usize {
            looked.back_to = None;
        }
        below = from;
        if looked.back_to.is_none() || began.elapsed() > LOOK_TIME {
            break;
        }
    }
    Ok(looked)
}

/// Counts matching jobs, up to `max`. If the filter has fields that no index serves, counts those among the
/// newest 20,000 jobs.
pub async fn count_newest(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    max: u32,
) -> Result<Count, sqlx::Error> {
    let end = match filter.is_indexed() {
        true => None,
        false => place(conn, schema, filter, None, LOOKED_MAX).await?,
    };
    let from = end.map(|(job, _)| job);
    let mut counted = count_from(conn, schema, filter, from, max).await?;
    counted.at_least |= end.is_some();
    Ok(counted)
}

/// Returns the job in the states of a filter, with any outcome, that is so many jobs below another one, and when
/// it was enqueued.
async fn place(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    below: Option<JobId>,
    jobs: u32,
) -> Result<Option<(JobId, DateTime<Utc>)>, sqlx::Error> {
    schema
        .query_as(PLACE)
        .persistent(false)
        .bind(filter.states())
        .bind(None::<Vec<&str>>)
        .bind(below)
        .bind(i64::from(jobs))
        .fetch_optional(conn)
        .await
}

/// Lists up to `limit` matching jobs, newest first, with smaller ids than `below`, the last job of the
/// previous page.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    below: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobSummary>, sqlx::Error> {
    summaries(conn, schema, filter, (below, None), limit, false).await
}

/// Lists jobs like [`list`], with their arguments.
pub async fn list_with_args(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    below: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobSummary>, sqlx::Error> {
    summaries(conn, schema, filter, (below, None), limit, true).await
}

async fn summaries(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    between: Between,
    limit: u32,
    with_args: bool,
) -> Result<Vec<JobSummary>, sqlx::Error> {
    let statements = [LIST, LIST_BY_INDEX];
    let statement = matching(schema, statements, filter, between, limit).bind(with_args);
    let rows = statement.fetch_all(conn).await?;
    let read = |row: &PgRow| {
        let mut job = JobSummary::from_row(row)?;
        if let Some(args) = &mut job.args {
            schema.show(&job.kind, Place::Args, args);
        }
        Ok(job)
    };
    rows.iter().map(read).collect()
}

/// Returns up to `limit` ids of matching jobs, newest first, smaller than `below`: a batch of a bulk
/// operation.
pub async fn ids(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    below: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobId>, sqlx::Error> {
    let rows = matching(schema, [IDS, IDS_BY_INDEX], filter, (below, None), limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Counts matching jobs, up to `max`. Reads every job that it counts.
pub async fn count(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    max: u32,
) -> Result<Count, sqlx::Error> {
    count_from(conn, schema, filter, None, max).await
}

async fn count_from(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &JobFilter,
    from: Option<JobId>,
    max: u32,
) -> Result<Count, sqlx::Error> {
    let (statements, limit) = ([COUNT, COUNT_BY_INDEX], max.saturating_add(1));
    let statement = matching(schema, statements, filter, (None, from), limit);
    let row = statement.fetch_one(conn).await?;
    Ok(Count::up_to(max, row.try_get(0)?))
}

/// Returns all details of a job; none if there is no such job, or it has been cleared.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    job: JobId,
) -> Result<Option<JobDetails>, sqlx::Error> {
    let row = schema
        .query(SHOW)
        .bind(job)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut details = JobDetails::from_row(&row)?;
    schema.show(&details.kind, Place::Args, &mut details.args);
    let attempts = schema.query_as(ATTEMPTS).bind(job).fetch_all(&mut *conn);
    details.attempts = attempts.await?;
    details.progress = progress(conn, schema, &details.kind, job).await?;
    let times = details.times(row.try_get("now")?);
    details.wait_seconds = times.wait_seconds();
    details.run_seconds = times.run_seconds();
    Ok(Some(details))
}

/// The job below which to read, and the one from which on, each if there is one.
type Between = (Option<JobId>, Option<JobId>);

type Query<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// Binds the filter to the statement that reads states, or to that for jobs of one tenant or batch. The
/// statement is not prepared, so that it is planned with the values: the best plan depends on which fields
/// are set.
fn matching<'q>(
    schema: &Schema,
    [of_states, by_index]: [&'static str; 2],
    filter: &'q JobFilter,
    (below, from): Between,
    limit: u32,
) -> Query<'q> {
    let statement = match (&filter.tenant, filter.batch) {
        (None, None) => of_states,
        _ => by_index,
    };
    schema
        .query(statement)
        .persistent(false)
        .bind(filter.states())
        .bind(filter.outcomes())
        .bind(below)
        .bind(i64::from(limit))
        .bind(&filter.queue)
        .bind(&filter.kind)
        .bind(&filter.tag)
        .bind(filter.older_than.map(millis))
        .bind(&filter.ids)
        .bind(&filter.error)
        .bind(filter.args.as_ref().map(Json))
        .bind(&filter.tenant)
        .bind(filter.batch)
        .bind(from)
}

impl JobFilter {
    fn states(&self) -> Vec<&'static str> {
        let states = match self.states.as_slice() {
            [] => &JobState::ALL,
            states => states,
        };
        states.iter().map(|state| state.as_str()).collect()
    }

    fn outcomes(&self) -> Option<Vec<&'static str>> {
        let outcomes = self.outcomes.iter().map(|outcome| outcome.as_str());
        (!self.outcomes.is_empty()).then(|| outcomes.collect())
    }

    /// Returns whether jobs are found by index, or all of them match.
    fn is_indexed(&self) -> bool {
        let has_others = self.queue.is_some()
            || self.kind.is_some()
            || self.tag.is_some()
            || self.error.is_some()
            || self.args.is_some()
            || self.older_than.is_some();
        !has_others || self.tenant.is_some() || self.batch.is_some() || self.ids.is_some()
    }
}

impl JobSummary {
    /// Redacts its arguments and its error.
    pub fn redact(&mut self, redaction: &Redaction) {
        if let Some(args) = &mut self.args {
            *args = redaction.args(&self.kind, args);
        }
        if let Some(error) = &mut self.error {
            *error = redaction.error(&self.kind, error).into_owned();
        }
    }
}

impl JobDetails {
    /// Redacts its arguments, its errors and its progress.
    pub fn redact(&mut self, redaction: &Redaction) {
        self.args = redaction.args(&self.kind, &self.args);
        let context = self.context.as_ref();
        self.context = context.map(|context| redaction.args(&self.kind, context));
        for attempt in &mut self.attempts {
            attempt.error = redaction.error(&self.kind, &attempt.error).into_owned();
        }
        self.progress.redact(redaction, &self.kind);
    }

    fn times(&self, now: DateTime<Utc>) -> Times {
        let last_attempt = self.attempts.last();
        Times {
            enqueued_at: self.enqueued_at,
            claimed_at: self.claimed_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            last_attempt: last_attempt.map(|attempt| (attempt.started_at, attempt.ended_at)),
            now,
        }
    }
}
