//! Recurring jobs: jobs that are enqueued on a schedule, and a record of each due time.
//!
//! A recurring job is a row with a plan, `next_at`: its first due time that is not decided yet. A
//! scheduler locks the row, decides which due times until now become jobs, writes a firing for
//! each, enqueues a job for each new firing, and moves the plan on, all in one transaction. So any
//! number of schedulers can run at once, and one that is killed leaves nothing half-done.
//!
//! Two things prevent two jobs for one due time. The lock lets one scheduler decide at a time. And
//! a firing is unique for its recurring job and due time, so no due time is decided twice even if
//! the plan moves back: the clock was set back, or the recurring job was removed and added again.
//!
//! Now is always the database's clock, as the transaction reads it. The clock of a scheduler's
//! machine only determines how long the scheduler sleeps.

mod clear;
mod register;
mod replan;

mod edit;
mod fire;

mod decide;
mod definition;
mod template;

mod kinds;

mod policy;

pub use clear::clear_firings;
pub use decide::GRACE;
pub use definition::{InvalidRecurringJob, JITTER_MAX, MISSED_MAX, RecurringJob};
pub use edit::{RecurringError, add, change, pause, remove, replace, resume, run};
pub use fire::{Fired, Firing, FiringOutcome, JOBS_MAX, Tick, fire_next, next_due};
pub use kinds::{Kinds, NewJobOf};
pub use policy::{Missed, Overlap};
pub use register::{Collision, Registered, declare, register};
pub use replan::replan;
