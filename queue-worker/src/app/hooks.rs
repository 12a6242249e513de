//! Hooks: functions of the application that are called about its jobs and its process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use queue_core::transitions::Became;
use queue_core::{Context, JobId, Outcome, Redaction};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::config::Settings;

/// What a job became, and its last run. Hooks get it once that is committed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct JobEvent<'a> {
    /// The job. Jobs of other shards have the same ids.
    pub job_id: JobId,
    /// The shard it is on, if the queue has shards.
    pub shard: Option<&'a str>,
    /// Its kind.
    pub kind: &'a str,
    /// Its queue.
    pub queue: &'a str,
    /// Its labels.
    pub tags: &'a [String],
    /// Where it comes from. That may be personal data.
    pub context: &'a Context,
    /// Its arguments, as JSON. They may hold personal data.
    pub args: &'a RawValue,
    /// The number of its last run, or 0 if it never ran.
    pub attempt: i32,
    /// The runs that ended in an error.
    pub failures: i16,
    /// The runs that may end in an error before the job fails.
    pub attempts_max: i16,
    /// The error of the last run with its causes, or why the job ended without one.
    pub error: Option<&'a str>,
    /// The backtrace of that error, if there is one.
    pub backtrace: Option<&'a str>,
    /// How long the job waits for its next run, if that follows from its error.
    pub retry_after: Option<Duration>,
    /// How long the job was ready before its last run began. Unknown if it did not run in this
    /// process.
    pub waited: Option<Duration>,
    /// How long its last run took. Unknown if it did not run in this process.
    pub ran: Option<Duration>,
    pub(crate) privacy: &'a Privacy,
}

/// What people must not see of jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Privacy {
    pub(crate) redaction: Redaction,
    /// Whether the user of a context may be shown.
    pub(crate) shows_user: bool,
}

impl Privacy {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            redaction: settings.redact.redaction(),
            shows_user: settings.log.user,
        }
    }
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
    pub(crate) retried: Vec<JobHook>,
    pub(crate) failed: Vec<JobHook>,
    pub(crate) discarded: Vec<JobHook>,
    pub(crate) started: Vec<ProcessHook>,
    pub(crate) stopped: Vec<ProcessHook>,
    pub(crate) privacy: Arc<Privacy>,
    /// The shard about whose jobs they are called, if the queue has shards.
    pub(crate) shard: Option<Arc<str>>,
}

impl Hooks {
    /// Returns whether any hook is called about jobs that did not succeed.
    pub(crate) fn need_errors(&self) -> bool {
        let hooks = [&self.retried, &self.failed, &self.discarded];
        hooks.iter().any(|hooks| !hooks.is_empty())
    }

    /// Calls the hooks about what a job became. If one panics, the others are called all the same.
    pub(crate) fn call(&self, became: Became, event: &JobEvent<'_>) {
        let (name, hooks) = match became {
            Became::Finished(Outcome::Done) => ("on_finished", &self.finished),
            Became::Finished(_) => ("on_discarded", &self.discarded),
            Became::Failed => ("on_failed", &self.failed),
            // Without an error the job was snoozed or given back.
            Became::Scheduled | Became::Ready if event.error.is_none() => return,
            Became::Scheduled | Became::Ready => ("on_retried", &self.retried),
        };
        for hook in hooks {
            if panics(|| hook(event)) {
                tracing::error!(
                    hook = name,
                    job_id = %event.job_id,
                    kind = event.kind,
                    queue = event.queue,
                    attempt = event.attempt,
                    "a hook panicked",
                );
            }
        }
    }
}

/// Calls hooks about a process, one after the other, until `given_up` is ready. Each has a thread of its
/// own, so that one that never returns keeps neither the process nor its runtime from ending.
pub(crate) async fn call_process_hooks(
    name: &'static str,
    hooks: &[ProcessHook],
    process: &str,
    given_up: impl Future<Output = ()>,
) {
    let calling = async {
        for hook in hooks {
            if panics_on_a_thread(Arc::clone(hook), process.to_owned()).await {
                tracing::error!(hook = name, process, "a hook panicked");
            }
        }
    };
    tokio::select! {
        () = calling => {}
        () = given_up => tracing::warn!(hook = name, process, "a hook did not return in time"),
    }
}

async fn panics_on_a_thread(hook: ProcessHook, process: String) -> bool {
    let (ended, has_panicked) = oneshot::channel();
    let runtime = Handle::current();
    thread::spawn(move || {
        let _runtime = runtime.enter();
        let _given_up = ended.send(panics(|| hook(&ProcessEvent { name: &process })));
    });
    has_panicked.await.unwrap_or(true)
}

pub(super) fn panics(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}
