//! Sends jobs to their shards.

use std::collections::{BTreeMap, HashSet};
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;

use super::choice::{Choice, Part};
use super::moving::Locked;
use super::{EnqueuedOn, Shard, Shards, ShardsError};
use crate::new_job::{EnqueueError, NewJob};
use crate::request::{Enqueue, EnqueueMany, enqueue_on_pool, only};
use crate::transitions::enqueue::Enqueued;

impl EnqueueMany<'_, Shards> {
    /// Sends the jobs of all shards at once, after all are found valid.
    async fn send(self) -> Result<Vec<EnqueuedOn>, ShardsError> {
        let shards = &*self.to.all;
        let jobs = self.jobs?;
        let choices: Result<Vec<Choice>, _> =
            jobs.iter().map(|job| self.to.check_one(job)).collect();
        let choices = choices?;
        let mut locked = lock_moving(shards, &choices).await?;
        let choices = choices.into_iter();
        let places: Vec<usize> = choices.map(|choice| place(choice, &locked)).collect();
        let groups = match shards {
            [_] => vec![jobs],
            _ => grouped(jobs, &places, shards.len()),
        };
        let sending = shards.iter().zip(&groups).enumerate();
        let sending =
            sending.map(|(place, (shard, jobs))| shard.enqueue(jobs, locked.remove(&place)));
        let mut answers = Vec::with_capacity(shards.len());
        // What is locked stays so until all is enqueued.
        for (answer, locked) in join_all(sending).await {
            answers.push(match locked {
                Some(locked) => locked.unlock(answer).await,
                None => answer,
            });
        }
        in_order(shards, places, answers)
    }
}

/// Locks the keys that move, each on the shard that it comes from.
async fn lock_moving(
    shards: &[Shard],
    choices: &[Choice],
) -> Result<BTreeMap<usize, Locked>, ShardsError> {
    let mut keys: BTreeMap<usize, HashSet<&Part>> = BTreeMap::new();
    for choice in choices {
        if let Choice::Moves { from, part, .. } = choice {
            keys.entry(*from).or_default().insert(part);
        }
    }
    // In the order of the names, so that two programs do not wait for each other.
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_key(|(from, _)| &shards[*from].name);
    let mut locked = BTreeMap::new();
    for (from, keys) in keys {
        let shard = &shards[from];
        let keys: Vec<Part> = keys.into_iter().cloned().collect();
        let lock = Locked::new(&shard.queue, &keys).await;
        locked.insert(from, lock.map_err(|error| shard.not_asked(error))?);
    }
    Ok(locked)
}

/// Returns the place of the shard on which a job is enqueued.
fn place(choice: Choice, locked: &BTreeMap<usize, Locked>) -> usize {
    match choice {
        Choice::On(place) => place,
        Choice::Moves { to, from, part } => {
            let stays = locked
                .get(&from)
                .is_some_and(|locked| locked.staying.contains(&part));
            if stays { from } else { to }
        }
    }
}

impl Shard {
    /// Enqueues jobs, unless there are none. Returns what is locked there.
    async fn enqueue(
        &self,
        jobs: &[NewJob],
        mut locked: Option<Locked>,
    ) -> (Result<Vec<Enqueued>, EnqueueError>, Option<Locked>) {
        let answer = match (jobs, &mut locked) {
            ([], _) => Ok(Vec::new()),
            (jobs, Some(locked)) => locked.enqueue(&self.queue, jobs).await,
            (jobs, None) => enqueue_on_pool(&self.queue, jobs).await,
        };
        (answer, locked)
    }

    pub(super) fn not_asked(&self, source: sqlx::Error) -> ShardsError {
        let shard = Arc::clone(&self.name);
        ShardsError::NotAsked { shard, source }
    }
}

/// Returns the jobs of each shard, of which each is on the shard at its place.
fn grouped(jobs: Vec<NewJob>, places: &[usize], shards: usize) -> Vec<Vec<NewJob>> {
    let mut groups = vec![Vec::new(); shards];
    for (job, place) in jobs.into_iter().zip(places) {
        groups[*place].push(job);
    }
    groups
}

/// Returns the answers of the shards in the order of the jobs.
fn in_order(
    shards: &[Shard],
    places: Vec<usize>,
    answers: Vec<Result<Vec<Enqueued>, EnqueueError>>,
) -> Result<Vec<EnqueuedOn>, ShardsError> {
    let mut failed = Vec::new();
    let mut of_shards = Vec::new();
    for (shard, answers) in shards.iter().zip(answers) {
        let answers = answers.unwrap_or_else(|error| {
            failed.push((Arc::clone(&shard.name), error));
            Vec::new()
        });
        of_shards.push(answers.into_iter());
    }
    let answers = places.into_iter().map(|place| {
        let shard = Arc::clone(&shards[place].name);
        let enqueued = of_shards[place].next()?;
        Some(EnqueuedOn { shard, enqueued })
    });
    let mut failed = failed.into_iter();
    match failed.next() {
        None => Ok(answers.flatten().collect()),
        Some((shard, source)) => Err(ShardsError::Failed {
            shard,
            source: Box::new(source),
            others: failed.collect(),
            answers: answers.collect(),
        }),
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ShardsError>> + Send + 'a>>;

impl<'a> IntoFuture for EnqueueMany<'a, Shards> {
    type Output = Result<Vec<EnqueuedOn>, ShardsError>;
    type IntoFuture = Answer<'a, Vec<EnqueuedOn>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<'a> IntoFuture for Enqueue<'a, Shards> {
    type Output = Result<EnqueuedOn, ShardsError>;
    type IntoFuture = Answer<'a, EnqueuedOn>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { Ok(only(self.many.send().await?)?) })
    }
}
