//! Changes that operators and applications make to jobs, queues, limits and processes, as
//! [`inspect`](crate::inspect) reads them. The command line and the dashboard call these functions and
//! show the results.
//!
//! Modules stand in order: each uses only those below it.

pub mod many;

pub mod jobs;
pub mod keys;
pub mod limits;
pub mod processes;
pub mod queues;
pub mod tenants;

pub mod audit;
pub mod signing_key;
