//! Durable background jobs on Postgres: what a job is, and every way it changes state.
//!
//! This crate is all that a producer needs. It never spawns, sleeps or loops, and reads no
//! environment; the processes that run jobs are in `queue-worker`.
//!
//! Modules stand in order: each uses only those below it.

// Tests with tables of cases are long.
#![cfg_attr(test, allow(clippy::too_many_lines))]

mod after_commit;

mod emit;
mod shards;

mod request;

pub mod operations;

mod queue;

#[doc(hidden)]
pub mod alerts;
#[doc(hidden)]
pub mod batches;
pub mod depths;

pub mod counts;
#[doc(hidden)]
pub mod events;

mod batch;

pub mod inspect;
#[doc(hidden)]
pub mod look;
pub mod migrate;
pub mod recurring;
#[doc(hidden)]
pub mod steps;
#[doc(hidden)]
pub mod transitions;

#[doc(hidden)]
pub mod origin;
pub mod process;

mod new_job;

mod args;

mod job;
mod limit;
pub mod schedule;
mod sql;
mod state;

mod context;
mod db;
#[doc(hidden)]
pub mod encryption;
#[doc(hidden)]
pub mod metrics;
mod names;
mod redact;
mod unique;

pub use after_commit::{AfterCommit, AfterCommitError};
pub use args::{check_args, decode_args};
pub use batch::{Batch, EnqueuedBatch, Member, OnFailure};
pub use context::{CONTEXT_BYTES_MAX, Context, InvalidContext};
pub use db::{begin, begin_read_committed, is_not_migrated, is_read_only, is_transient};
pub use emit::{Emit, EmitError, PAYLOAD_BYTES_MAX};
pub use encryption::{InvalidKeys, Keys};
pub use job::{BatchId, Job, JobId, Options, Outcome, ShardBy};
pub use limit::{Conflict, InvalidLimit, KEY_BYTES_MAX, Key, LIMITS_MAX, Limits, Rate};
pub use names::{
    InvalidName, NAME_BYTES_MAX, check_kind, check_queue, check_recurring_job, check_shard,
    check_step, check_tag,
};
pub use new_job::{ARGS_BYTES_MAX, EnqueueError, JsonText, NewJob, NoKeys};
pub use queue::Queue;
pub use redact::{REDACTED, REDACTED_BY_DEFAULT, Redaction, redact};
pub use request::{CopyError, CopyJobs, Enqueue, EnqueueBatch, EnqueueMany};
pub use schedule::{InvalidSchedule, Schedule};
pub use shards::{EnqueuedOn, InvalidShards, ShardState, Shards, ShardsError};
pub use sql::Schema;
pub use state::{JobState, UnknownState};
pub use transitions::enqueue::Enqueued;
pub use unique::{OnConflict, States, Unique};
