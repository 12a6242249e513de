//! Where jobs are enqueued: on the queue, or on the shard of each.

use std::sync::Arc;

use queue_core::{Enqueued, NewJob, Queue, Shards, ShardsError};

use crate::cli::across::handles;
use crate::cli::{Database, Failure};
use crate::config::Config;

/// The queue, or its shards with their configuration.
pub(super) enum Destination<'a> {
    Queue(Queue),
    Shards(Shards, &'a Config),
}

impl<'a> Destination<'a> {
    /// Connects to the queue, to say early what keeps it from that. Of shards, only those of the jobs are needed.
    pub(super) async fn of(config: &'a Config) -> Result<Self, Failure> {
        if !config.shards.is_empty() {
            let shards = handles(config, Database::queue).await?;
            return Ok(Self::Shards(shards, config));
        }
        let database = Database::configured(config)?;
        database.connect().await?;
        Ok(Self::Queue(database.queue().await?))
    }

    /// Returns why a job would be refused, if so.
    pub(super) fn check(&self, job: &NewJob) -> Result<(), String> {
        match self {
            Self::Queue(queue) => queue.check(job).map_err(|error| error.to_string()),
            Self::Shards(shards, _) => shards.check(job).map_err(|error| error.to_string()),
        }
    }

    /// Enqueues one job. Returns its shard, if there are shards, and the answer.
    pub(super) async fn enqueue(
        &self,
        job: NewJob,
    ) -> Result<(Option<Arc<str>>, Enqueued), Failure> {
        let missing = || Failure::failed("the database did not return the id of the job");
        match self {
            Self::Queue(queue) => {
                let enqueued = queue.enqueue_all([job]).await?;
                let enqueued = enqueued.into_iter().next().ok_or_else(missing)?;
                Ok((None, enqueued))
            }
            Self::Shards(shards, config) => {
                let enqueued = match shards.enqueue_all([job]).await {
                    Ok(enqueued) => enqueued,
                    Err(error) => return Err(explained(error, config).await),
                };
                let on = enqueued.into_iter().next().ok_or_else(missing)?;
                Ok((Some(on.shard), on.enqueued))
            }
        }
    }

    /// Enqueues many jobs, in one transaction on each queue. The error has for each job whether it was enqueued: those
    /// of some shards may be.
    pub(super) async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<(), (Failure, Vec<bool>)> {
        let count = jobs.len();
        let none = |failure| (failure, vec![false; count]);
        match self {
            Self::Queue(queue) if jobs.iter().all(NewJob::is_copyable) => {
                let copied = queue.copy_jobs(jobs.into_iter().map(Ok)).await;
                copied.map(drop).map_err(|error| none(error.source.into()))
            }
            Self::Queue(queue) => {
                let enqueued = queue.enqueue_all(jobs).await;
                enqueued.map(drop).map_err(|error| none(error.into()))
            }
            Self::Shards(shards, config) => match shards.enqueue_all(jobs).await {
                Ok(_) => Ok(()),
                Err(error) => {
                    let enqueued = match &error {
                        ShardsError::Failed { answers, .. } => {
                            answers.iter().map(Option::is_some).collect()
                        }
                        _ => vec![false; count],
                    };
                    Err((explained(error, config).await, enqueued))
                }
            },
        }
    }
}

/// Makes the error of a command. Finds out why a shard is away: its pool only says that it has waited.
async fn explained(error: ShardsError, config: &Config) -> Failure {
    let (ShardsError::Failed { shard, .. } | ShardsError::NotAsked { shard, .. }) = &error else {
        return error.into();
    };
    let message = error.to_string();
    let of_shard = config.of_shard(shard);
    let mut failure = Failure::from(error);
    if let Some(of_shard) = of_shard
        && let Err(away) = Database::open(&of_shard).await
        && let Some(reason) = away.message()
    {
        failure = Failure::new(away.exit, anyhow::Error::msg(reason).context(message));
    }
    failure
}
