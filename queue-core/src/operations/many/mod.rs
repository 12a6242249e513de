//! Acts on all jobs that match, in batches that are committed one by one.
//!
//! The row of an operation holds where the next batch begins, and what the batches so far have changed. A
//! batch and its progress are one transaction, which locks the row. So the numbers are exact, and when the
//! process that worked on an operation dies, any other goes on from there.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use super::audit::{Act, Actor, record};
use super::jobs::{BATCH_JOBS_MAX, BulkError, JobAction, apply};
use crate::inspect::{Count, JobSummary, Selection, jobs};
use crate::job::JobId;
use crate::sql::Schema;
use crate::state::JobState;

const BEGIN: &str = include_str!("begin.sql");
const NEXT: &str = include_str!("next.sql");
const PROGRESS: &str = include_str!("progress.sql");
const STOP: &str = include_str!("stop.sql");
const FAIL: &str = include_str!("fail.sql");

/// An operation that has not ended, locked by the transaction.
#[derive(Clone, Debug, FromRow)]
pub struct Operation {
    /// Its number.
    pub id: i64,
    action: String,
    filter: Json<Selection>,
    who: String,
    role: String,
    why: Option<String>,
    created_at: DateTime<Utc>,
    below: Option<JobId>,
    is_stopped: bool,
    left_out: Json<BTreeMap<String, i64>>,
    changed: i64,
    asked_to_stop: i64,
}

/// Begins an operation, and returns its number. `counted` is how many jobs matched when somebody decided.
///
/// # Errors
/// Refuses a filter that names a state the action does not apply to.
pub async fn begin(
    conn: &mut PgConnection,
    schema: &Schema,
    actor: &Actor,
    why: Option<&str>,
    (action, mut selection): (JobAction, Selection),
    counted: Count,
) -> Result<i64, BulkError> {
    selection.filter = action.complete(selection.filter)?;
    Ok(schema
        .query_scalar(BEGIN)
        .bind(action.to_string())
        .bind(Json(selection))
        .bind(&actor.who)
        .bind(&actor.role)
        .bind(why)
        .bind(i64::try_from(counted.count).unwrap_or(i64::MAX))
        .bind(counted.at_least)
        .fetch_one(conn)
        .await?)
}

/// Takes the oldest operation that no other process works on, for a batch in the same transaction.
pub async fn next(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<Option<Operation>, sqlx::Error> {
    schema.query_as(NEXT).fetch_optional(conn).await
}

/// Does one batch of an operation, and records its progress. After the last batch, and when somebody asked it
/// to stop, the operation ends.
///
/// # Errors
/// Refuses an action of a newer program.
pub async fn batch(
    conn: &mut PgConnection,
    schema: &Schema,
    operation: Operation,
) -> Result<(), BulkError> {
    let mut operation = operation;
    let action = JobAction::of_text(&operation.action);
    let action = action.ok_or_else(|| sqlx::Error::Protocol("unknown action".to_owned()))?;
    let mut is_ended = operation.is_stopped;
    if !is_ended {
        let filter = &operation.filter.filter;
        let found = jobs::list(conn, schema, filter, operation.below, BATCH_JOBS_MAX).await?;
        is_ended = found.len() < BATCH_JOBS_MAX as usize;
        operation.below = found.last().map(|job| job.id).or(operation.below);
        let meant = found.iter().filter(|job| operation.means(job));
        let meant: Vec<JobId> = meant.map(|job| job.id).collect();
        let changes = apply(conn, schema, action, &meant).await?;
        operation.changed += count(changes.changed.len());
        operation.asked_to_stop += count(changes.asked_to_stop.len());
        for (_, reason) in changes.refused {
            *operation.left_out.entry(reason.to_string()).or_default() += 1;
        }
    }
    write(conn, schema, &operation, is_ended).await?;
    Ok(())
}

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

impl Operation {
    /// Returns whether the operation means a job that matches its filter. Jobs that have come into their
    /// state since somebody counted them are not meant.
    fn means(&self, job: &JobSummary) -> bool {
        let since = match job.state {
            // The time of a scheduled job is when it is due.
            JobState::Scheduled => job.enqueued_at,
            _ => job.at,
        };
        let until = self.filter.until.unwrap_or(self.created_at);
        since <= until && self.filter.has_cause(job.error.as_deref())
    }
}

async fn write(
    conn: &mut PgConnection,
    schema: &Schema,
    operation: &Operation,
    is_ended: bool,
) -> Result<(), sqlx::Error> {
    schema
        .query(PROGRESS)
        .bind(operation.id)
        .bind(operation.below)
        .bind(operation.changed)
        .bind(operation.asked_to_stop)
        .bind(&operation.left_out)
        .bind(is_ended)
        .execute(&mut *conn)
        .await?;
    if !is_ended {
        return Ok(());
    }
    let actor = Actor {
        who: operation.who.clone(),
        role: operation.role.clone(),
    };
    let act = Act {
        what: operation.action.clone(),
        target: format!("operations/{}", operation.id),
        why: operation.why.clone(),
        jobs: Some(operation.changed + operation.asked_to_stop),
        refused: false,
    };
    record(conn, schema, &actor, &act).await
}

/// Asks an operation to stop after its present batch. Returns false if it has ended or was asked before.
pub async fn stop(
    conn: &mut PgConnection,
    schema: &Schema,
    operation: i64,
    who: &str,
) -> Result<bool, sqlx::Error> {
    let asked = schema
        .query(STOP)
        .bind(operation)
        .bind(who)
        .execute(conn)
        .await?;
    Ok(asked.rows_affected() == 1)
}

/// Ends an operation that cannot go on, with the reason.
pub async fn fail(
    conn: &mut PgConnection,
    schema: &Schema,
    operation: i64,
    error: &str,
) -> Result<(), sqlx::Error> {
    schema
        .query(FAIL)
        .bind(operation)
        .bind(error)
        .execute(conn)
        .await?;
    Ok(())
}
