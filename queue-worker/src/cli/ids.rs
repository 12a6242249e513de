//! The ids of jobs and batches in a command line.

use std::fmt::Display;

use queue_core::{BatchId, JobId};

use super::exit::Failure;
use super::here::{are_several, pass_over, shard, used_shards};

/// An id as people write it: `4711`, or `eu:4711` for the one on a shard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WrittenId<I> {
    shard: Option<String>,
    id: I,
}

/// Writes an id of the shard on which the command runs.
pub(super) fn of_shard(id: impl Display) -> String {
    written_on(shard().as_deref(), id)
}

/// Writes an id of a shard, if the queue has shards.
pub(super) fn written_on(shard: Option<&str>, id: impl Display) -> String {
    match shard {
        Some(shard) => format!("{shard}:{id}"),
        None => id.to_string(),
    }
}

impl<I: Copy + Display> WrittenId<I> {
    /// Returns the id if it is one on this shard; the failure ends the command quietly if it is not.
    pub(super) fn here(&self) -> Result<I, Failure> {
        match self.is_here()? {
            true => Ok(self.id),
            false => Err(passed_over()),
        }
    }

    fn is_here(&self) -> Result<bool, Failure> {
        let Self { shard: named, id } = self;
        let message = match (named, shard()) {
            (None, None) => return Ok(true),
            (None, Some(_)) if !are_several() => return Ok(true),
            (None, Some(here)) => format!(
                "there are several shards, each with an id {id} of its own: name the shard, as in {here}:{id}"
            ),
            (Some(named), Some(here)) if used_shards().contains(named) => {
                return Ok(**named == *here);
            }
            (Some(named), Some(_)) => {
                let used = used_shards().join(", ");
                format!("{named}:{id} is on none of the shards that are used: {used}")
            }
            (Some(named), None) => {
                format!("{named}:{id} is an id on a shard, and the configuration has no [shards]")
            }
        };
        Err(Failure::usage(message))
    }
}

/// Returns the ids that are on this shard; the failure ends the command quietly if there are none.
pub(super) fn here<I: Copy + Display>(ids: &[WrittenId<I>]) -> Result<Vec<I>, Failure> {
    let mut here = Vec::new();
    for id in ids {
        if id.is_here()? {
            here.push(id.id);
        }
    }
    match here.is_empty() {
        true => Err(passed_over()),
        false => Ok(here),
    }
}

fn passed_over() -> Failure {
    pass_over();
    Failure::quiet()
}

/// Reads the id of a job, with or without a `#` before it.
pub(super) fn job_id(text: &str) -> Result<WrittenId<JobId>, String> {
    written(text, JobId, "job")
}

/// Reads the id of a batch.
pub(super) fn batch_id(text: &str) -> Result<WrittenId<BatchId>, String> {
    written(text, BatchId, "batch")
}

fn written<I>(text: &str, make: fn(i64) -> I, what: &str) -> Result<WrittenId<I>, String> {
    let text = text.trim_start_matches('#');
    let (shard, number) = match text.split_once(':') {
        Some((shard, number)) => (Some(shard.to_owned()), number),
        None => (None, text),
    };
    match number.parse() {
        Ok(id @ 1..) => Ok(WrittenId {
            shard,
            id: make(id),
        }),
        _ => Err(format!(
            "the id of a {what} is a whole number from 1, on a shard with its name: eu:4711"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_with_or_without_a_hash_and_a_shard() {
        let id = |shard: Option<&str>| {
            let shard = shard.map(str::to_owned);
            Ok(WrittenId {
                shard,
                id: JobId(7),
            })
        };
        assert_eq!(job_id("7"), id(None));
        assert_eq!(job_id("#7"), id(None));
        assert_eq!(job_id("eu:7"), id(Some("eu")));
        for refused in ["0", "seven", "eu:", "eu:0", "7:eu"] {
            assert!(job_id(refused).is_err(), "{refused}");
        }
    }
}
