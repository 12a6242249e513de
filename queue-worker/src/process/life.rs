//! One life of a process: from its registration until it is asked to stop, or may be presumed dead.

use std::sync::Arc;
use std::time::Duration;

use queue_core::batches::{of_jobs, settle_all};
use queue_core::process::ProcessId;
use queue_core::transitions::end::release_unknown;
use queue_core::transitions::unblock::unblock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::parts::{Parts, start};
use super::served::{EXIT_TIMEOUT, Served};
use crate::app::State;
use crate::attempt::StopReason;
use crate::completer::News;
use crate::config::ProcessSettings;
use crate::connection::{Target, logged};
use crate::services::heartbeat::Lost;
use crate::stop::Stop;
use crate::worker::{Shared, Worker, give_back_all};

/// The share of the shutdown timeout that jobs may have at most to heed their interruption, and that
/// recording the outcomes may have.
const SHARES: u32 = 4;

/// How long a process that stops waits for its last claims once no job runs.
const CLAIM_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an operation may take once no heartbeat tests whether connections were cut.
const UNTESTED_MAX: Duration = Duration::from_secs(5);

struct Life<'a, S> {
    served: &'a Served<S>,
    id: ProcessId,
    /// Stops the whole process.
    stop: &'a Stop,
    /// Stops the runs of this life, if need be sooner than the process.
    runs: Stop,
    parts: Parts<S>,
    /// When the process should be gone, once it was asked to stop.
    deadline: Option<Instant>,
}

/// Runs all parts until the life ends, then stops the jobs and gives back the rest. Returns when the
/// process should be gone, if it was asked to stop.
pub(super) async fn live<S: State>(
    served: &Served<S>,
    id: ProcessId,
    stop: &Stop,
) -> Option<Instant> {
    let runs = stop.child();
    let mut life = Life {
        served,
        id,
        stop,
        parts: start(served, id, stop, &runs),
        runs,
        deadline: None,
    };
    let is_asked = life.wait_for_end().await;
    let shared = &life.parts.shared;
    shared.stopping.cancel();
    shared.runs.close();
    if is_asked {
        tracing::info!(jobs = shared.in_flight.count(), "stopping");
        served.health.note_stop();
        life.deadline = Some(Instant::now() + life.settings().shutdown_timeout);
        life.let_jobs_finish().await;
    }
    life.interrupt_jobs().await;
    let deadline = life.deadline;
    life.close().await;
    deadline
}

impl<S: State> Life<'_, S> {
    /// Waits for the end of the life. Returns whether the process was asked to stop; otherwise a new
    /// life begins.
    async fn wait_for_end(&mut self) -> bool {
        tokio::select! {
            () = self.stop.asked() => return true,
            // Without a heartbeat, others will presume this process dead.
            lost = &mut self.parts.heartbeat => report(lost.unwrap_or(Lost::Silent)),
            _ended = &mut self.parts.completer => {
                tracing::error!("the completer failed; starting over");
            }
        }
        false
    }

    fn settings(&self) -> &ProcessSettings {
        &self.served.settings.process
    }

    /// Returns how long an interrupted job may go on. It ends before other processes may recover it.
    fn grace(&self) -> Duration {
        let settings = self.settings();
        let grace = settings.cancel_grace.min(settings.dead_after / SHARES);
        match self.deadline {
            Some(_) => grace.min(settings.shutdown_timeout / SHARES),
            None => grace,
        }
    }

    /// Gives back jobs that have not begun, and waits for the others, as long as the shutdown timeout
    /// leaves time to interrupt them and to record their outcomes.
    async fn let_jobs_finish(&mut self) {
        let timeout = self.settings().shutdown_timeout;
        let recording = (EXIT_TIMEOUT + EXIT_TIMEOUT / 2).min(timeout / SHARES);
        let finishing = timeout - self.grace() - recording;
        let parts = &mut self.parts;
        tokio::select! {
            () = jobs_ended(&mut parts.worker_loops, &parts.workers, &parts.shared) => {}
            () = sleep(finishing) => {}
            () = self.stop.asked_at_once() => {}
            _lost = &mut parts.heartbeat => {}
            _ended = &mut parts.completer => {}
        }
    }

    /// Interrupts the jobs that still run, and drops them after a grace period.
    async fn interrupt_jobs(&mut self) {
        let grace = self.grace();
        let parts = &mut self.parts;
        let jobs = parts.shared.runs.len();
        if jobs > 0 {
            tracing::warn!(jobs, "interrupting the jobs that still run");
        }
        parts.shared.in_flight.stop_all(StopReason::Interrupted);
        let ended = jobs_ended(&mut parts.worker_loops, &parts.workers, &parts.shared);
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => return,
            () = sleep(grace) => {}
            () = self.stop.asked_at_once() => {}
        }
        self.runs.at_once();
        let _blocked_threads_may_go_on = timeout(EXIT_TIMEOUT / 2, ended).await;
    }

    /// Waits for the completer, gives back the jobs that did not stop, and removes the process.
    async fn close(mut self) {
        for service in &self.parts.services {
            service.abort();
        }
        self.parts.closing.cancel();
        let is_written = tokio::select! {
            () = ended(&mut self.parts.completer) => true,
            never = replace_connections(&self.served.target) => never,
            // Unless the process stops, it can wait for the database.
            () = stopped_for_long(self.stop, self.deadline) => false,
        };
        self.parts.heartbeat.abort();
        if !is_written {
            self.parts.completer.abort();
            tracing::error!(
                "could not record the outcomes of all jobs; other processes will recover these jobs"
            );
            return;
        }
        let leaving = async {
            self.release_remaining().await;
            self.settle_batches().await;
            self.unblock_others().await;
            self.served.append_counts().await;
            self.served.deregister(self.id).await;
            self.parts.connection.close().await;
        };
        let _others_will_recover = timeout(EXIT_TIMEOUT, leaving).await;
    }

    /// Gives back all claims of this life: also those whose answer was lost or not waited for.
    async fn release_remaining(&self) {
        let schema = self.served.queue.schema();
        let given_back = self
            .served
            .try_once(async |conn| release_unknown(conn, schema, self.id, &[]).await)
            .await;
        match given_back {
            Ok(jobs) if jobs.is_empty() => {}
            Ok(jobs) => tracing::warn!(jobs = jobs.len(), "gave back jobs that did not stop"),
            Err(error) => tracing::warn!(
                error = %logged(&error),
                "could not give back jobs that did not stop",
            ),
        }
    }

    /// Settles the batches whose last jobs were the last runs. Otherwise a sweep would find them up to a minute
    /// later.
    async fn settle_batches(&self) {
        let News { mut ended, others } = self.parts.shared.ended_in_batches.take();
        if ended.is_empty() && others.is_empty() {
            return;
        }
        let schema = self.served.queue.schema();
        let settling = self.served.try_once(async |conn| {
            ended.extend(of_jobs(conn, schema, &others).await?);
            settle_all(conn, schema, ended).await
        });
        if let Err(error) = settling.await {
            let error = logged(&error);
            tracing::debug!(error, "could not settle batches; another process will");
        }
    }

    /// Checks the keys that the last runs have freed: their blocked jobs may run in other
    /// processes.
    async fn unblock_others(&self) {
        let taken = self.parts.shared.freed_keys.take();
        let keys = taken.rest();
        if keys.is_empty() {
            return;
        }
        let schema = self.served.queue.schema();
        let unblocked = self
            .served
            .try_once(async |conn| unblock(conn, schema, keys).await);
        if let Err(error) = unblocked.await {
            let error = logged(&error);
            tracing::debug!(error, "could not unblock jobs; another process will");
        }
    }
}

