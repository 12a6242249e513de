//! Schedules: what is enqueued again and again, when, and what became of each time it was due.
//!
//! A schedule is a row with the next due time that nobody has decided about. Whoever wants to
//! decide locks the row, asks the plan what is to become of the due times until now, writes a
//! firing for each, enqueues the jobs of those firings that were new, and moves the row on: all of
//! it in one transaction. So any number of schedulers may do it at once, and one that is killed
//! half-way leaves everything or nothing.
//!
//! Two things keep a due time from becoming two jobs. The lock lets one scheduler decide at a
//! time; and a firing is unique for its schedule and due time, so that even a plan that was set
//! back (a clock that was, a schedule that was removed and added again) decides nothing twice.
//!
//! Now is always the database's now, as the transaction itself reads it. The clock of the machine
//! that a scheduler runs on decides only how long it sleeps.

mod clear;
mod register;
mod replan;

mod edit;
mod fire;

mod decide;
mod definition;
mod template;

mod policy;

pub use clear::clear_firings;
pub use decide::GRACE;
pub use definition::{InvalidRecurringJob, JITTER_MAX, MISSED_MAX, RecurringJob};
pub use edit::{RecurringError, add, pause, remove, replace, resume, run};
pub use fire::{Fired, Firing, FiringOutcome, JOBS_MAX, Tick, fire_next, next_due};
pub use policy::{Missed, Overlap};
pub use register::{Collision, Registered, declare, register};
pub use replan::replan;
