//! How far running jobs are: values that a run overwrites as it goes, under a name for each.
//!
//! They are fenced like steps, and cleared together with their job.

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt as _;
use sqlx::types::Json;

use super::Recorded;
use crate::encryption::Place;
use crate::job::JobId;
use crate::process::ProcessId;
use crate::sql::Schema;
use crate::transitions::Claim;

const WRITE: &str = include_str!("write_progress.sql");
const READ: &str = include_str!("read_progress.sql");

/// The name under which a job keeps how much of its work is done.
pub const DONE: &str = "@done";
/// The name under which a job keeps what a run has logged, before the number of the run.
pub const LOG: &str = "@log/";
/// The name under which a job keeps its output.
pub const OUTPUT: &str = "@output";

/// A value that a run has set.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The claim of the run.
    pub claim: Claim,
    /// The name of a cursor, or a name with `@`.
    pub name: String,
    /// The value, as JSON.
    pub value: String,
}

/// Writes values, which are in the order of their jobs, and returns for each whether it was written.
pub async fn write(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    values: &[&Progress],
) -> Result<Vec<Recorded>, sqlx::Error> {
    let held: Vec<(i64,)> = schema
        .query_as(WRITE)
        .bind(process.0)
        .bind(values.iter().map(|value| value.claim.job_id()).bind_iter())
        .bind(values.iter().map(|value| value.claim.attempt()).bind_iter())
        .bind(values.iter().map(|value| &*value.name).bind_iter())
        .bind(values.iter().map(|value| &*value.value).bind_iter())
        .fetch_all(conn)
        .await?;
    let mut written = vec![Recorded::Lost; values.len()];
    for (place,) in held {
        let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
        if let Some(written) = written.get_mut(index) {
            *written = Recorded::New;
        }
    }
    Ok(written)
}

/// Reads a value of a job of a kind, if it has one of this name.
pub async fn read(
    conn: &mut PgConnection,
    schema: &Schema,
    kind: &str,
    job: JobId,
    name: &str,
) -> Result<Option<Box<RawValue>>, sqlx::Error> {
    let found: Option<(Json<Box<RawValue>>,)> = schema
        .query_as(READ)
        .bind(job)
        .bind(name)
        .fetch_optional(conn)
        .await?;
    let Some((Json(value),)) = found else {
        return Ok(None);
    };
    let opened = schema.open(kind, Place::Progress(job.0, name), value.get())?;
    Ok(Some(opened.unwrap_or(value)))
}
