//! Several queues as one: a shard is chosen for each job.

mod send;

mod moving;

mod choice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::context::Context;
use crate::db::begin_read_committed;
use crate::job::{Job, ShardBy};
use crate::names::{InvalidName, check_shard};
use crate::new_job::{EnqueueError, NewJob};
use crate::queue::Queue;
use crate::recurring::RecurringJob;
use crate::request::{Enqueue, EnqueueMany};
use crate::transitions::enqueue::Enqueued;
use choice::{Choice, Part, hash};

/// Queues in several schemas, databases or servers, cheap to clone. Each job is enqueued on one of them, its
/// *shard*, which [`Job::SHARD_BY`] decides.
///
/// Unique keys and limits hold on one shard. A job that has one of them, but not the part that decides, is refused:
/// it could be on any shard, beside others with its key. Transactions, batches, recurring jobs and events are on one
/// shard as well: they are those of the [`Queue`] that [`get`](Self::get) and
/// [`shard_of`](Self::shard_of) return.
///
/// ```no_run
/// # use queue_core::{Context, Job, Queue, Shards, ShardsError};
/// # async fn example<J: Job>(eu: Queue, us: Queue, job: J) -> Result<(), Box<dyn std::error::Error>> {
/// let shards = Shards::new([("eu", eu), ("us", us)])?;
/// let acme = Context::new().tenant("acme");
/// let enqueued = shards.enqueue(job).context(acme).await?;
/// println!("enqueued {}", enqueued.id()); // such as eu:4711
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Shards {
    all: Arc<[Shard]>,
    /// How many jobs were spread.
    spread: Arc<AtomicUsize>,
    /// The groups of limits that were seen, each with a kind that has it, and what decides on the shard of that kind.
    groups: Arc<Mutex<BTreeMap<String, (String, ShardBy)>>>,
}

#[derive(Clone, Debug)]
struct Shard {
    name: Arc<str>,
    hash: u64,
    state: ShardState,
    queue: Queue,
}

/// Which jobs a shard takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// Its share.
    #[default]
    Open,
    /// Its share, but those of a key that moves to it only once the shard that the key comes from has no unfinished
    /// job of the key. It has no recurring jobs yet.
    Adding,
    /// None: it only runs those that it has.
    Draining,
}

impl ShardState {
    /// Returns the word for it: `open`, `adding` or `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Adding => "adding",
            Self::Draining => "draining",
        }
    }
}

/// Why queues cannot be shards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidShards {
    /// There are none.
    #[error("there are no shards: name at least one")]
    None,
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Two have the same name.
    #[error("the shard `{0}` is there twice: give each a name of its own")]
    Twice(String),
    /// There is none with a name.
    #[error("there is no shard `{0}`")]
    Unknown(String),
    /// None is open.
    #[error("no shard is open: all are being added or drained")]
    NoneOpen,
    /// Two are being added: keys may move from one of them to the other, which is not asked for their jobs.
    #[error("more than one shard is being added: add one after the other")]
    TwoAdding,
}

/// The answer to a request to enqueue a job on shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnqueuedOn {
    /// The name of the job's shard.
    pub shard: Arc<str>,
    /// The answer of this shard.
    pub enqueued: Enqueued,
}

/// Why jobs were not enqueued on shards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    /// A job is not valid. No job was enqueued.
    #[error(transparent)]
    Refused(#[from] EnqueueError),
    /// A job has a unique key or a limit, but not the part that decides on its shard. No job was enqueued.
    #[error(
        "`{kind}` has a unique key or a limit, which holds on one shard only, but no {} to choose that shard by: \
         give the job one, or name another part in `Job::SHARD_BY`",
        part(*by)
    )]
    NoShard {
        /// The job's kind.
        kind: String,
        /// The part that it lacks.
        by: ShardBy,
    },
    /// Two kinds have limits of one group, but are on shards by different parts, so that jobs with the same key would be
    /// on different shards. No job was enqueued.
    #[error(
        "`{}` and `{}` share the limits of the group `{group}`, which hold on one shard only, but the shard of `{}` is \
         chosen by its {}, and that of `{}` by its {}: give both the same `Job::SHARD_BY`",
        kinds[0], kinds[1], kinds[0], part(parts[0]), kinds[1], part(parts[1])
    )]
    Group {
        /// The group.
        group: String,
        /// The kinds.
        kinds: [String; 2],
        /// The parts that decide on their shards.
        parts: [ShardBy; 2],
    },
    /// A job is to be added to a batch. No job was enqueued.
    #[error("`{kind}` is to be added to a batch, which is on one shard: take it by `Shards::get`")]
    Batch {
        /// The job's kind.
        kind: String,
    },
    /// A shard could not be asked for the unfinished jobs of keys that move from it to one that is being added. No job
    /// was enqueued.
    #[error(
        "could not ask the shard `{shard}` for the jobs of keys that move from it; no job was enqueued"
    )]
    NotAsked {
        /// The shard.
        shard: Arc<str>,
        /// Its error.
        source: sqlx::Error,
    },
    /// Shards failed. Their jobs were not enqueued, and those of other shards were.
    #[error(
        "could not enqueue on {}; enqueued on {}",
        names(others.iter().map(|(name, _)| name).chain([shard])),
        names(answers.iter().flatten().map(|answer| &answer.shard))
    )]
    Failed {
        /// The first shard that failed.
        shard: Arc<str>,
        /// Its error.
        source: Box<EnqueueError>,
        /// The other shards that failed, and their errors.
        others: Vec<(Arc<str>, EnqueueError)>,
        /// The answers in the order of the jobs; none for jobs that were not enqueued.
        answers: Vec<Option<EnqueuedOn>>,
    },
}

