//! Several queues as one: a shard is chosen for each job.
//!
//! The choice is by rendezvous hashing: the part of a job that decides gives each shard a weight, and the
//! heaviest shard takes the job. A shard that is added takes its share of the keys, and all others stay where
//! they are. The weights depend on nothing but the name of the shard and the part, in every program and version:
//! if they changed, jobs with equal unique keys would be on different shards.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::context::Context;
use crate::job::{Job, ShardBy};
use crate::names::{InvalidName, check_shard};
use crate::new_job::{EnqueueError, NewJob};
use crate::queue::Queue;
use crate::request::{Enqueue, EnqueueMany, enqueue_on_pool, only};
use crate::transitions::enqueue::Enqueued;

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
}

#[derive(Debug)]
struct Shard {
    name: Arc<str>,
    hash: u64,
    queue: Queue,
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
        "`{kind}` has a unique key or a limit, which holds on one shard, but no {} that decides on its shard: \
         give it one, or let `Job::SHARD_BY` name a part that it has",
        part(*by)
    )]
    NoShard {
        /// The job's kind.
        kind: String,
        /// The part that it lacks.
        by: ShardBy,
    },
    /// A job is to be added to a batch. No job was enqueued.
    #[error("`{kind}` is to be added to a batch, which is on one shard: take it by `Shards::get`")]
    Batch {
        /// The job's kind.
        kind: String,
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
        })
    }

    /// Returns the queue of a shard.
    pub fn get(&self, name: &str) -> Option<&Queue> {
        let mut all = self.iter();
        all.find(|(other, _)| *other == name)
            .map(|(_, queue)| queue)
    }

    /// Returns each shard's name and queue, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Queue)> {
        self.all.iter().map(|shard| (&*shard.name, &shard.queue))
    }

    /// Returns the name and the queue of the shard on which a job would be enqueued now, to enqueue it there in a
    /// transaction or in a batch.
    ///
    /// # Errors
    /// Refuses a job that has a unique key or a limit, but not the part that decides.
    pub fn shard_of(&self, job: &NewJob) -> Result<(&str, &Queue), ShardsError> {
        let mut job = job.clone();
        job.inherit(Context::ambient().as_ref());
        let shard = &self.all[self.choose(&job)?];
        Ok((&shard.name, &shard.queue))
    }

    /// Returns the name and the queue of the shard that a recurring job is on, which its name decides.
    pub fn shard_of_recurring(&self, name: &str) -> (&str, &Queue) {
        let shard = &self.all[self.heaviest(name.as_bytes())];
        (&shard.name, &shard.queue)
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

    /// Returns the place of a job's shard.
    fn choose(&self, job: &NewJob) -> Result<usize, ShardsError> {
        let options = &job.options;
        match deciding_part(job) {
            Some(part) => Ok(self.heaviest(&part)),
            None if options.unique.is_some() || !options.limits.is_empty() => {
                Err(ShardsError::NoShard {
                    kind: job.kind.to_string(),
                    by: job.shard_by,
                })
            }
            None => Ok(self.spread.fetch_add(1, Ordering::Relaxed) % self.all.len()),
        }
    }

    /// Returns the place of the shard for which a part has the greatest weight.
    fn heaviest(&self, part: &[u8]) -> usize {
        if let [_] = &*self.all {
            return 0;
        }
        let part = hash(part);
        let weights = self.all.iter().map(|shard| mix(shard.hash ^ part));
        let heaviest = weights.enumerate().max_by_key(|(_, weight)| *weight);
        heaviest.map_or(0, |(place, _)| place)
    }
}

/// Returns the part of a job that decides on its shard.
fn deciding_part(job: &NewJob) -> Option<Cow<'_, [u8]>> {
    let options = &job.options;
    match job.shard_by {
        ShardBy::Tenant => {
            let tenant = options.context.as_deref()?.tenant.as_deref()?;
            Some(Cow::Borrowed(tenant.as_bytes()))
        }
        ShardBy::UniqueKey => job.unique_key().map(Cow::Owned),
        ShardBy::LimitKey => {
            let key = options.limits.first_key(&job.kind)?;
            Some(Cow::Owned(key.into_bytes()))
        }
        ShardBy::Spread => None,
    }
}

/// Returns the first eight bytes of the SHA-256.
fn hash(text: &[u8]) -> u64 {
    let digest = Sha256::digest(text);
    let first = digest.iter().take(8);
    first.fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Mixes the bits of a number: the last step of SplitMix64. Different numbers have different mixtures.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
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

impl EnqueueMany<'_, Shards> {
    /// Sends the jobs of all shards at once, after all are found valid.
    async fn send(self) -> Result<Vec<EnqueuedOn>, ShardsError> {
        let shards = &*self.to.all;
        let jobs = self.jobs?;
        let mut places = Vec::with_capacity(jobs.len());
        for job in &jobs {
            if job.options.batch.is_some() {
                let kind = job.kind.to_string();
                return Err(ShardsError::Batch { kind });
            }
            let place = self.to.choose(job)?;
            shards[place].queue.check(job)?;
            places.push(place);
        }
        let groups = match shards {
            [_] => vec![jobs],
            _ => grouped(jobs, &places, shards.len()),
        };
        let sending = shards.iter().zip(&groups);
        let answers = join_all(sending.map(|(shard, jobs)| shard.enqueue(jobs))).await;
        in_order(shards, places, answers)
    }
}

