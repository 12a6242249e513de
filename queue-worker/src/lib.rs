//! Durable background jobs on Postgres: the processes that run them, and the command line.
//!
//! An application says what it can run with an [`App`], and runs it with a [`Process`]: inside a
//! web service, or in a program of its own with [`cli`].
//!
//! Modules stand in order: each uses only those below it.

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "embedded")]
pub mod embedded;

#[cfg(feature = "cli")]
mod handlers;

mod process;

mod dispatcher;
mod heartbeat;
mod listener;
mod maintenance;
mod scheduler;
mod unblocker;

mod worker;

mod attempt;
mod doubts;
mod lanes;
mod reserve;
mod sleepers;
mod writer;

mod aside;

mod ends;

mod judge;
mod running;
mod signals;
mod supervise;

mod app;
mod handler;
mod hooks;
mod slots;
mod vacated;

mod panics;

mod problem;

mod perform;

mod cx;
mod link;

mod backoff;
pub mod config;

pub use app::{App, InvalidApp};
pub use backoff::Backoff;
pub use config::Settings;
pub use cx::{Attempt, CompleteError, Cx};
pub use hooks::{JobEvent, ProcessEvent};
pub use perform::{BoxError, Next, Perform, PerformBlocking};
#[doc(hidden)]
pub use process::PLANNER_SETTINGS;
pub use process::{InvalidProcess, Process, ProcessProblem};
pub use queue_core::recurring::{InvalidRecurring, Missed, Overlap, Recurring};
pub use queue_core::{
    Conflict, Enqueued, Job, JobId, Limits, NewJob, OnConflict, Options, Queue, States, Unique,
};
pub use signals::Stop;

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
