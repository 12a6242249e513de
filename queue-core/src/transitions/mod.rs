//! Every way a job changes state: a file per verb, and beside it the statement of the same name.
//!
//! | file | arrow |
//! | --- | --- |
//! | [`enqueue`] | new → ready, scheduled or blocked |
//! | `copy` | new → ready or blocked, by COPY |
//! | [`promote`] | scheduled → ready |
//! | [`wake`] | scheduled → ready, for jobs that wait for an event |
//! | [`claim`] | ready → claimed |
//! | [`claim_fair`] | ready → claimed, for jobs of tenants that take turns |
//! | [`claim_limited`] | ready → claimed, blocked or finished, for jobs with limits, as `admit` decides |
//! | [`unblock`](mod@unblock) | blocked → ready |
//! | [`finish`] | claimed → finished (done) |
//! | [`hand_over`](mod@hand_over) | claimed → finished (done), and blocked → claimed in its slot |
//! | [`end`](mod@end) | claimed → scheduled, ready, failed or finished, as the run asks |
//! | [`recover`] | claimed → ready, scheduled, failed or finished, for dead processes |
//! | [`cancel`] | scheduled, ready, blocked, failed → finished; claimed jobs are asked to cancel |
//! | [`retry_now`] | failed, scheduled → ready, by an operator |
//! | [`reschedule`](mod@reschedule) | scheduled, ready, blocked → scheduled; scheduled → ready |
//! | [`prioritize`](mod@prioritize) | scheduled, ready and blocked jobs change their priority |
//! | [`clear`] | finished, failed → gone |
//!
//! A transition that ends runs is *fenced*: it names the process and the attempt of the claim, and does
//! not touch a row that belongs to another attempt. It returns the jobs whose state it changed; the
//! others no longer belonged to the process. A call names each run once.
//!
//! Every statement that ends runs (`finish`, `hand_over`, `end`, `recover`) is continued by `free.sql`, which
//! removes the slots of the runs and frees the unique keys of their jobs. It reads the part `ended`
//! (`job_id`, `keys`, `slots`, `has_key`, `became`) and returns the part `answer`. Every claim is
//! continued by `claimed_jobs.sql`.

pub mod claim_fair;
pub mod claim_limited;
pub mod clear;
pub(crate) mod copy;
pub mod end;
pub mod finish;
pub mod hand_over;
pub mod prioritize;
pub mod promote;
pub mod recover;
pub mod reschedule;
pub mod retry_now;
pub mod wake;

pub mod claim;
pub mod unblock;

pub mod enqueue;

pub mod cancel;
pub mod facts;

mod admit;
mod job_columns;
mod run;

pub use job_columns::with_job_columns;
pub use run::{AttemptError, Became, Claim, Ending, Run};
pub(crate) use run::{due, millis};
