//! The claim loop: ready → claimed or blocked, whenever there is room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::process::Asked;
use queue_core::transitions::end::release_unknown;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::claimer::{Claimer, Found};
use super::pace::{Excess, PREFETCH_WAIT_MAX, Pace};
use super::polling::{POLL_GAP, Polling};
use super::starting::{give_back_all, give_back_behind};
use super::state::Worker;
use crate::app::State;
use crate::connection::Connection;

/// A notification that leads to no job, so soon after a claim that found some, was about those.
const STALE_NEWS: Duration = Duration::from_millis(10);

/// How often a quiet worker gives back jobs that it may still have claimed.
const QUIET_GAP: Duration = Duration::from_secs(1);

/// How long a worker that polls may have no room before it leaves polling to other processes.
const FULL_MAX: Duration = Duration::from_millis(5);

/// Claims jobs until the process stops.
pub(crate) struct ClaimLoop<S> {
    claimer: Claimer<S>,
    polling: OwnedMutexGuard<Polling>,
    pace: Pace,
    /// Changes when freed keys were checked, which may have unblocked jobs.
    freed_keys: watch::Receiver<usize>,
    /// Changes when the process is asked to be quiet, or to claim again.
    asked: watch::Receiver<Asked>,
    woken_by: WokenBy,
    found_at: Instant,
    /// When the last look at all lanes began.
    looked_at: Instant,
}

/// Why a worker looks for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WokenBy {
    /// It was notified that there may be some.
    News,
    /// Its poll interval is over, and a look has found some.
    Interval,
    /// It has just found some, or freed keys were checked.
    Nothing,
}

impl<S: State> ClaimLoop<S> {
    pub(crate) async fn run(
        worker: Arc<Worker<S>>,
        connection: Connection,
    ) -> Result<(), sqlx::Error> {
        let mut claims = Self {
            polling: Arc::clone(&worker.polling).lock_owned().await,
            pace: Pace::new(worker.prefetch.ended(), Instant::now()),
            freed_keys: worker.shared.freed_keys.watch_checks(),
            asked: worker.shared.asked.subscribe(),
            woken_by: WokenBy::Nothing,
            found_at: Instant::now(),
            looked_at: Instant::now(),
            claimer: Claimer { worker, connection },
        };
        // An error may have ended the loop while it polled.
        claims.stop_polling().await?;
        // Without the lanes, the first claim would not take the most urgent jobs.
        claims.claimer.learn_lanes().await?;
        while !claims.worker().is_stopping() {
            if claims.worker().is_quiet() {
                claims.stay_quiet().await?;
            } else {
                claims.claim_once().await?;
            }
        }
        claims.stop_polling().await?;
        claims.claimer.connection.close().await;
        Ok(())
    }

    fn worker(&self) -> &Worker<S> {
        &self.claimer.worker
    }

    /// Waits for room, claims, and waits for more jobs when there were few or none.
    async fn claim_once(&mut self) -> Result<(), sqlx::Error> {
        let room = self.wait_for_room().await?;
        if self.worker().is_stopping() || self.worker().is_quiet() {
            return Ok(());
        }
        self.freed_keys.mark_unchanged();
        if let Some(owed) = self.worker().floors.take_owed()
            && self.claimer.claim_below(owed, room).await? > 0
        {
            return Ok(());
        }
        let began = Instant::now();
        let found = self.claimer.claim_above(room).await?;
        let now = Instant::now();
        self.note_traffic(&found, room, now);
        if found.count > 0 {
            self.pace.note_claim(now - began, now);
            (self.woken_by, self.found_at) = (WokenBy::Nothing, now);
        }
        let is_dense = self.polling.is_dense();
        if found.count >= room || (found.count > 0 && !is_dense) {
            return Ok(());
        }
        let is_stale = self.woken_by == WokenBy::News && now - self.found_at < STALE_NEWS;
        self.look_below(is_stale);
        self.woken_by = if is_dense && self.may_poll().await? {
            self.wait(sleep(POLL_GAP), WokenBy::Nothing).await
        } else if is_stale {
            // If the next claim does not find the job of the notification, a sweep does.
            self.wait(sleep(STALE_NEWS), WokenBy::News).await
        } else {
            self.idle(room).await?
        };
        Ok(())
    }