impl Shards {
    /// Makes shards of queues, each with a name that must never change: it decides which jobs are on the shard.
    ///
    /// # Errors
    /// Refuses no shards, a name twice, and a name that is empty, longer than 100 bytes, or has characters
    /// other than ASCII letters, digits and `_ . / -`.
    pub fn new<N: AsRef<str>>(
        shards: impl IntoIterator<Item = (N, Queue)>,
    ) -> Result<Self, InvalidShards> {
        let mut all: Vec<Shard> = Vec::new();
        for (name, queue) in shards {
            let name = name.as_ref();
            check_shard(name)?;
            if all.iter().any(|shard| &*shard.name == name) {
                return Err(InvalidShards::Twice(name.to_owned()));
            }
            all.push(Shard {
                name: name.into(),
                hash: hash(name.as_bytes()),
                state: ShardState::Open,
                queue,
            });
        }
        if all.is_empty() {
            return Err(InvalidShards::None);
        }
        Ok(Self {
            all: all.into(),
            // At random, or programs that enqueue one job would all use the first shard.
            spread: Arc::new(AtomicUsize::new(Uuid::now_v7().as_u128() as usize)),
            groups: Arc::default(),
        })
    }

    /// Sets which jobs a shard takes, the same in all programs. While one is added, an enqueue may hold a connection of
    /// one shard while it waits for one of another: give each a pool of its own.
    ///
    /// # Errors
    /// Refuses a name that no shard has, and states in which no shard is open any more, or more than one is added.
    pub fn with_state(mut self, name: &str, state: ShardState) -> Result<Self, InvalidShards> {
        let mut all = self.all.to_vec();
        let shard = all.iter_mut().find(|shard| &*shard.name == name);
        let shard = shard.ok_or_else(|| InvalidShards::Unknown(name.to_owned()))?;
        shard.state = state;
        if all.iter().all(|shard| shard.state != ShardState::Open) {
            return Err(InvalidShards::NoneOpen);
        }
        let adding = all.iter().filter(|shard| shard.state == ShardState::Adding);
        if adding.count() > 1 {
            return Err(InvalidShards::TwoAdding);
        }
        self.all = all.into();
        Ok(self)
    }

    /// Returns the queue of a shard.
    pub fn get(&self, name: &str) -> Option<&Queue> {
        Some(&self.find(name)?.queue)
    }

    /// Returns which jobs a shard takes.
    pub fn state(&self, name: &str) -> Option<ShardState> {
        Some(self.find(name)?.state)
    }

    fn find(&self, name: &str) -> Option<&Shard> {
        self.all.iter().find(|shard| &*shard.name == name)
    }

