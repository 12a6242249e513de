//! The claim loop: ready → claimed or blocked, whenever there is room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::transitions::end::release_unknown;
use tokio::sync::{MutexGuard, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::claimer::{Claimer, Found};
use super::polling::{POLL_GAP, Polling};
use super::prefetch::Pace;
use super::starting::give_back_prefetched;
use super::state::Worker;
use crate::connection::Connection;

/// How long prefetched jobs may wait while no run ends, before they are given back.
const PREFETCH_WAIT_MAX: Duration = Duration::from_millis(500);

/// A notification that leads to no job, so soon after a claim that found some, was about those.
const STALE_NEWS: Duration = Duration::from_millis(10);

/// How long a worker that polls may have no room before it leaves polling to other processes.
const FULL_MAX: Duration = Duration::from_millis(5);

/// Claims jobs until the process stops.
pub(crate) struct ClaimLoop<S> {
    claimer: Claimer<S>,
    pace: Pace,
    /// Changes when freed keys were checked, which may have unblocked jobs.
    freed_keys: watch::Receiver<usize>,
    woken_by: WokenBy,
    found_at: Instant,
}

/// Why a worker looks for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WokenBy {
    /// It was notified that there may be some.
    News,
    /// Its poll interval is over.
    Interval,
    /// It has just found some, or freed keys were checked.
    Nothing,
}

impl<S: Send + Sync + 'static> ClaimLoop<S> {
    pub(crate) fn new(worker: Arc<Worker<S>>, connection: Connection) -> Self {
        Self {
            pace: Pace::new(worker.prefetch.ended(), Instant::now()),
            freed_keys: worker.shared.freed_keys.watch_checks(),
            woken_by: WokenBy::Nothing,
            found_at: Instant::now(),
            claimer: Claimer { worker, connection },
        }
    }

    pub(crate) async fn run(mut self) -> Result<(), sqlx::Error> {
        let worker = Arc::clone(&self.claimer.worker);
        let mut polling = worker.polling.lock().await;
        // An error may have ended the loop while it polled.
        stop_polling(&worker, &mut polling).await?;
        // Without the lanes, the first claim would not take the most urgent jobs.
        self.claimer.learn_lanes().await?;
        while !worker.is_stopping() {
            self.claim_once(&worker, &mut polling).await?;
        }
        stop_polling(&worker, &mut polling).await?;
        self.claimer.connection.close().await;
        Ok(())
    }

    /// Waits for room, claims, and waits for more jobs when there were few or none.
    async fn claim_once(
        &mut self,
        worker: &Worker<S>,
        polling: &mut MutexGuard<'_, Polling>,
    ) -> Result<(), sqlx::Error> {
        let room = self.wait_for_room(worker, polling).await?;
        if worker.is_stopping() {
            return Ok(());
        }
        self.freed_keys.mark_unchanged();
        if let Some(owed) = worker.floors.take_owed()
            && self.claimer.claim_below(owed, room).await? > 0
        {
            return Ok(());
        }
        let found = self.claimer.claim_above(room).await?;
        let now = Instant::now();
        note_traffic(worker, polling, &found, room, now);
        if found.count > 0 {
            (self.woken_by, self.found_at) = (WokenBy::Nothing, now);
        }
        let is_dense = polling.is_dense();
        if found.count >= room || (found.count > 0 && !is_dense) {
            return Ok(());
        }
        let is_stale = self.woken_by == WokenBy::News && now - self.found_at < STALE_NEWS;
        self.look_below(worker, is_stale);
        self.woken_by = if is_dense && may_poll(worker, polling).await? {
            self.wait(worker, POLL_GAP, WokenBy::Nothing).await
        } else if is_stale {
            // If the next claim does not find the job of the notification, a sweep does.
            self.wait(worker, STALE_NEWS, WokenBy::News).await
        } else {
            self.idle(worker, room, polling).await?
        };
        Ok(())
    }

    /// Asks for a look below the floors, because a claim above them found nothing.
    fn look_below(&self, worker: &Worker<S>, is_stale: bool) {
        if self.woken_by == WokenBy::News {
            worker.signals.late.notify_one();
        }
        if self.woken_by == WokenBy::Interval || (self.woken_by == WokenBy::News && !is_stale) {
            worker.signals.sweep.notify_one();
        }
    }

    /// Waits until there is room for a claim worth its round trip, and returns how much.
    async fn wait_for_room(
        &mut self,
        worker: &Worker<S>,
        polling: &mut Polling,
    ) -> Result<usize, sqlx::Error> {
        let began = Instant::now();
        loop {
            self.reconcile(worker).await?;
            let ended = worker.prefetch.ended();
            self.pace.observe(ended, Instant::now());
            let target = self.pace.prefetch().min(worker.affordable());
            worker.prefetch.set_target(target);
            let room = worker.room(target);
            if room > target / 2 || worker.is_stopping() {
                return Ok(room);
            }
            let is_polling = !polling.polled.is_empty();
            tokio::select! {
                () = worker.shared.stopping.cancelled() => return Ok(0),
                () = sleep_until((began + FULL_MAX).into()), if is_polling => {
                    stop_polling(worker, polling).await?;
                }
                waited = timeout(PREFETCH_WAIT_MAX, worker.prefetch.has_room()) => {
                    if waited.is_err() && worker.prefetch.ended() == ended {
                        worker.prefetch.note_stalled();
                        give_back_prefetched(worker).await;
                    }
                }
            }
        }
    }

    /// If it is time, gives back the jobs that are claimed for this process but not in flight in
    /// it.
    async fn reconcile(&mut self, worker: &Worker<S>) -> Result<(), sqlx::Error> {
        if !worker.reconcile_timer.is_due(Instant::now()) {
            return Ok(());
        }
        let shared = &*worker.shared;
        let _no_claims_meanwhile = shared.claiming.write().await;
        let began = Instant::now();
        let known = shared.in_flight.claims();
        let released = self
            .claimer
            .connection
            .run(async |conn| release_unknown(conn, &shared.schema, shared.process, &known).await)
            .await?;
        if !released.is_empty() {
            tracing::warn!(
                jobs = released.len(),
                "gave back jobs whose claim was committed but never answered"
            );
        }
        worker.reconcile_timer.note_reconciled(began);
        Ok(())
    }

    /// Is idle until woken, or until the poll interval is over.
    async fn idle(
        &mut self,
        worker: &Worker<S>,
        room: usize,
        polling: &mut Polling,
    ) -> Result<WokenBy, sqlx::Error> {
        let idle = &worker.shared.idle;
        let (_idle, is_written) = idle.announce_idle(&mut polling.polled).await?;
        if is_written {
            // Transactions that are open now may have added jobs without a notification.
            worker.signals.late.notify_one();
            if self.claimer.claim_above(room).await?.count > 0 {
                return Ok(WokenBy::Nothing);
            }
        }
        worker.signals.set_idle(true);
        let interval = worker.settings.poll_interval;
        let woken_by = self.wait(worker, interval, WokenBy::Interval).await;
        worker.signals.set_idle(false);
        Ok(woken_by)
    }

    /// Waits until woken, until freed keys are checked, or for some time, and then returns
    /// `by_time`.
    async fn wait(&mut self, worker: &Worker<S>, time: Duration, by_time: WokenBy) -> WokenBy {
        tokio::select! {
            () = worker.signals.wake.notified() => WokenBy::News,
            Ok(()) = self.freed_keys.changed() => WokenBy::Nothing,
            () = sleep(time) => by_time,
            () = worker.shared.stopping.cancelled() => WokenBy::Nothing,
        }
    }
}