    /// Claims nothing while the process is quiet, and gives back what has not begun.
    async fn stay_quiet(&mut self) -> Result<(), sqlx::Error> {
        let worker = Arc::clone(&self.claimer.worker);
        worker.signals.set_idle(true);
        let ended = self.until_resumed(&worker).await;
        worker.signals.set_idle(false);
        worker.prefetch.open();
        // Jobs that were given back are below the floors.
        worker.signals.sweep.notify_one();
        ended
    }

    async fn until_resumed(&mut self, worker: &Worker<S>) -> Result<(), sqlx::Error> {
        self.stop_polling().await?;
        while worker.is_quiet() && !worker.is_stopping() {
            // A sweep that was under way may have claimed some.
            give_back_all(worker).await;
            self.reconcile().await?;
            tokio::select! {
                () = worker.shared.stopping.cancelled() => {}
                Ok(()) = self.asked.changed() => {}
                () = sleep(QUIET_GAP) => {}
            }
        }
        Ok(())
    }

    /// Asks for a look below the floors, because a claim above them found nothing.
    fn look_below(&self, is_stale: bool) {
        let signals = &self.worker().signals;
        if self.woken_by == WokenBy::News {
            signals.late.notify_one();
        }
        if self.woken_by == WokenBy::Interval || (self.woken_by == WokenBy::News && !is_stale) {
            signals.sweep.notify_one();
        }
    }

    /// Waits until there is room for a claim worth its round trip, and returns how much.
    async fn wait_for_room(&mut self) -> Result<usize, sqlx::Error> {
        let began = Instant::now();
        let mut excess = Excess::default();
        loop {
            self.reconcile().await?;
            let worker = &self.claimer.worker;
            let (ended, now) = (worker.prefetch.ended(), Instant::now());
            self.pace.observe(ended, now);
            let target = self.pace.prefetch().min(worker.affordable());
            worker.prefetch.set_target(target);
            if let Some(kept) = excess.observe(worker.prefetch.len(), target, now) {
                give_back_behind(worker, kept).await;
            }
            let room = worker.room(target);
            if room > target / 2 || worker.is_stopping() {
                return Ok(room);
            }
            let is_polling = !self.polling.polled.is_empty();
            tokio::select! {
                () = worker.shared.stopping.cancelled() => return Ok(0),
                Ok(()) = self.asked.changed() => return Ok(0),
                () = sleep_until((began + FULL_MAX).into()), if is_polling => {
                    self.stop_polling().await?;
                }
                waited = timeout(PREFETCH_WAIT_MAX, worker.prefetch.has_room()) => {
                    if waited.is_err() && worker.prefetch.ended() == ended {
                        worker.prefetch.note_stalled();
                        give_back_behind(worker, 0).await;
                    }
                }
            }
        }
    }

    /// If it is time, gives back the jobs that are claimed for this process but not in flight in
    /// it.
    async fn reconcile(&mut self) -> Result<(), sqlx::Error> {
        let Claimer { worker, connection } = &mut self.claimer;
        if !worker
            .shared
            .in_flight
            .reconcile_timer
            .is_due(Instant::now())
        {
            return Ok(());
        }
        let shared = &*worker.shared;
        let _no_claims_meanwhile = shared.in_flight.claiming.write().await;
        let began = Instant::now();
        let known = shared.in_flight.claims();
        let released = connection
            .run(async |conn| release_unknown(conn, &shared.schema, shared.process, &known).await)
            .await?;
        if !released.is_empty() {
            tracing::warn!(
                jobs = released.len(),
                "gave back jobs whose claim was committed but never answered"
            );
        }
        worker
            .shared
            .in_flight
            .reconcile_timer
            .note_reconciled(began);
        Ok(())
    }

