//! The services of a process: what it does besides running jobs, most on a connection that they share.

pub(crate) mod batches;
pub(crate) mod dispatcher;
pub(crate) mod events;
pub(crate) mod heartbeat;
pub(crate) mod listener;
pub(crate) mod maintenance;
pub(crate) mod scheduler;
pub(crate) mod unblocker;

pub(crate) mod supervision;
