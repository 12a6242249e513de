//! A worker: claims jobs from its queues and runs them, a limited number at once.
//!
//! Three loops share its state. The [claim loop](claiming) claims from above the floors of its
//! lanes whenever there is room; when it finds nothing, it is idle until it is woken or its poll
//! interval is over. The [sweep loop](sweeping) claims from below the floors, on a connection of
//! its own, so that a slow sweep delays no claim. The [start loop](starting) starts claimed jobs as
//! slots become free.

mod claiming;
mod starting;
mod sweeping;

mod claimer;

mod state;

mod gated;
mod lanes;
mod open_transactions;
mod pace;
mod polling;
mod rounds;
mod signals;

pub(crate) mod idle;

pub(crate) use claiming::ClaimLoop;
pub(crate) use starting::{give_back_all, start_jobs};
pub(crate) use state::{Shared, Worker};
pub(crate) use sweeping::SweepLoop;