    /// Returns each shard's name and queue, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Queue)> {
        self.all.iter().map(|shard| (&*shard.name, &shard.queue))
    }

    /// Returns the name and the queue of the shard on which a job would be enqueued now, to enqueue it there in a
    /// transaction or in a batch. Only while a shard is added, another is asked for jobs of the same key, and may
    /// answer another program differently before the job is enqueued.
    ///
    /// # Errors
    /// Refuses a job that has a unique key or a limit, but not the part that decides, and returns why a shard could not
    /// be asked.
    pub async fn shard_of(&self, job: &NewJob) -> Result<(&str, &Queue), ShardsError> {
        let mut job = job.clone();
        job.inherit(Context::ambient().as_ref());
        let place = match self.choose(&job)? {
            Choice::On(place) => place,
            Choice::Moves { to, from, part } => match self.all[from].has(part).await? {
                true => from,
                false => to,
            },
        };
        let shard = &self.all[place];
        Ok((&shard.name, &shard.queue))
    }

    /// Checks a job as [`enqueue_all`](Self::enqueue_all) does before it sends any.
    ///
    /// # Errors
    /// Returns why the job would be refused.
    pub fn check(&self, job: &NewJob) -> Result<(), ShardsError> {
        let mut job = job.clone();
        job.inherit(Context::ambient().as_ref());
        self.check_one(&job).map(drop)
    }

    /// Checks a job, and chooses its shard.
    fn check_one(&self, job: &NewJob) -> Result<Choice, ShardsError> {
        if job.options.batch.is_some() {
            let kind = job.kind.to_string();
            return Err(ShardsError::Batch { kind });
        }
        let choice = self.choose(job)?;
        self.check_groups(job)?;
        let (Choice::On(place) | Choice::Moves { to: place, .. }) = choice;
        self.all[place].queue.check(job)?;
        Ok(choice)
    }

    /// Refuses a job with a limit of a group in which another kind is sharded by another part: jobs with the same key
    /// would be on different shards, and exceed the limit together.
    fn check_groups(&self, job: &NewJob) -> Result<(), ShardsError> {
        for group in job.options.limits.groups() {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            match groups.get(group) {
                Some((_, by)) if *by == job.shard_by => {}
                Some((other, by)) => {
                    return Err(ShardsError::Group {
                        group: group.to_owned(),
                        kinds: [other.clone(), job.kind.to_string()],
                        parts: [*by, job.shard_by],
                    });
                }
                None => _ = groups.insert(group.to_owned(), (job.kind.to_string(), job.shard_by)),
            }
        }
        Ok(())
    }

    /// Returns the name and the queue of the shard that a recurring job is on, which its name decides.
    pub fn shard_of_recurring(&self, name: &str) -> (&str, &Queue) {
        let shard = &self.all[self.choose_for_recurring(name)];
        (&shard.name, &shard.queue)
    }

    /// Returns the shard that other jobs with the limit or the unique key of a recurring job's jobs are on, if that is
    /// not the one of the recurring job: they do not count together.
    pub fn shard_of_others(&self, recurring: &RecurringJob) -> Option<&str> {
        let (job, own) = (recurring.job(), self.choose_for_recurring(recurring.name()));
        if job.options.unique.is_none() && job.options.limits.is_empty() {
            return None;
        }
        // A job without the part that decides is refused elsewhere.
        let (Choice::On(place) | Choice::Moves { to: place, .. }) = self.choose(job).ok()?;
        (place != own).then(|| &*self.all[place].name)
    }

    /// Enqueues one job.
    pub fn enqueue<J: Job>(&self, job: J) -> Enqueue<'_, Self> {
        Enqueue {
            many: EnqueueMany::new(self, NewJob::of(&job).map(|job| vec![job])),
        }
    }

    /// Enqueues many jobs of one kind, in order on each shard.
    pub fn enqueue_many<J: Job>(&self, jobs: impl IntoIterator<Item = J>) -> EnqueueMany<'_, Self> {
        EnqueueMany::new(self, jobs.into_iter().map(|job| NewJob::of(&job)).collect())
    }

    /// Enqueues jobs of any kinds, in order on each shard.
    pub fn enqueue_all(&self, jobs: impl IntoIterator<Item = NewJob>) -> EnqueueMany<'_, Self> {
        EnqueueMany::new(self, Ok(jobs.into_iter().collect()))
    }
}

impl Shard {
    /// Returns whether it has unfinished jobs of a key.
    async fn has(&self, key: Part) -> Result<bool, ShardsError> {
        let schema = &self.queue.schema;
        let asking = async {
            let mut tx = begin_read_committed(&self.queue.pool).await?;
            let staying = moving::staying(&mut tx, schema, &[key]).await?;
            tx.commit().await?;
            Ok(!staying.is_empty())
        };
        asking.await.map_err(|error| self.not_asked(error))
    }
}

fn part(by: ShardBy) -> &'static str {
    match by {
        ShardBy::Tenant => "tenant",
        ShardBy::UniqueKey => "unique key",
        ShardBy::LimitKey => "limit",
        ShardBy::Spread => "part",
    }
}

/// Lists names of shards.
fn names<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> String {
    let names: BTreeSet<String> = names.map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "no shard".to_owned(),
        false => Vec::from_iter(names).join(", "),
    }
}

impl EnqueuedOn {
    /// Returns the id of the new job, or of the one that has its unique key, with its shard: `eu:4711`.
    pub fn id(&self) -> String {
        format!("{}:{}", self.shard, self.enqueued.id())
    }
}

#[cfg(test)]
mod tests;
