//! new → ready, scheduled or blocked
//!
//! Jobs without delay and unique key take a short statement, alone or in a chunk. A chunk with a
//! delay or a unique key takes the long one, which also needs one round trip.
//!
//! Enqueueing neither reads nor locks the key of a limit. It knows only the jobs of its own chunk:
//! those that exceed a limit together with jobs before them in the chunk are blocked at once.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};

use super::cancel::supersede;
use super::job_columns::{bind_many, bind_one, column, with_job_columns};
use super::run::{due, millis};
use crate::job::{Due, JobId};
use crate::metrics::note_enqueued;
use crate::new_job::NewJob;
use crate::sql::Schema;
use crate::unique::OnConflict;

static ENQUEUE_ONE: LazyLock<String> =
    LazyLock::new(|| with_job_columns(include_str!("enqueue_one.sql")));
static ENQUEUE_MANY: LazyLock<String> =
    LazyLock::new(|| with_job_columns(include_str!("enqueue_many.sql")));
static ENQUEUE: LazyLock<String> = LazyLock::new(|| with_job_columns(include_str!("enqueue.sql")));
/// The key by which jobs are blocked that wait for other jobs.
pub(crate) const AFTER: &str = "@after";

const KEY_HOLDERS: &str = include_str!("key_holders.sql");

/// The answer to a request to enqueue a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It was enqueued.
    New(JobId),
    /// Its unique key was taken by this job, which was kept.
    Kept(JobId),
    /// Its unique key was taken by a waiting job, which was cancelled to make way for it.
    Replaced {
        /// The job that was enqueued.
        id: JobId,
        /// The job that was cancelled.
        old: JobId,
    },
    /// Its unique key was taken by this job, and the new one was refused.
    Rejected(JobId),
}

impl Enqueued {
    /// Returns the new job, or the one that has its unique key.
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Kept(id) | Self::Rejected(id) | Self::Replaced { id, .. } => id,
        }
    }

    /// Returns whether a job was added.
    pub fn is_new(self) -> bool {
        matches!(self, Self::New(_) | Self::Replaced { .. })
    }
}

/// Enqueues jobs in one round trip, and returns the answer for each in their order. A job that
/// replaces another takes further round trips.
pub(crate) async fn enqueue(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let enqueued = match jobs {
        [] => Vec::new(),
        [job] if job.is_copyable() => vec![enqueue_one(conn, schema, job).await?],
        jobs if jobs.iter().all(NewJob::is_copyable) => enqueue_many(conn, schema, jobs).await?,
        jobs => enqueue_any(conn, schema, jobs).await?,
    };
    let new = jobs
        .iter()
        .zip(&enqueued)
        .filter(|(_, answer)| answer.is_new());
    note_enqueued(new.map(|(job, _)| job.queue_and_kind()));
    Ok(enqueued)
}

pub(super) fn is_limited(job: &NewJob) -> bool {
    !job.options.limits.is_empty()
}

async fn enqueue_one(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
) -> Result<Enqueued, sqlx::Error> {
    let row = bind_one(schema.query(&ENQUEUE_ONE), schema, job)?
        .fetch_one(conn)
        .await?;
    Ok(Enqueued::New(row.try_get("id")?))
}

async fn enqueue_many(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let query = schema.query(&ENQUEUE_MANY).bind(waits_for(jobs));
    let rows = bind_many(query, schema, jobs)?.fetch_all(conn).await?;
    rows.iter()
        .map(|row| Ok(Enqueued::New(row.try_get("id")?)))
        .collect()
}

/// Returns for each job the key of a limit that the jobs before it in the chunk use up, if there is
/// one. Jobs with a unique key are not counted, since they may not be enqueued.
pub(super) fn waits_for(jobs: &[NewJob]) -> Vec<Option<String>> {
    let mut taken: HashMap<String, u32> = HashMap::new();
    let mut wait_for = |job: &NewJob| {
        let options = &job.options;
        if options.waits {
            return Some(AFTER.to_owned());
        }
        if options.limits.is_empty() || options.unique.is_some() || options.due != Due::Now {
            return None;
        }
        let blocking: Vec<(String, u32)> = options.limits.blocking(&job.kind).collect();
        let full = blocking
            .iter()
            .find(|(key, room)| taken.get(key).is_some_and(|taken| taken >= room));
        if let Some((key, _)) = full {
            return Some(key.clone());
        }
        for (key, _) in blocking {
            *taken.entry(key).or_default() += 1;
        }
        None
    };
    jobs.iter().map(&mut wait_for).collect()
}

