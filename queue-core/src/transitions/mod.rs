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
//! | [`discard`] | claimed → finished (discarded, cancelled) |
//! | [`retry`] | claimed → scheduled, after an error |
//! | [`snooze`] | claimed → scheduled, as the job asked |
//! | [`fail`] | claimed → failed |
//! | [`release`] | claimed → ready, given back |
//! | [`recover`] | claimed → ready, scheduled, failed or finished, of dead processes |
//! | [`cancel`] | scheduled, ready, blocked, failed → finished; claimed jobs are asked to stop |
//! | [`retry_now`] | failed, scheduled → ready, by an operator |
//! | [`clear`] | finished, failed → gone |
//!
//! What ends a run is *fenced*: it names the process and the attempt that the claim was made for,
//! and leaves a row alone that is gone or belongs to another attempt. Each such function returns
//! the jobs whose state it changed; what is missing was lost to somebody else. A call names each run
//! once.

pub mod cancel;
pub mod claim;
pub mod claim_limited;
pub mod clear;
pub(crate) mod copy;
pub mod discard;
pub mod enqueue;
pub mod fail;
pub mod finish;
pub mod promote;
pub mod recover;
pub mod release;
pub mod retry;
pub mod retry_now;
pub mod snooze;
pub mod unblock;

mod run;

pub(crate) use run::millis;
pub use run::{AttemptError, Claim, Ending, Run};
