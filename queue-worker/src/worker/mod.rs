//! A worker: claims jobs from its queues and runs them, a limited number at once.
//!
//! Three loops share its state. One [claims](claiming) whenever there is room, from above the floors
//! of its lanes; when nothing is there, it sleeps until it is woken or it is time to look again. One
//! [sweeps](sweeping) below the floors, on a connection of its own, so that a slow sweep stands in no
//! claim's way. One [starts](starting) what has been claimed, as slots become free.

mod claiming;
mod starting;
mod sweeping;

mod claimer;

mod state;

mod gated;
mod lanes;
mod open_transactions;
mod polling;
mod prefetch;
mod reconcile;
mod signals;

pub(crate) mod idle;

pub(crate) use claiming::ClaimLoop;
pub(crate) use starting::{give_back_prefetched, start_jobs};
pub(crate) use state::{Shared, Worker};
pub(crate) use sweeping::SweepLoop;
