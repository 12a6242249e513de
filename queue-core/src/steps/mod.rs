//! The results of the finished steps of jobs.
//!
//! A job has a row per step, written once. Steps are *fenced* like the ends of runs: only the process
//! that has claimed the job can record one, for the attempt that it claimed. A retry keeps them, and
//! they are cleared together with their job.
//!
//! A first attempt has no steps, so only later ones read them: jobs without steps pay nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::postgres::PgBindIterExt as _;
use sqlx::{FromRow, PgConnection};

use crate::encryption::Place;
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;
use crate::transitions::{Claim, due};

pub mod progress;

const RECORD: &str = include_str!("record.sql");
const LOAD: &str = include_str!("load.sql");
const TIME_UNTIL: &str = include_str!("time_until.sql");

/// The most bytes that the result of a step may have, as JSON.
pub const RESULT_BYTES_MAX: usize = 256 * 1024;

/// A step that has just finished.
#[derive(Clone, Debug)]
pub struct FinishedStep {
    /// The claim of the run it belongs to.
    pub claim: Claim,
    /// Its name.
    pub name: String,
    /// Its number among the steps of that name in the job, from 1.
    pub occurrence: i16,
    /// Its result, as JSON.
    pub result: String,
}

/// Whether a finished step was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is recorded.
    New,
    /// It had been recorded before, maybe with another result, which stays.
    Known,
    /// The job no longer belongs to this run.
    Lost,
}

/// Records steps, which are in the order of their jobs, and returns for each whether it was recorded.
pub async fn record(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    steps: &[&FinishedStep],
) -> Result<Vec<Recorded>, sqlx::Error> {
    let held: Vec<(i64, bool)> = schema
        .query_as(RECORD)
        .bind(process.0)
        .bind(steps.iter().map(|step| step.claim.job_id()).bind_iter())
        .bind(steps.iter().map(|step| step.claim.attempt()).bind_iter())
        .bind(steps.iter().map(|step| &*step.name).bind_iter())
        .bind(steps.iter().map(|step| step.occurrence).bind_iter())
        .bind(steps.iter().map(|step| &*step.result).bind_iter())
        .fetch_all(conn)
        .await?;
    let mut recorded = vec![Recorded::Lost; steps.len()];
    for (place, is_new) in held {
        let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
        if let Some(recorded) = recorded.get_mut(index) {
            *recorded = if is_new {
                Recorded::New
            } else {
                Recorded::Known
            };
        }
    }
    Ok(recorded)
}

/// A step that an earlier run of the job has finished.
#[derive(Debug, FromRow)]
pub struct StoredStep {
    /// Its name.
    pub name: String,
    /// Its number among the steps of that name in the job, from 1.
    pub occurrence: i16,
    /// Its result, as JSON.
    #[sqlx(json)]
    pub result: Box<RawValue>,
    age_ms: i64,
}

impl StoredStep {
    /// Returns how long ago it finished, when it was read.
    pub fn age(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.age_ms).unwrap_or_default())
    }
}

/// Reads the finished steps of a job of a kind, in the order in which they finished.
pub async fn load(
    conn: &mut PgConnection,
    schema: &Schema,
    kind: &str,
    job: JobId,
) -> Result<Vec<StoredStep>, sqlx::Error> {
    let mut steps: Vec<StoredStep> = schema.query_as(LOAD).bind(job).fetch_all(conn).await?;
    for step in &mut steps {
        let place = Place::Step(job.0, &step.name, step.occurrence);
        if let Some(opened) = schema.open(kind, place, step.result.get())? {
            step.result = opened;
        }
    }
    Ok(steps)
}

/// Returns how long it is until a time by the clock of the database; zero if it has passed.
pub async fn time_until(
    conn: &mut PgConnection,
    schema: &Schema,
    time: DateTime<Utc>,
) -> Result<Duration, sqlx::Error> {
    let query = schema.query_scalar(TIME_UNTIL).bind(due(time));
    let millis: i64 = query.fetch_one(conn).await?;
    Ok(Duration::from_millis(
        u64::try_from(millis).unwrap_or_default(),
    ))
}
