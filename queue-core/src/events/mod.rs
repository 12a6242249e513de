//! Events that jobs wait for. An event has a name and happens once: the first one of a name stays.
//!
//! A job that waits is scheduled for the end of its patience, with a row in `waits`. No wake-up is lost,
//! although neither side waits for the other: an emitted event stays *open* until a process has woken all
//! jobs that wait for it, and a process that ends a run to wait looks for the event after its own
//! commit. So one of them sees the other. If a process dies before it has looked, a pass over all waits
//! opens the event again.
//!
//! A job can wait for the end of a batch in the same way, under a name that no event can have. The transaction
//! that ends the batch wakes such jobs, under the lock of the batch; and the look after the commit of a wait
//! takes this lock, too. So one of them sees the other.

use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::job::{BatchId, JobId};
use crate::sql::Schema;
use crate::transitions::millis;
use crate::transitions::wake::wake;

const EMIT: &str = include_str!("emit.sql");
const FIND: &str = include_str!("find.sql");
const OPEN: &str = include_str!("open.sql");
const CLOSE: &str = include_str!("close.sql");
const EMITTED: &str = include_str!("emitted.sql");
const STRAYS: &str = include_str!("strays.sql");
const CLEAR: &str = include_str!("clear.sql");

/// What the name of a wait for a batch begins with.
const BATCH: &str = "@batch/";

/// The most jobs that one statement wakes.
const WOKEN_MAX: u32 = 1_000;

/// The most events that one look finds.
pub const OPEN_MAX: u32 = 100;

/// Writes an event with a payload of JSON. Returns whether it is the first of its name.
pub(crate) async fn emit(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    payload: &str,
) -> Result<bool, sqlx::Error> {
    let emitting = schema.query(EMIT).bind(name).bind(payload);
    Ok(emitting.fetch_optional(conn).await?.is_some())
}

/// Returns the name under which jobs wait for the end of a batch.
pub fn end_of_batch(batch: BatchId) -> String {
    format!("{BATCH}{batch}")
}

/// Returns the batch for whose end a job waits that waits under this name, if it is one.
pub fn awaited_batch(name: &str) -> Option<BatchId> {
    name.strip_prefix(BATCH)?.parse().ok().map(BatchId)
}

/// Returns the payload of an event, if it has been emitted.
pub async fn find(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<Box<RawValue>>, sqlx::Error> {
    let query = schema.query_scalar(FIND).bind(name);
    let found: Option<Json<Box<RawValue>>> = query.fetch_optional(conn).await?;
    Ok(found.map(|Json(payload)| payload))
}

/// Returns up to [`OPEN_MAX`] events after a name for which jobs may wait that have not been woken.
pub async fn open(
    conn: &mut PgConnection,
    schema: &Schema,
    after: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let query = schema.query_scalar(OPEN).bind(after);
    query.bind(i64::from(OPEN_MAX)).fetch_all(conn).await
}

/// Wakes the next jobs that wait for one of some events, after a job, and returns the last of them. If none
/// is left, closes the events.
pub async fn wake_next(
    conn: &mut PgConnection,
    schema: &Schema,
    events: &[String],
    after: JobId,
) -> Result<Option<JobId>, sqlx::Error> {
    let last = wake(conn, schema, events, after, WOKEN_MAX).await?;
    if last.is_none() {
        schema.query(CLOSE).bind(events).execute(conn).await?;
    }
    Ok(last)
}

/// Wakes all jobs that wait for the ends of some batches, by the names of their waits.
pub(crate) async fn wake_joining(
    conn: &mut PgConnection,
    schema: &Schema,
    names: &[String],
) -> Result<(), sqlx::Error> {
    let mut after = Some(JobId(0));
    while let Some(last) = after.filter(|_| !names.is_empty()) {
        after = wake(conn, schema, names, last, WOKEN_MAX).await?;
    }
    Ok(())
}

/// Wakes the jobs that wait for those of some events and ends of batches that have come meanwhile.
pub async fn wake_if_emitted(
    conn: &mut PgConnection,
    schema: &Schema,
    events: &[String],
) -> Result<(), sqlx::Error> {
    let query = schema.query_scalar(EMITTED).bind(events);
    let emitted: Vec<String> = query.fetch_all(&mut *conn).await?;
    if !emitted.is_empty() {
        wake(conn, schema, &emitted, JobId(0), WOKEN_MAX).await?;
    }
    Ok(())
}

/// Looks at some waits after that of a job: opens the closed events for which jobs still wait, and wakes those
/// that wait for a batch that has ended. Returns the last of these jobs.
pub async fn open_strays(
    conn: &mut PgConnection,
    schema: &Schema,
    after: JobId,
) -> Result<Option<JobId>, sqlx::Error> {
    let query = schema.query_as(STRAYS).bind(after);
    let (last, ended) = query
        .bind(i64::from(WOKEN_MAX))
        .fetch_one(&mut *conn)
        .await?;
    let ended: Vec<String> = ended;
    wake_joining(conn, schema, &ended).await?;
    Ok(last)
}

/// Removes up to `limit` events that were emitted longer ago than this, and returns how many.
pub async fn clear_events(
    conn: &mut PgConnection,
    schema: &Schema,
    keep: Duration,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let query = schema.query(CLEAR).bind(millis(keep));
    let cleared = query.bind(i64::from(limit)).execute(conn).await?;
    Ok(cleared.rows_affected())
}