/// Notes the jobs that have come: those that this process was notified of, or those that a claim
/// with room for more found, whichever are more.
fn note_traffic<S>(
    worker: &Worker<S>,
    polling: &mut Polling,
    found: &Found,
    room: usize,
    now: Instant,
) {
    let news = worker.signals.take_news();
    let is_polling = !polling.polled.is_empty();
    let counts = found.count < room && (is_polling || !found.is_gated);
    let jobs = if counts { found.count } else { 0 };
    if news.jobs >= jobs {
        polling.note(news.jobs, &news.queues, now);
    } else {
        polling.note(jobs, &found.queues, now);
    }
}

/// Returns whether this worker may poll the queues in which jobs come. Another process may already
/// do so.
async fn may_poll<S>(worker: &Worker<S>, polling: &mut Polling) -> Result<bool, sqlx::Error> {
    let idle = &worker.shared.idle;
    let asked = polling.not_polled();
    if !idle.listens || asked.is_empty() {
        return Ok(true);
    }
    idle.announce_polling(&mut polling.polled, &asked, &worker.shared.kinds)
        .await?;
    if polling.polled.is_empty() {
        polling.start_over();
    }
    Ok(!polling.polled.is_empty())
}

/// Leaves polling to other processes, if this one polls, and wakes them.
async fn stop_polling<S>(worker: &Worker<S>, polling: &mut Polling) -> Result<(), sqlx::Error> {
    polling.start_over();
    worker.shared.idle.stop_polling(&mut polling.polled).await
}