/// Waits for the claims that are under way, gives back the prefetched jobs, and waits for the runs.
async fn jobs_ended<S: State>(
    loops: &mut Vec<JoinHandle<()>>,
    workers: &[Arc<Worker<S>>],
    shared: &Shared<S>,
) {
    tokio::select! {
        () = loops_ended(loops) => {}
        () = no_run_for_long(shared) => abort(loops).await,
    }
    for worker in workers {
        give_back_all(worker).await;
    }
    shared.runs.wait().await;
}

async fn loops_ended(loops: &mut Vec<JoinHandle<()>>) {
    while let Some(last) = loops.last_mut() {
        let _ended = last.await;
        loops.pop();
    }
}

/// Waits until the last run has ended and the database has had time to answer the claims under way.
async fn no_run_for_long<S>(shared: &Shared<S>) {
    shared.runs.wait().await;
    sleep(CLAIM_TIMEOUT).await;
}

async fn abort(loops: &mut Vec<JoinHandle<()>>) {
    for task in &*loops {
        task.abort();
    }
    loops_ended(loops).await;
}

/// Gives up on operations that take too long, again and again, so that they are repeated on new connections.
async fn replace_connections(target: &Target) -> ! {
    loop {
        sleep(UNTESTED_MAX).await;
        target.cuts().add();
    }
}

/// Waits for a task that may have been waited for already.
async fn ended(task: &mut JoinHandle<()>) {
    if !task.is_finished() {
        let _panicked = task.await;
    }
}

/// Waits until the process was asked to stop and the database has had time to answer: at least
/// [`EXIT_TIMEOUT`] from now on, and until the deadline.
pub(super) async fn stopped_for_long(stop: &Stop, deadline: Option<Instant>) {
    let least = Instant::now() + EXIT_TIMEOUT;
    stop.asked().await;
    let until = deadline.map_or_else(
        || Instant::now() + EXIT_TIMEOUT,
        |deadline| deadline.max(least),
    );
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        () = async {
            stop.asked_at_once().await;
            sleep(EXIT_TIMEOUT).await;
        } => {}
    }
}

fn report(lost: Lost) {
    match lost {
        Lost::DeclaredDead => tracing::error!(
            "another process declared this one dead; stopping its jobs and starting over"
        ),
        Lost::Silent => tracing::error!(
            "no heartbeat could be written for so long that other processes may recover the jobs \
             of this one; stopping them and starting over"
        ),
    }
}
