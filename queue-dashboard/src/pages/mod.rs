//! The pages. Each reads with its own connection and changes nothing.
//!
//! Modules stand in order: each uses only those below it.

pub(crate) mod audit;
pub(crate) mod cause;
pub(crate) mod help;
pub(crate) mod job;
pub(crate) mod many;
pub(crate) mod schedule;
pub(crate) mod tenants;

pub(crate) mod confirm;
pub(crate) mod jobs;
pub(crate) mod overview;
pub(crate) mod recurring;

pub(crate) mod batches;
pub(crate) mod limits;

mod batch_graph;

pub(crate) mod failures;
pub(crate) mod operation;
pub(crate) mod queues;

pub(crate) mod needs;
pub(crate) mod parts;
pub(crate) mod processes;
