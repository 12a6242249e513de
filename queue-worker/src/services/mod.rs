//! The services of a process: what it does besides running jobs, each on a connection of its own.

pub(crate) mod dispatcher;
pub(crate) mod heartbeat;
pub(crate) mod listener;
pub(crate) mod maintenance;
pub(crate) mod scheduler;
pub(crate) mod unblocker;

pub(crate) mod supervision;
