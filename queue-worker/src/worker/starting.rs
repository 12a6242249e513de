//! From the reserve into slots, and out of the process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use queue_core::transitions::Run;
use queue_core::transitions::end::End;

use super::Worker;
use crate::judge::Verdict;
use crate::reserve::Waiting;
use crate::writer::Ended;

impl<S: Send + Sync + 'static> Worker<S> {
    /// Starts claimed jobs as slots become free, until the process stops. A slot is taken only
    /// once there is a job for it: one that is taken counts as running, and not as room.
    pub(crate) async fn start_loop(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return,
                () = self.reserve.is_filled() => {}
            }
            let slot = tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return,
                slot = self.slots.take() => slot,
            };
            let Some((job, held)) = self.reserve.next() else {
                continue;
            };
            let worker = Arc::clone(&self);
            self.shared.runs.spawn(async move {
                let ended = worker.shared.runner.run(job, held, slot).await;
                worker.ended.fetch_add(1, Ordering::Relaxed);
                worker.reserve.note_room();
                worker.hand_over(ended).await;
            });
        }
    }

    /// Gives back what has not begun.
    pub(crate) async fn give_back_reserve(&self) {
        for (job, held) in self.reserve.take_all() {
            self.hand_over(unbegun((job, held))).await;
        }
    }

    async fn hand_over(&self, ended: Ended) {
        // The writer outlives all senders, so this fails only when the process is abandoning its
        // jobs; they are recovered by others then.
        let _abandoned = self.shared.verdicts.send(ended).await;
    }
}

fn unbegun((job, held): Waiting) -> Ended {
    Ended {
        run: Run::unbegun(job.claim),
        held,
        verdict: Verdict::End(End::Release),
    }
}
