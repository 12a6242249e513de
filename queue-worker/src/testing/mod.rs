//! Helps to test jobs.
//!
//! - [`cx`] makes the context for a test that calls `perform` itself, without a database.
//! - [`TestDatabase`] is a database of one test, copied from a template.
//! - [`TestProcess`] runs jobs as a process would: one at a time, and only when the test says so.
//! - [`assert_enqueued`] and [`enqueued`] look at the jobs that wait, also in an open transaction.
//!
//! All of it panics when something is wrong, as tests do.

mod process;

mod context;
mod database;
mod enqueued;

pub use context::{attempt, cx, cx_of};
pub use database::TestDatabase;
pub use enqueued::{assert_enqueued, delay_of, enqueued};
pub use process::{Performed, TestProcess};
pub use queue_core::transitions::Became;
