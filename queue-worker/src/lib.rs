//! Durable background jobs on Postgres: the processes that run them, and the command line.
//!
//! An application registers what it can run in an [`App`], and runs it in a [`Process`]: inside a
//! web service, or as a program of its own through [`cli`].
//!
//! Modules stand in order: each uses only those below it.

// Tests with tables of cases are long.
#![cfg_attr(test, allow(clippy::too_many_lines))]

// The command line.
#[cfg(feature = "cli")]
pub mod cli;

// What applications test their jobs with.
#[cfg(feature = "testing")]
pub mod testing;

// The private Postgres for development and tests.
#[cfg(feature = "embedded")]
pub mod embedded;

// The context of requests, for web services.
#[cfg(feature = "axum")]
pub mod web;

// Jobs without Rust code: commands and HTTP endpoints.
#[cfg(feature = "cli")]
mod handlers;

// One process: its start, its life, its stop.
mod process;

// The services of a process: what it does besides running jobs.
mod services;

// Claiming jobs, and starting them as slots become free.
mod worker;

// Recording how runs ended.
mod completer;

// One run of one job.
mod attempt;

// What an application brings: its jobs, its state, its hooks.
mod app;

// What there is to do, found out once for all parts of a process.
mod lookout;

// What an application connects with.
mod pool;

// Where the database is, as a URL says.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
mod servers;

// Connections that are opened again after an error, and the handle that stops a process.
mod shared_connection;

mod connection;
mod pooler;
mod stop;

// What a process measures, and whether it does its work. Only the command line shows them.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
mod health;
mod metrics;
mod spans;

// How long to rest after a search that reads everything.
mod rest;

// Settings, from a file, the environment and flags.
pub mod config;

pub use app::backoff::Backoff;
pub use app::context::{Attempt, CompleteError, Cx};
pub use app::cursor::Cursor;
pub use app::handler::Work;
pub use app::hooks::{JobEvent, ProcessEvent};
pub use app::join::{Child, ChildEnd, Joined};
#[cfg(feature = "log-lines")]
pub use app::log_lines::LogLines;
pub use app::perform::{BoxError, Next, Perform, PerformBlocking};
pub use app::reports::{ErrorReport, ReportOn};
pub use app::run_error::RunError;
#[cfg(feature = "sentry")]
pub use app::sentry::report_to_sentry;
pub use app::step::Step;
pub use app::step_error::StepError;
pub use app::{App, InvalidApp};
pub use config::Settings;
pub use pool::pool_options;
#[doc(hidden)]
pub use process::PLANNER_SETTINGS;
pub use process::{InvalidProcess, Process, ProcessProblem, SHARDS_MAX};
// All of queue-core, so that a program that runs jobs needs no other crate of ours.
pub use queue_core::recurring::{InvalidRecurringJob, Missed, Overlap, RecurringJob};
pub use queue_core::{
    ARGS_BYTES_MAX, AfterCommit, AfterCommitError, Batch, BatchId, CONTEXT_BYTES_MAX, Conflict,
    Context, CopyError, CopyJobs, Emit, EmitError, Enqueue, EnqueueBatch, EnqueueError,
    EnqueueMany, Enqueued, EnqueuedBatch, EnqueuedOn, InvalidContext, InvalidKeys, InvalidLimit,
    InvalidName, InvalidSchedule, InvalidShards, Job, JobId, JobState, JsonText, KEY_BYTES_MAX,
    Key, Keys, LIMITS_MAX, Limits, Member, NAME_BYTES_MAX, NewJob, NoKeys, OnConflict, OnFailure,
    Options, Outcome, PAYLOAD_BYTES_MAX, Queue, REDACTED, REDACTED_BY_DEFAULT, Rate, Redaction,
    Schedule, Schema, ShardBy, ShardState, Shards, ShardsError, States, Unique, UnknownState,
    begin, begin_read_committed, check_args, check_kind, check_queue, check_recurring_job,
    check_shard, check_step, check_tag, is_not_migrated, is_read_only, is_transient, redact,
};
pub use queue_core::{inspect, migrate, operations, recurring, schedule};
#[cfg(feature = "dashboard")]
pub use queue_dashboard as dashboard;
pub use stop::Stop;

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

/// Compiles the examples in the guides, and runs them.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../docs/guides/batches.md")]
    mod batches {}

    #[doc = include_str!("../../docs/guides/changing-a-job.md")]
    mod changing_a_job {}

    #[doc = include_str!("../../docs/guides/changing-steps.md")]
    mod changing_steps {}

    #[doc = include_str!("../../docs/guides/coming-from-solid-queue.md")]
    mod coming_from_solid_queue {}

    #[doc = include_str!("../../docs/guides/encryption.md")]
    mod encryption {}

    #[cfg(feature = "cli")]
    #[doc = include_str!("../../docs/guides/first-job.md")]
    mod first_job {}

    #[doc = include_str!("../../docs/guides/limits.md")]
    mod limits {}

    #[cfg(feature = "sentry")]
    #[doc = include_str!("../../docs/guides/monitoring.md")]
    mod monitoring {}

    #[doc = include_str!("../../docs/guides/poolers.md")]
    mod poolers {}

    #[doc = include_str!("../../docs/guides/recurring.md")]
    mod recurring {}

    #[doc = include_str!("../../docs/guides/retries.md")]
    mod retries {}

    #[doc = include_str!("../../docs/guides/shards.md")]
    mod shards {}

    #[doc = include_str!("../../docs/guides/steps.md")]
    mod steps {}

    #[doc = include_str!("../../docs/guides/tenants.md")]
    mod tenants {}

    #[cfg(feature = "testing")]
    #[doc = include_str!("../../docs/guides/testing.md")]
    mod testing {}

    #[doc = include_str!("../../docs/guides/transactions.md")]
    mod transactions {}

    #[doc = include_str!("../../docs/guides/when-things-break.md")]
    mod when_things_break {}
}
