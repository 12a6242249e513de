//! One run of one job: the jobs in flight, the run itself, and the verdict on it.

mod runner;

mod trace;

mod judge;

mod prefetch;

mod in_flight;
mod logged;

mod handover;
mod reconcile;

pub(crate) use handover::Handover;
pub(crate) use in_flight::{InFlight, InFlightJob, StopReason};
pub(crate) use judge::Verdict;
pub(crate) use logged::Logged;
pub(crate) use prefetch::Prefetch;
pub(crate) use runner::{Completion, Runner, for_hooks};
