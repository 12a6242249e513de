//! Changes that operators and applications make to jobs, queues and limits, as
//! [`inspect`](crate::inspect) reads them. The command line and the dashboard call these functions and
//! show the results.

pub mod jobs;
pub mod limits;
pub mod queues;