async fn enqueue_any(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let keys = column(jobs, NewJob::unique_key);
    let admissions = admit(conn, schema, jobs, &keys).await?;
    let lost: Vec<&[u8]> = admissions
        .iter()
        .zip(&keys)
        .filter(|((_, admitted), _)| !admitted)
        .filter_map(|(_, key)| key.as_deref())
        .collect();
    let mut holders = key_holders(conn, schema, &lost).await?;
    let mut enqueued = Vec::with_capacity(jobs.len());
    for ((job, key), (id, admitted)) in jobs.iter().zip(&keys).zip(admissions) {
        let answer = match key.as_ref().and_then(|key| holders.get(key)) {
            _ if admitted => Enqueued::New(id),
            Some(holder) => settle(conn, schema, job, key, *holder).await?,
            // The key was freed between the two statements.
            None => admit_again(conn, schema, job, key).await?,
        };
        // A later job with the same key finds the one that holds it now.
        if let Some(key) = key.as_ref().filter(|_| !admitted) {
            holders.insert(key.clone(), answer.id());
        }
        enqueued.push(answer);
    }
    Ok(enqueued)
}

/// Runs the long statement, and returns for each job its id and whether it was admitted.
async fn admit(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
    keys: &[Option<Vec<u8>>],
) -> Result<Vec<(JobId, bool)>, sqlx::Error> {
    let query = schema
        .query(&ENQUEUE)
        .bind(column(jobs, delay_ms))
        .bind(column(jobs, at))
        .bind(keys)
        .bind(column(jobs, unique_states))
        .bind(column(jobs, unique_for_ms))
        .bind(waits_for(jobs));
    let rows = bind_many(query, schema, jobs)?.fetch_all(conn).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("id")?, row.try_get("admitted")?)))
        .collect()
}

fn delay_ms(job: &NewJob) -> Option<i64> {
    match job.options.due {
        Due::After(delay) => Some(millis(delay)),
        Due::Now | Due::At(_) => None,
    }
}

fn at(job: &NewJob) -> Option<DateTime<Utc>> {
    match job.options.due {
        Due::At(time) => Some(due(time)),
        Due::Now | Due::After(_) => None,
    }
}

fn unique_states(job: &NewJob) -> Option<i16> {
    job.options.unique.as_ref().map(|unique| unique.while_in.0)
}

fn unique_for_ms(job: &NewJob) -> Option<i64> {
    let within: Duration = job.options.unique.as_ref()?.within?;
    Some(millis(within))
}

async fn key_holders(
    conn: &mut PgConnection,
    schema: &Schema,
    keys: &[&[u8]],
) -> Result<HashMap<Vec<u8>, JobId>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Vec<u8>, JobId)> = schema
        .query_as(KEY_HOLDERS)
        .bind(keys)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Decides about a job whose key is taken.
async fn settle(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
    key: &Option<Vec<u8>>,
    holder: JobId,
) -> Result<Enqueued, sqlx::Error> {
    let replaces = on_conflict(job) == OnConflict::Replace;
    if !replaces || supersede(conn, schema, &[holder]).await?.is_empty() {
        return Ok(not_admitted(job, holder));
    }
    Ok(match admit_again(conn, schema, job, key).await? {
        Enqueued::New(id) => Enqueued::Replaced { id, old: holder },
        taken_again => taken_again,
    })
}

/// Returns the answer for a job whose key stays with its holder.
fn not_admitted(job: &NewJob, holder: JobId) -> Enqueued {
    match on_conflict(job) {
        OnConflict::Keep | OnConflict::Replace => Enqueued::Kept(holder),
        OnConflict::Reject => Enqueued::Rejected(holder),
    }
}

fn on_conflict(job: &NewJob) -> OnConflict {
    let unique = job.options.unique.as_ref();
    unique.map(|unique| unique.on_conflict).unwrap_or_default()
}

/// Tries once more to admit a job whose key was found free. If another transaction takes the key at
/// the same moment, that job is kept.
async fn admit_again(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
    key: &Option<Vec<u8>>,
) -> Result<Enqueued, sqlx::Error> {
    for _ in 0..ADMISSION_TRIES {
        let jobs = std::slice::from_ref(job);
        if let [(id, true)] = admit(conn, schema, jobs, std::slice::from_ref(key)).await?[..] {
            return Ok(Enqueued::New(id));
        }
        let key = key.as_deref().unwrap_or_default();
        if let Some(holder) = key_holders(conn, schema, &[key]).await?.get(key) {
            return Ok(not_admitted(job, *holder));
        }
    }
    Err(sqlx::Error::Protocol(
        "a unique key was taken and freed again at every try".into(),
    ))
}

const ADMISSION_TRIES: usize = 10;
