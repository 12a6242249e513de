//! One life of a process: from its registration until it is told to stop, or may be taken for
//! dead.

use std::sync::Arc;
use std::time::Duration;

use queue_core::process::ProcessId;
use queue_core::transitions::end::release;
use queue_core::transitions::unblock::unblock;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::parts::{Parts, start};
use super::{LAST_WORDS, Process};
use crate::attempt::StopReason;
use crate::services::heartbeat::Lost;
use crate::stop::Stop;
use crate::worker::{Shared, Worker, give_back_prefetched};

/// Why a life is over.
enum Over {
    /// The process was told to stop.
    Asked,
    /// It is dead to others, or will be soon.
    Lost(Lost),
    /// What it does could not be written any more.
    CompleterFailed,
}

struct Life<'a, S> {
    process: &'a Process<S>,
    id: ProcessId,
    /// What the whole process is told.
    stop: &'a Stop,
    /// What the runs of this life are told: to end at once, sooner than the process if need be.
    runs: Stop,
    parts: Parts<S>,
}

/// Runs everything until the life is over, and lets go of everything at its end.
pub(super) async fn live<S>(process: &Process<S>, id: ProcessId, stop: &Stop)
where
    S: Send + Sync + 'static,
{
    let runs = stop.for_one_life();
    let mut life = Life {
        process,
        id,
        stop,
        parts: start(process, id, &runs),
        runs,
    };
    let over = life.over().await;
    let shared = &life.parts.shared;
    shared.stopping.cancel();
    shared.runs.close();
    match over {
        Over::Asked => {
            tracing::info!(jobs = shared.in_flight.count(), "stopping");
            life.let_jobs_finish().await;
        }
        Over::Lost(lost) => report(lost),
        Over::CompleterFailed => {
            tracing::error!("the completer failed: starting over");
        }
    }
    life.let_go().await;
    life.part().await;
}

impl<S: Send + Sync + 'static> Life<'_, S> {
    async fn over(&mut self) -> Over {
        tokio::select! {
            () = self.stop.asked() => Over::Asked,
            // A heartbeat that panicked cannot say that we live.
            lost = &mut self.parts.heartbeat => Over::Lost(lost.unwrap_or(Lost::Silent)),
            _ended = &mut self.parts.completer => Over::CompleterFailed,
        }
    }

    /// Gives back what has not begun, and waits for the rest as long as it may take.
    async fn let_jobs_finish(&mut self) {
        let parts = &mut self.parts;
        tokio::select! {
            () = jobs_ended(&mut parts.worker_loops, &parts.workers, &parts.shared) => {}
            () = tokio::time::sleep(self.process.settings.process.shutdown_timeout) => {}
            () = self.stop.asked_at_once() => {}
            _lost = &mut parts.heartbeat => {}
            _ended = &mut parts.completer => {}
        }
    }

    /// Interrupts what still runs, and drops it after a period of grace. The grace ends before
    /// others may take the jobs over.
    async fn let_go(&mut self) {
        let parts = &mut self.parts;
        let jobs = parts.shared.runs.len();
        if jobs > 0 {
            tracing::warn!(jobs, "interrupting what still runs");
        }
        parts.shared.in_flight.stop_all(StopReason::Interrupted);
        let settings = &self.process.settings.process;
        let grace = settings.cancel_grace.min(settings.dead_after / 4);
        let ended = jobs_ended(&mut parts.worker_loops, &parts.workers, &parts.shared);
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => return,
            () = tokio::time::sleep(grace) => {}
            () = self.stop.asked_at_once() => {}
        }
        self.runs.at_once();
        let _some_block_their_thread = timeout(LAST_WORDS / 2, ended).await;
    }

    /// Lets the completer record what is left, gives back what never reported, and takes its leave.
    async fn part(mut self) {
        for service in &self.parts.services {
            service.abort();
        }
        self.parts.closing.cancel();
        let grace = self.process.settings.process.cancel_grace;
        let is_written = tokio::select! {
            () = ended(&mut self.parts.completer) => true,
            // Without a stop the process lives on, and can wait for the database.
            () = patience_with_the_database(self.stop, grace) => false,
        };
        self.parts.heartbeat.abort();
        if !is_written {
            self.parts.completer.abort();
            tracing::error!(
                "could not record the outcomes of all jobs; other processes will recover these jobs"
            );
            return;
        }
        self.release_the_rest().await;
        self.let_others_go_on().await;
        self.process.deregister(self.id).await;
    }

    async fn release_the_rest(&self) {
        let claims = self.parts.shared.in_flight.claims();
        if claims.is_empty() {
            return;
        }
        let schema = self.process.queue.schema();
        let given_back = self
            .process
            .try_once(async |conn| release(conn, schema, self.id, &claims).await)
            .await;
        match given_back {
            Ok(jobs) => tracing::warn!(jobs = jobs.len(), "gave back jobs that did not stop"),
            Err(error) => tracing::warn!(%error, "could not give back jobs that did not stop"),
        }
    }

    /// Looks who may go on in other processes, for the slots that the last runs have freed.
    async fn let_others_go_on(&self) {
        let taken = self.parts.shared.freed_keys.take();
        let keys = taken.rest();
        if keys.is_empty() {
            return;
        }
        let schema = self.process.queue.schema();
        let looked = self
            .process
            .try_once(async |conn| unblock(conn, schema, keys).await);
        if let Err(error) = looked.await {
            tracing::debug!(%error, "could not look for jobs that have room now; another process will");
        }
    }
}

/// Waits for the claims that are under way, gives back what waits for a slot, and waits for the runs.
async fn jobs_ended<S: Send + Sync + 'static>(
    loops: &mut Vec<JoinHandle<()>>,
    workers: &[Arc<Worker<S>>],
    shared: &Shared<S>,
) {
    while let Some(last) = loops.last_mut() {
        let _ended = last.await;
        loops.pop();
    }
    for worker in workers {
        give_back_prefetched(worker).await;
    }
    shared.runs.wait().await;
}

/// Waits for a task that may have been waited for already.
async fn ended(task: &mut JoinHandle<()>) {
    if !task.is_finished() {
        let _however = task.await;
    }
}

async fn patience_with_the_database(stop: &Stop, grace: Duration) {
    stop.asked().await;
    tokio::select! {
        () = tokio::time::sleep(grace) => {}
        () = async {
            stop.asked_at_once().await;
            tokio::time::sleep(LAST_WORDS).await;
        } => {}
    }
}

fn report(lost: Lost) {
    match lost {
        Lost::DeclaredDead => tracing::error!(
            "this process was declared dead by another: its jobs are stopped, and it starts over"
        ),
        Lost::Silent => tracing::error!(
            "no heartbeat could be written for so long that others may take the jobs of this \
             process: they are stopped, and it starts over"
        ),
    }
}