impl Shard {
    /// Enqueues jobs, unless there are none.
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
        match jobs {
            [] => Ok(Vec::new()),
            jobs => enqueue_on_pool(&self.queue, jobs).await,
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sqlx::PgPool;

    use super::*;
    use crate::job::Options;
    use crate::limit::Limits;
    use crate::unique::Unique;

    fn shards(names: &[&str]) -> Result<Shards, InvalidShards> {
        let pool = PgPool::connect_lazy("postgres://nowhere").unwrap();
        let queue = |name| (name, Queue::new(pool.clone()));
        Shards::new(names.iter().copied().map(queue))
    }

    fn job(shard_by: ShardBy, options: Options) -> NewJob {
        NewJob {
            shard_by,
            ..NewJob::untyped("import", &json!({"file": 7}), options)
        }
    }

    fn of_tenant(tenant: &str) -> NewJob {
        let context = Context::new().tenant(tenant);
        job(ShardBy::Tenant, Options::new().context(context))
    }

    fn shard_of(shards: &Shards, job: &NewJob) -> String {
        shards.shard_of(job).unwrap().0.to_owned()
    }

    #[tokio::test]
    async fn the_order_in_which_shards_are_given_does_not_matter() {
        let [there, back] = [["a", "b", "c"], ["c", "b", "a"]].map(|names| shards(&names).unwrap());
        for number in 0..1_000 {
            let job = of_tenant(&number.to_string());
            assert_eq!(shard_of(&there, &job), shard_of(&back, &job));
        }
    }

    #[tokio::test]
    async fn a_shard_that_is_added_takes_its_share_and_all_else_stays() {
        let three = shards(&["a", "b", "c"]).unwrap();
        let four = shards(&["a", "b", "c", "d"]).unwrap();
        let mut moved = 0;
        for number in 0..10_000 {
            let job = of_tenant(&format!("tenant-{number}"));
            let (old, new) = (shard_of(&three, &job), shard_of(&four, &job));
            if old != new {
                assert_eq!(new, "d");
                moved += 1;
            }
        }
        assert!((2_350..2_650).contains(&moved), "{moved}");
    }

    #[tokio::test]
    async fn the_choice_never_changes() {
        let shards = shards(&["eu", "us", "asia"]).unwrap();
        let by = |shard_by, options| shard_of(&shards, &job(shard_by, options));
        let tenants = ["acme", "umbrella", "initech", "wayne", "żółw"].map(of_tenant);
        let tenants = tenants.map(|job| shard_of(&shards, &job));
        assert_eq!(tenants, ["asia", "eu", "eu", "us", "asia"]);

        let rules = [Unique::by_key("k"), Unique::by_args()];
        let unique = rules.map(|rule| by(ShardBy::UniqueKey, Options::new().unique(rule)));
        assert_eq!(unique, ["asia", "asia"]);

        let own = Limits::key("maps").and(Limits::key("other"));
        let limits = [own, Limits::key("maps").group("api")];
        let limits = limits.map(|limits| by(ShardBy::LimitKey, Options::new().limits(limits)));
        assert_eq!(limits, ["asia", "eu"]);

        let recurring = ["nightly", "clean", "report-7"];
        let recurring = recurring.map(|name| shards.shard_of_recurring(name).0);
        assert_eq!(recurring, ["us", "asia", "us"]);
    }

    #[tokio::test]
    async fn jobs_without_the_part_that_decides_take_turns() {
        let shards = shards(&["a", "b", "c"]).unwrap();
        for shard_by in [
            ShardBy::Tenant,
            ShardBy::UniqueKey,
            ShardBy::LimitKey,
            ShardBy::Spread,
        ] {
            let job = job(shard_by, Options::new());
            let turns: BTreeSet<String> = (0..3).map(|_| shard_of(&shards, &job)).collect();
            assert_eq!(turns.len(), 3, "{shard_by:?}");
        }
    }

    #[tokio::test]
    async fn a_unique_key_or_a_limit_without_the_part_that_decides_is_refused() {
        let shards = shards(&["a"]).unwrap();
        let unique = || Options::new().unique(Unique::by_key("k"));
        let limited = || Options::new().limits(Limits::key("k"));
        for (shard_by, options, lacks) in [
            (ShardBy::Tenant, unique(), "no tenant that"),
            (ShardBy::Tenant, limited(), "no tenant that"),
            (ShardBy::UniqueKey, limited(), "no unique key"),
            (ShardBy::LimitKey, unique(), "no limit"),
            (ShardBy::Spread, unique(), "no part that"),
            (ShardBy::Spread, limited(), "no part that"),
        ] {
            let refused = shards.shard_of(&job(shard_by, options)).unwrap_err();
            let message = refused.to_string();
            assert!(
                message.starts_with("`import` has a unique key or a limit"),
                "{message}"
            );
            assert!(message.contains(lacks), "{message}");
        }
        shards.shard_of(&job(ShardBy::UniqueKey, unique())).unwrap();
        shards.shard_of(&job(ShardBy::LimitKey, limited())).unwrap();
    }

    #[tokio::test]
    async fn names_are_valid_and_different() {
        let refused = |names| shards(names).unwrap_err().to_string();
        assert!(refused(&[]).contains("at least one"));
        assert!(refused(&["eu", "us", "eu"]).contains("`eu` is there twice"));
        assert!(refused(&["eu:1"]).contains("a colon"));
        assert!(refused(&["two words"]).contains("not allowed"));

        let shards = shards(&["eu", "us"]).unwrap();
        assert!(shards.get("us").is_some() && shards.get("asia").is_none());
        assert_eq!(
            Vec::from_iter(shards.iter().map(|(name, _)| name)),
            ["eu", "us"]
        );
    }
}
