//! Hooks: functions of the application that are called about its jobs and its process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use queue_core::JobId;

/// What a job became after its last run. Hooks get it once that is committed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct JobEvent<'a> {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: &'a str,
    /// Its queue.
    pub queue: &'a str,
    /// The number of its last run.
    pub attempt: i32,
    /// How long that run took.
    pub ran: Duration,
    /// The error of that run, if it had one.
    pub error: Option<&'a str>,
}

/// The start or the stop of a process.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProcessEvent<'a> {
    /// The process's name.
    pub name: &'a str,
}

pub(crate) type JobHook = Arc<dyn Fn(&JobEvent<'_>) + Send + Sync>;
pub(crate) type ProcessHook = Arc<dyn Fn(&ProcessEvent<'_>) + Send + Sync>;

/// The hooks of an application, by event.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) finished: Vec<JobHook>,
    pub(crate) failed: Vec<JobHook>,
    pub(crate) discarded: Vec<JobHook>,
    pub(crate) started: Vec<ProcessHook>,
    pub(crate) stopped: Vec<ProcessHook>,
}

/// Calls hooks about a job. If one panics, the others are called all the same.
pub(crate) fn call_job_hooks(hooks: &[JobHook], event: &JobEvent<'_>) {
    for hook in hooks {
        if panics(|| hook(event)) {
            tracing::error!(
                job_id = %event.job_id,
                kind = event.kind,
                queue = event.queue,
                attempt = event.attempt,
                "a hook panicked",
            );
        }
    }
}

/// Calls hooks about a process, in the same way.
pub(crate) fn call_process_hooks(hooks: &[ProcessHook], event: &ProcessEvent<'_>) {
    for hook in hooks {
        if panics(|| hook(event)) {
            tracing::error!(process = event.name, "a hook panicked");
        }
    }
}

fn panics(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}
