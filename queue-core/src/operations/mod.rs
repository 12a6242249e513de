//! What operators and applications change from outside: jobs, queues and limits.
//!
//! Where [`inspect`](crate::inspect) shows, this changes. The command line and pages only ask,
//! call this, and show what came of it.

pub mod jobs;
pub mod limits;
pub mod queues;
