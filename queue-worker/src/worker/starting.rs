//! From the reserve into slots, and out of the process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use queue_core::transitions::Run;
use queue_core::transitions::end::End;

use super::Worker;
use super::prefetch::Waiting;
use crate::attempt::{Completion, Verdict};

impl<S: Send + Sync + 'static> Worker<S> {
    /// Starts claimed jobs as slots become free, until the process stops. A slot is taken only
    /// once there is a job for it: one that is taken counts as running, and not as room.
    pub(crate) async fn start_loop(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return,
                () = self.prefetch.is_filled() => {}
            }
            let slot = tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return,
                slot = self.slots.take() => slot,
            };
            let Some((job, in_flight)) = self.prefetch.next() else {
                continue;
            };
            let worker = Arc::clone(&self);
            self.shared.runs.spawn(async move {
                let completion = worker.shared.runner.run(job, in_flight, slot).await;
                worker.ended.fetch_add(1, Ordering::Relaxed);
                worker.prefetch.note_room();
                worker.hand_over(completion).await;
            });
        }
    }

    /// Gives back what has not begun.
    pub(crate) async fn give_back_prefetched(&self) {
        for (job, in_flight) in self.prefetch.take_all() {
            self.hand_over(unbegun((job, in_flight))).await;
        }
    }

    async fn hand_over(&self, completion: Completion) {
        // The completer outlives all senders, so this fails only when the process is abandoning its
        // jobs; they are recovered by others then.
        let _abandoned = self.shared.completions.send(completion).await;
    }
}

fn unbegun((job, in_flight): Waiting) -> Completion {
    Completion {
        run: Run::unbegun(job.claim),
        job: in_flight,
        verdict: Verdict::End(End::Release),
    }
}
