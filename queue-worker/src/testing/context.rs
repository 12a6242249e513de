//! The context of a run, for tests that call `perform` themselves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use chrono::Utc;
use queue_core::process::ProcessId;
use queue_core::{Context, JobId, Queue};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::checkpoints::{RunSteps, StepService};
use crate::app::context::{Attempt, Cx, RunContext};
use crate::stop::Stop;

/// Returns the facts of the first of ten attempts. Tests may change its fields.
pub fn attempt() -> Attempt {
    Attempt {
        job_id: JobId(1),
        shard: None,
        kind: "test".to_owned(),
        queue: "default".to_owned(),
        priority: 0,
        tags: Vec::new(),
        number: 1,
        failures: 0,
        attempts_max: 10,
        crashes: 0,
        created_at: Utc::now(),
        ready_at: Utc::now(),
    }
}

/// Makes the context of a first attempt. There is no database behind its queue. Cancel its token to ask
/// the job to stop.
///
/// ```
/// # use queue_worker::{Cx, Job, Perform, testing};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Import;
/// # impl Job for Import { const KIND: &'static str = "import"; }
/// # impl Perform<()> for Import {
/// #     type Error = &'static str;
/// #     async fn perform(self, cx: Cx<()>) -> Result<(), &'static str> {
/// #         if cx.is_cancelled() { Err("interrupted") } else { Ok(()) }
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cx = testing::cx(());
/// cx.token().cancel();
/// assert_eq!(Import.perform(cx).await, Err("interrupted"));
/// # }
/// ```
pub fn cx<S>(state: S) -> Cx<S> {
    let nowhere = PgConnectOptions::new_without_pgpass().socket("/no-database-in-this-test");
    let pool = PgPoolOptions::new()
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(nowhere);
    cx_of(state, Queue::new(pool), attempt())
}

/// Makes the context of an attempt. [`Cx::complete_in`] finds the job lost, because no process has
/// claimed it. Its context is the current one. Its steps do their work and are not recorded, and it does not sleep.
pub fn cx_of<S>(state: S, queue: Queue, attempt: Attempt) -> Cx<S> {
    let run = RunContext {
        state: Arc::new(state),
        context: Context::ambient().unwrap_or_default(),
        queue,
        process: ProcessId::new(),
        claim: None,
        keys: None,
        attempt,
        token: CancellationToken::new(),
        started: Instant::now(),
        has_completed: AtomicBool::new(false),
        steps: RunSteps::default(),
        steps_shared: Arc::new(StepService {
            checkpoints: mpsc::channel(1).0,
            unwritten: Arc::default(),
            stop: Stop::new(),
            is_sleep_short: true,
        }),
    };
    Cx {
        inner: Arc::new(run),
    }
}