    /// Is idle until woken, or until the poll interval is over.
    async fn idle(&mut self, room: usize) -> Result<WokenBy, sqlx::Error> {
        let worker = Arc::clone(&self.claimer.worker);
        let idle = &worker.shared.idle;
        let connection = &mut self.claimer.connection;
        let (_idle, is_written) = idle
            .announce_idle(connection, &mut self.polling.polled)
            .await?;
        if is_written {
            // Transactions that are open now may have added jobs without a notification.
            worker.signals.late.notify_one();
            if self.claimer.claim_above(room).await?.count > 0 {
                return Ok(WokenBy::Nothing);
            }
        }
        worker.signals.set_idle(true);
        let mut looked_at = self.looked_at;
        let is_due = claim_is_due(&worker, &mut looked_at);
        let woken_by = self.wait(is_due, WokenBy::Interval).await;
        self.looked_at = looked_at;
        worker.signals.set_idle(false);
        Ok(woken_by)
    }

    /// Waits until woken, until freed keys are checked, or until it is time, and then returns `by_time`.
    /// While prefetched jobs wait for slots, it is not long until they may have to be given back.
    async fn wait(&mut self, is_time: impl Future<Output = ()>, by_time: WokenBy) -> WokenBy {
        let worker = &self.claimer.worker;
        let are_waiting = worker.prefetch.len() > 0;
        tokio::select! {
            () = sleep(PREFETCH_WAIT_MAX), if are_waiting => WokenBy::Nothing,
            () = worker.signals.wake.notified() => WokenBy::News,
            Ok(()) = self.freed_keys.changed() => WokenBy::Nothing,
            Ok(()) = self.asked.changed() => WokenBy::Nothing,
            () = is_time => by_time,
            () = worker.shared.stopping.cancelled() => WokenBy::Nothing,
        }
    }

    /// Notes the jobs that have come: those that this process was notified of, or those that a
    /// claim with room for more found, whichever are more.
    fn note_traffic(&mut self, found: &Found, room: usize, now: Instant) {
        let news = self.worker().signals.take_news();
        let is_polling = !self.polling.polled.is_empty();
        let counts = found.count < room && (is_polling || !found.is_gated);
        let jobs = if counts { found.count } else { 0 };
        if news.jobs >= jobs {
            self.polling.note(news.jobs, &news.queues, now);
        } else {
            self.polling.note(jobs, &found.queues, now);
        }
    }

    /// Returns whether this worker may poll the queues in which jobs come. Another process may
    /// already do so.
    async fn may_poll(&mut self) -> Result<bool, sqlx::Error> {
        let Claimer { worker, connection } = &mut self.claimer;
        let shared = &worker.shared;
        let (idle, polling) = (&shared.idle, &mut *self.polling);
        let asked = polling.not_polled();
        if !idle.listens || asked.is_empty() {
            return Ok(true);
        }
        idle.announce_polling(connection, &mut polling.polled, &asked, &shared.kinds)
            .await?;
        if polling.polled.is_empty() {
            polling.start_over();
        }
        Ok(!polling.polled.is_empty())
    }

    /// Leaves polling to other processes, if this one polls, and wakes them.
    async fn stop_polling(&mut self) -> Result<(), sqlx::Error> {
        self.polling.start_over();
        let Claimer { worker, connection } = &mut self.claimer;
        let idle = &worker.shared.idle;
        idle.stop_polling(connection, &mut self.polling.polled)
            .await
    }
}

/// Waits until a look finds jobs in the queues of a worker, or until it is time to reconcile.
async fn claim_is_due<S: State>(worker: &Worker<S>, looked_at: &mut Instant) {
    let (lookout, interval) = (&worker.shared.lookout, worker.settings.poll_interval);
    loop {
        sleep_until((*looked_at + interval).into()).await;
        lookout.note_lanes(worker.lanes().served());
        let seen = lookout.next(*looked_at, interval).await;
        *looked_at = seen.began;
        let has_jobs = worker.lanes().learn_some(&seen.lanes);
        if has_jobs
            || worker
                .shared
                .in_flight
                .reconcile_timer
                .is_due(Instant::now())
        {
            return;
        }
    }
}
