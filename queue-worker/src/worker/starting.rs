//! The start loop: starts claimed jobs as slots become free.

use std::sync::{Arc, Weak};

use queue_core::transitions::Run;
use queue_core::transitions::end::End;
use tracing::Instrument as _;

use super::state::Worker;
use crate::attempt::{Completion, Verdict, for_hooks};
use crate::metrics::Share;

/// Starts claimed jobs until the process stops. A slot is taken only once there is a job for it,
/// because a taken slot counts as a running job.
pub(crate) async fn start_jobs<S: Send + Sync + 'static>(worker: Arc<Worker<S>>) {
    loop {
        tokio::select! {
            biased;
            () = worker.shared.stopping.cancelled() => return,
            () = worker.prefetch.is_filled() => {}
        }
        let slot = tokio::select! {
            biased;
            () = worker.shared.stopping.cancelled() => return,
            Ok(slot) = Arc::clone(&worker.slots).acquire_owned() => slot,
        };
        let Some((job, in_flight)) = worker.prefetch.next() else {
            continue;
        };
        let running = Arc::clone(&worker);
        let run = async move {
            let slot = Arc::new((slot, Share::slot_used()));
            let mut completion = running.shared.runner.run(job, in_flight, slot).await;
            completion.prefetch = Arc::downgrade(&running.prefetch);
            running.prefetch.note_end();
            hand_over(&running, completion).await;
        };
        worker.shared.runs.spawn(run.in_current_span());
    }
}

/// Gives back all jobs that have not begun, because the process stops or is quiet.
pub(crate) async fn give_back_all<S>(worker: &Worker<S>) {
    worker.prefetch.close();
    give_back_behind(worker, 0).await;
}

/// Gives back the jobs that have not begun, apart from the first `kept`.
pub(super) async fn give_back_behind<S>(worker: &Worker<S>, kept: usize) {
    for (job, in_flight) in worker.prefetch.take_behind(kept) {
        let verdict = Verdict::End(End::Release);
        let waited = in_flight.ready_since.elapsed();
        let hooks = &worker.shared.runner.hooks;
        let released = Completion {
            run: Run::not_begun(job.claim),
            job: in_flight,
            waited,
            for_hooks: for_hooks(hooks, &verdict, job),
            prefetch: Weak::new(),
            verdict,
        };
        hand_over(worker, released).await;
    }
}

async fn hand_over<S>(worker: &Worker<S>, completion: Completion) {
    // The completer outlives all senders. This fails only when the process abandons its jobs, and
    // then other processes recover them.
    let _abandoned = worker.shared.completions.send(completion).await;
}
