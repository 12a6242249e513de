//! Every way a job changes state: a file per verb, and beside it the statement of the same name.
//!
//! | file | arrow |
//! | --- | --- |
//! | [`enqueue`] | new → ready, scheduled or blocked |
//! | `copy` | new → ready or blocked, by COPY |
//! | [`promote`] | scheduled → ready |
//! | [`claim`] | ready → claimed |
//! | [`claim_limited`] | ready → claimed, blocked or finished, for jobs with limits |
//! | [`unblock`](mod@unblock) | blocked → ready |
//! | [`finish`] | claimed → finished (done) |
//! | [`end`](mod@end) | claimed → scheduled, ready, failed or finished, as the run asks |
//! | [`recover`] | claimed → ready, scheduled, failed or finished, of dead processes |
//! | [`cancel`] | scheduled, ready, blocked, failed → finished; claimed jobs are asked to stop |
//! | [`retry_now`] | failed, scheduled → ready, by an operator |
//! | [`clear`] | finished, failed → gone |
//!
//! What ends a run is *fenced*: it names the process and the attempt that the claim was made for,
//! and leaves a row alone that is gone or belongs to another attempt. Each such function returns
//! the jobs whose state it changed; what is missing was lost to somebody else. A call names each run
//! once.
//!
//! Every statement that ends runs (`finish`, `end`, `recover`) is continued by `free.sql`, which
//! removes the slots that the runs held and frees the unique keys that their jobs give up. It reads
//! the part `closed` (`job_id`, `keys`, `slots`, `has_key`, `became`) and answers with the part
//! `answer`.

pub mod claim_limited;
pub mod clear;
pub(crate) mod copy;
pub mod end;
pub mod finish;
pub mod promote;
pub mod recover;
pub mod retry_now;

pub mod claim;
pub mod enqueue;
pub mod unblock;

pub mod cancel;

mod run;

pub(crate) use run::millis;
pub use run::{AttemptError, Became, Claim, Ending, Run};
