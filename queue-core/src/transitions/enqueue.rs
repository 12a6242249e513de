//! new → ready, scheduled or blocked
//!
//! A job with nothing special about it, alone or in a chunk, goes the short way, and one with
//! limits nearly so. Delays, tags and unique keys take the long statement, which does all of it in
//! the same single round trip.
//!
//! No key of a limit is looked at or locked here. Only what jobs of the same chunk take from each
//! other is known, and those that would have to wait for others before them are blocked at once.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::cancel::supersede;
use super::run::{due, millis};
use crate::job::{Due, JobId};
use crate::new_job::NewJob;
use crate::sql::Schema;
use crate::unique::OnConflict;

const ENQUEUE_ONE: &str = include_str!("enqueue_one.sql");
const ENQUEUE_READY: &str = include_str!("enqueue_ready.sql");
const ENQUEUE_LIMITED: &str = include_str!("enqueue_limited.sql");
const ENQUEUE: &str = include_str!("enqueue.sql");
const KEY_HOLDERS: &str = include_str!("key_holders.sql");

/// What became of a job that was to be enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It was enqueued.
    New(JobId),
    /// Its unique key was taken, by the job that is named, and that one was kept.
    Kept(JobId),
    /// Its unique key was taken by a waiting job, which was cancelled in its favour.
    Replaced {
        /// The job that was enqueued.
        id: JobId,
        /// The job that was cancelled.
        old: JobId,
    },
    /// Its unique key was taken, by the job that is named, and it was refused.
    Rejected(JobId),
}

impl Enqueued {
    /// Returns the job that now stands for the one that was to be enqueued.
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Kept(id) | Self::Rejected(id) | Self::Replaced { id, .. } => id,
        }
    }

    /// Tells whether a job was added.
    pub fn is_new(self) -> bool {
        matches!(self, Self::New(_) | Self::Replaced { .. })
    }
}

/// Enqueues jobs in one round trip, and says in their order what became of each. A job that
/// replaces another takes further round trips.
pub(crate) async fn enqueue(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    match jobs {
        [] => Ok(Vec::new()),
        [job] if is_plain(job) => Ok(vec![enqueue_one(conn, schema, job).await?]),
        jobs if !jobs.iter().all(is_plain) => enqueue_any(conn, schema, jobs).await,
        jobs if jobs.iter().any(is_limited) => enqueue_limited(conn, schema, jobs).await,
        jobs => enqueue_ready(conn, schema, jobs).await,
    }
}

fn is_plain(job: &NewJob) -> bool {
    let options = &job.options;
    options.due == Due::Now && options.unique.is_none() && options.tags.is_empty()
}

pub(super) fn is_limited(job: &NewJob) -> bool {
    !job.options.limits.is_empty()
}

async fn enqueue_one(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
) -> Result<Enqueued, sqlx::Error> {
    let row = sqlx::query(schema.sql(ENQUEUE_ONE))
        .bind(&*job.kind)
        .bind(&*job.options.queue)
        .bind(job.options.priority)
        .bind(job.options.attempts_max)
        .bind(job.options.crashes_max)
        .bind(&job.args)
        .bind(limits(job))
        .fetch_one(conn)
        .await?;
    let id = sqlx::Row::try_get(&row, 0)?;
    Ok(Enqueued::New(JobId(id)))
}

async fn enqueue_ready(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(schema.sql(ENQUEUE_READY))
        .bind(column(jobs, |job| &*job.kind))
        .bind(column(jobs, |job| &*job.options.queue))
        .bind(column(jobs, |job| job.options.priority))
        .bind(column(jobs, |job| job.options.attempts_max))
        .bind(column(jobs, |job| job.options.crashes_max))
        .bind(column(jobs, |job| job.args.as_str()))
        .bind(queues(jobs))
        .fetch_all(conn)
        .await?;
    Ok(all_new(rows))
}

async fn enqueue_limited(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(schema.sql(ENQUEUE_LIMITED))
        .bind(column(jobs, |job| &*job.kind))
        .bind(column(jobs, |job| &*job.options.queue))
        .bind(column(jobs, |job| job.options.priority))
        .bind(column(jobs, |job| job.options.attempts_max))
        .bind(column(jobs, |job| job.options.crashes_max))
        .bind(column(jobs, |job| job.args.as_str()))
        .bind(column(jobs, limits))
        .bind(waits_for(jobs))
        .fetch_all(conn)
        .await?;
    Ok(all_new(rows))
}

