//! How far one job is: its steps, cursors, output and log lines.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{FromRow, PgConnection};

use crate::encryption::Place;
use crate::job::JobId;
use crate::redact::Redaction;
use crate::sql::Schema;
use crate::steps::progress::{DONE, LOG, OUTPUT};

const STEPS: &str = include_str!("job_steps.sql");
const PROGRESS: &str = include_str!("job_progress.sql");

/// The most finished steps that are read.
const STEPS_MAX: i64 = 100;

/// How far a job is.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobProgress {
    /// How much of its work is done, if it says so.
    pub done: Option<Done>,
    /// Its last 100 finished steps, first to last.
    pub steps: Vec<StepDetails>,
    /// How many steps finished before those.
    pub earlier_steps: u64,
    /// The places of its cursors, which may hold personal data.
    pub cursors: Vec<CursorDetails>,
    /// Its output, which may hold personal data.
    pub output: Option<Box<RawValue>>,
    /// What its runs have logged, if that is kept.
    pub logs: Vec<RunLog>,
}

/// How much of the work of a job is done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// So much.
    pub done: u64,
    /// Of so much.
    pub of: u64,
}

/// A finished step.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepDetails {
    /// Its name.
    pub name: String,
    /// Its number among the steps of that name, from 1.
    pub occurrence: i16,
    /// When it finished.
    pub finished_at: DateTime<Utc>,
    /// The size of its result as JSON.
    pub result_bytes: i32,
}

/// A cursor.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CursorDetails {
    /// Its name.
    pub name: String,
    /// Its place, as JSON.
    pub place: Box<RawValue>,
    /// When it was there.
    pub set_at: DateTime<Utc>,
}

/// What one run has logged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunLog {
    /// The number of the run.
    #[serde(default)]
    pub attempt: i32,
    /// How many lines came before, and are not kept.
    pub dropped: u64,
    /// The last lines.
    pub lines: Vec<String>,
}

#[derive(FromRow)]
struct StepRow {
    #[sqlx(flatten)]
    step: StepDetails,
    steps: i64,
}

#[derive(FromRow)]
struct Row {
    name: String,
    #[sqlx(json)]
    value: Box<RawValue>,
    set_at: DateTime<Utc>,
}

/// Reads how far a job of a kind is.
pub(super) async fn progress(
    conn: &mut PgConnection,
    schema: &Schema,
    kind: &str,
    job: JobId,
) -> Result<JobProgress, sqlx::Error> {
    let steps = schema.query_as(STEPS).bind(job).bind(STEPS_MAX);
    let steps: Vec<StepRow> = steps.fetch_all(&mut *conn).await?;
    let all = steps.first().map_or(0, |row| row.steps.unsigned_abs());
    let mut progress = JobProgress {
        earlier_steps: all - steps.len() as u64,
        steps: steps.into_iter().map(|row| row.step).collect(),
        ..JobProgress::default()
    };
    let rows: Vec<Row> = schema.query_as(PROGRESS).bind(job).fetch_all(conn).await?;
    for mut row in rows {
        let place = Place::Progress(job.0, &row.name);
        schema.show(kind, place, &mut row.value);
        progress.add(row);
    }
    progress.logs.sort_by_key(|log| log.attempt);
    Ok(progress)
}

impl JobProgress {
    /// Adds what a name stands for. Other names with `@` are counters of the worker.
    fn add(
        &mut self,
        Row {
            name,
            value,
            set_at,
        }: Row,
    ) {
        if name == DONE {
            self.done = serde_json::from_str(value.get()).ok();
        } else if name == OUTPUT {
            self.output = Some(value);
        } else if let Some(attempt) = name.strip_prefix(LOG) {
            let log: RunLog = serde_json::from_str(value.get()).unwrap_or_default();
            self.logs.push(RunLog {
                attempt: attempt.parse().unwrap_or_default(),
                ..log
            });
        } else if !name.starts_with('@') {
            let place = value;
            self.cursors.push(CursorDetails {
                name,
                place,
                set_at,
            });
        }
    }

    /// Redacts its output, cursors and log lines.
    pub(super) fn redact(&mut self, redaction: &Redaction, kind: &str) {
        let values = self.cursors.iter_mut().map(|cursor| &mut cursor.place);
        for value in values.chain(&mut self.output) {
            *value = redaction.args(kind, value);
        }
        for line in self.logs.iter_mut().flat_map(|log| &mut log.lines) {
            *line = redaction.error(kind, line).into_owned();
        }
    }
}
