//! The jobs that a recurring job enqueues.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::{Kinds, Overlap};
use crate::context::Context;
use crate::encryption::Place;
use crate::job::{Options, ShardBy};
use crate::limit::Limits;
use crate::new_job::{Args, EnqueueError, NewJob};
use crate::sql::Schema;
use crate::transitions::enqueue::{Enqueued, enqueue};
use crate::unique::Unique;

/// Returns the reason if a row holds values that cannot be read: another version of the program may
/// have stored it.
pub(super) fn unreadable(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::ColumnDecode { source, .. } | sqlx::Error::Decode(source) => {
            Some(source.to_string())
        }
        _ => None,
    }
}

fn undecodable(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// What a recurring job enqueues.
pub(super) struct Template {
    pub(super) name: String,
    overlap: Overlap,
    job: NewJob,
}

impl Template {
    /// Reads the columns that describe the job. The arguments stay text, so that no number in them is
    /// rounded.
    pub(super) fn read(row: &PgRow, schema: &Schema) -> Result<Self, sqlx::Error> {
        let limits: Option<&str> = row.try_get("limits")?;
        let limits = limits.map(Limits::from_json).transpose();
        let unique: Option<&str> = row.try_get("unique_rule")?;
        let unique = unique.map(serde_json::from_str).transpose();
        let options = Options::new()
            .queue(row.try_get::<String, _>("queue")?)
            .priority(row.try_get("priority")?)
            .attempts(row.try_get("attempts_max")?)
            .crashes(row.try_get("crashes_max")?)
            .limits(limits.map_err(undecodable)?.unwrap_or_default());
        let tags: Vec<String> = row.try_get("tags")?;
        let kind: String = row.try_get("kind")?;
        let args: String = row.try_get("args")?;
        let args = match schema.open(&kind, Place::Args, &args)? {
            Some(opened) => Args::Secret(opened.get().to_owned()),
            None => Args::Plain(args),
        };
        let mut options = tags.into_iter().fold(options, Options::tag);
        options.unique = unique.map_err(undecodable)?;
        let context = Context::read(row.try_get("tenant")?, row.try_get("context")?);
        options.context = Some(Arc::new(context.map_err(undecodable)?));
        Ok(Self {
            name: row.try_get("name")?,
            overlap: row.try_get("overlap")?,
            job: NewJob {
                kind: kind.into(),
                args,
                options,
                shard_by: ShardBy::default(),
            },
        })
    }

    /// Applies the options, the limits and the unique key of the type, unless others are stored: a program
    /// that does not know the type stores the defaults. Arguments that do not fit the type are enqueued all
    /// the same: another version of the program may read them.
    pub(super) fn apply_rules(&mut self, kinds: &Kinds) {
        let args = RawValue::from_string(self.job.args.json().to_owned());
        let Some((new_job, args)) = kinds.types.get(&*self.job.kind).zip(args.ok()) else {
            return;
        };
        let Ok(typed) = new_job(&args) else {
            return;
        };
        self.job.args = typed.args.with(self.job.args.json());
        let (options, typed) = (&mut self.job.options, typed.options);
        if options.limits.is_empty() {
            options.limits = typed.limits;
        }
        options.unique = options.unique.take().or(typed.unique);
        if options.are_plain() {
            options.queue = typed.queue;
            options.priority = typed.priority;
            options.attempts_max = typed.attempts_max;
            options.crashes_max = typed.crashes_max;
            options.tags = typed.tags;
        }
    }

    /// Makes a job that follows the overlap policy. Returns an error if the stored job cannot be
    /// enqueued. The size of the arguments is not checked again, because Postgres writes them with
    /// more spaces than they were given with.
    pub(super) fn job(&self) -> Result<NewJob, EnqueueError> {
        self.job.check(usize::MAX)?;
        let job = self.job_that_overlaps();
        Ok(match self.overlap {
            Overlap::Skip => job.with(|options| {
                let unique = options.unique.clone();
                let alone = unique.unwrap_or_else(|| Unique::of_recurring_job(&self.name));
                options.unique(alone.without_overlap())
            }),
            Overlap::Queued => {
                let in_turn = Limits::of_recurring_job(&self.name);
                let limits = job.options.limits.clone().and(in_turn);
                job.with(|options| options.limits(limits))
            }
            Overlap::Allow => job,
        })
    }

    /// Makes a job that ignores the overlap policy.
    pub(super) fn job_that_overlaps(&self) -> NewJob {
        self.job.clone()
    }
}

/// Enqueues one job.
pub(super) async fn send(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
) -> Result<Enqueued, EnqueueError> {
    let enqueued = enqueue(conn, schema, std::slice::from_ref(job)).await?;
    let missing = || sqlx::Error::Protocol("the server returned no row for the job".into());
    Ok(enqueued.first().copied().ok_or_else(missing)?)
}

/// Returns how long after its due time a job starts: pseudo-random, and the same in every process.
pub(super) fn jitter(name: &str, due_at: DateTime<Utc>, max: Duration) -> Duration {
    let digest = Sha256::new()
        .chain_update(due_at.timestamp_millis().to_be_bytes())
        .chain_update(name)
        .finalize();
    let drawn = u64::from_be_bytes(std::array::from_fn(|place| digest[place]));
    let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(drawn % max.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_follows_from_the_name_and_the_due_time() {
        let max = Duration::from_secs(60);
        let due_at = |minute: i64| DateTime::from_timestamp(minute * 60, 0).unwrap();
        let draw = || -> Vec<Duration> { (0..50).map(|n| jitter("a", due_at(n), max)).collect() };

        let drawn = draw();

        assert_eq!(drawn, draw());
        assert!(drawn.iter().all(|jitter| *jitter <= max));
        assert!(drawn.iter().any(|jitter| *jitter > max / 2));
        assert!(drawn.iter().any(|jitter| *jitter < max / 2));
        assert_ne!(jitter("a", due_at(1), max), jitter("b", due_at(1), max));
    }
}
