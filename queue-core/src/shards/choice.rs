//! The choice of a shard, by rendezvous hashing: the part of a job that decides gives each shard a weight, and the
//! heaviest shard takes the job. A shard that is added takes its share of the keys, and all others stay where they
//! are. The weights depend on nothing but the name of the shard and the part, in every program and version: if they
//! changed, jobs with equal unique keys would be on different shards.

use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use super::{Shard, ShardState, Shards, ShardsError};
use crate::job::ShardBy;
use crate::new_job::NewJob;

/// Where a job is enqueued.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Choice {
    /// On the shard at this place.
    On(usize),
    /// On a shard that is being added, unless the shard that its key comes from has unfinished jobs of the key.
    Moves { to: usize, from: usize, part: Part },
}

/// The part of a job that decides on its shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Tenant(String),
    UniqueKey(Vec<u8>),
    LimitKey(String),
}

impl Part {
    /// Returns the part of a job, if it has it.
    pub(super) fn of(job: &NewJob) -> Option<Self> {
        let options = &job.options;
        match job.shard_by {
            ShardBy::Tenant => {
                let tenant = options.context.as_deref()?.tenant.as_deref()?;
                Some(Self::Tenant(tenant.to_owned()))
            }
            ShardBy::UniqueKey => job.unique_key().map(Self::UniqueKey),
            ShardBy::LimitKey => options.limits.first_key(&job.kind).map(Self::LimitKey),
            ShardBy::Spread => None,
        }
    }

    /// Returns a number for the part, the same in every program.
    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Tenant(text) | Self::LimitKey(text) => hash(text.as_bytes()),
            Self::UniqueKey(digest) => hash(digest),
        }
    }
}

impl Shards {
    /// Chooses the shard of a job.
    pub(super) fn choose(&self, job: &NewJob) -> Result<Choice, ShardsError> {
        let options = &job.options;
        let Some(part) = Part::of(job) else {
            if options.unique.is_some() || !options.limits.is_empty() {
                let (kind, by) = (job.kind.to_string(), job.shard_by);
                return Err(ShardsError::NoShard { kind, by });
            }
            return Ok(Choice::On(self.next()));
        };
        let hash = part.hash();
        let to = self.heaviest(hash, |state| state != ShardState::Draining);
        if self.all[to].state == ShardState::Open {
            return Ok(Choice::On(to));
        }
        let from = self.heaviest(hash, |state| state == ShardState::Open);
        Ok(Choice::Moves { to, from, part })
    }

    /// Returns the place of the shard of a recurring job.
    pub(super) fn choose_for_recurring(&self, name: &str) -> usize {
        self.heaviest(hash(name.as_bytes()), |state| state == ShardState::Open)
    }

    /// Returns the place of the shard whose turn it is.
    fn next(&self) -> usize {
        let takes_jobs = |shard: &Shard| shard.state != ShardState::Draining;
        let places = self.all.iter().enumerate();
        let mut places = places.filter(|(_, shard)| takes_jobs(shard));
        let count = places.clone().count();
        let turn = self.spread.fetch_add(1, Ordering::Relaxed) % count;
        places.nth(turn).map_or(0, |(place, _)| place)
    }

    /// Returns the place of the shard that is heaviest for the number of a part, among those in some states.
    fn heaviest(&self, part: u64, among: impl Fn(ShardState) -> bool) -> usize {
        let shards = self.all.iter().enumerate();
        let shards = shards.filter(|(_, shard)| among(shard.state));
        let heaviest = shards.max_by_key(|(_, shard)| mix(shard.hash ^ part));
        heaviest.map_or(0, |(place, _)| place)
    }
}

/// Returns the first eight bytes of the SHA-256.
pub(super) fn hash(text: &[u8]) -> u64 {
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