fn all_new(rows: Vec<(i64, i64)>) -> Vec<Enqueued> {
    rows.into_iter()
        .map(|(id, _notified)| Enqueued::New(JobId(id)))
        .collect()
}

pub(super) fn limits(job: &NewJob) -> Option<String> {
    job.options.limits.to_json(&job.kind)
}

/// Returns for each job the key that the jobs before it leave no room in, if there is one. Jobs
/// with a unique key may turn out not to be enqueued, and are not counted.
pub(super) fn waits_for(jobs: &[NewJob]) -> Vec<Option<String>> {
    let mut taken: HashMap<String, u32> = HashMap::new();
    let mut wait_for = |job: &NewJob| {
        let options = &job.options;
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
    let keys = column(jobs, unique_key);
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
            // The holder let go of the key between the two statements.
            None => admit_again(conn, schema, job, key).await?,
        };
        // A later job with the same key meets the one that holds it now.
        if let Some(key) = key.as_ref().filter(|_| !admitted) {
            holders.insert(key.clone(), answer.id());
        }
        enqueued.push(answer);
    }
    Ok(enqueued)
}

fn unique_key(job: &NewJob) -> Option<Vec<u8>> {
    let unique = job.options.unique.as_ref()?;
    Some(unique.digest(&job.kind, &job.args))
}

/// Runs the long statement: the id drawn for each job, and whether it was admitted.
async fn admit(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
    keys: &[Option<Vec<u8>>],
) -> Result<Vec<(JobId, bool)>, sqlx::Error> {
    let rows: Vec<(i64, bool, i64)> = sqlx::query_as(schema.sql(ENQUEUE))
        .bind(column(jobs, |job| &*job.kind))
        .bind(column(jobs, |job| &*job.options.queue))
        .bind(column(jobs, |job| job.options.priority))
        .bind(column(jobs, |job| job.options.attempts_max))
        .bind(column(jobs, |job| job.options.crashes_max))
        .bind(column(jobs, |job| job.args.as_str()))
        .bind(column(jobs, tags))
        .bind(column(jobs, delay_ms))
        .bind(column(jobs, at))
        .bind(keys)
        .bind(column(jobs, unique_states))
        .bind(column(jobs, unique_for_ms))
        .bind(column(jobs, limits))
        .bind(waits_for(jobs))
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, admitted, _notified)| (JobId(id), admitted))
        .collect())
}

fn tags(job: &NewJob) -> Option<String> {
    let tags = &job.options.tags;
    (!tags.is_empty()).then(|| serde_json::json!(tags).to_string())
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
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(schema.sql(KEY_HOLDERS))
        .bind(keys)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|(key, id)| (key, JobId(id))).collect())
}

/// Decides about a job whose key is taken.
async fn settle(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
    key: &Option<Vec<u8>>,
    holder: JobId,
) -> Result<Enqueued, sqlx::Error> {
    match on_conflict(job) {
        OnConflict::Keep => Ok(Enqueued::Kept(holder)),
        OnConflict::Reject => Ok(Enqueued::Rejected(holder)),
        OnConflict::Replace => {
            let cancelled = supersede(conn, schema, &[holder]).await?;
            if cancelled.is_empty() {
                return Ok(Enqueued::Kept(holder));
            }
            let enqueued = admit_again(conn, schema, job, key).await?;
            Ok(match enqueued {
                Enqueued::New(id) => Enqueued::Replaced { id, old: holder },
                taken_again => taken_again,
            })
        }
    }
}

fn on_conflict(job: &NewJob) -> OnConflict {
    let unique = job.options.unique.as_ref();
    unique.map(|unique| unique.on_conflict).unwrap_or_default()
}

/// Tries once more to admit a job whose key was seen free. If somebody else takes the key at the
/// same moment, theirs is the job that is kept.
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
            return Ok(match on_conflict(job) {
                OnConflict::Reject => Enqueued::Rejected(*holder),
                OnConflict::Keep | OnConflict::Replace => Enqueued::Kept(*holder),
            });
        }
    }
    Err(sqlx::Error::Protocol(
        "a unique key was taken and freed again at every try".into(),
    ))
}

const ADMISSION_TRIES: usize = 10;

fn column<'a, T>(jobs: &'a [NewJob], of: impl Fn(&'a NewJob) -> T) -> Vec<T> {
    jobs.iter().map(of).collect()
}

fn queues(jobs: &[NewJob]) -> Vec<&str> {
    let queues: BTreeSet<&str> = jobs.iter().map(|job| &*job.options.queue).collect();
    queues.into_iter().collect()
}
