//! ready → claimed, or blocked: whenever there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use queue_core::transitions::claim::{ClaimedJob, claim, line_end};
use queue_core::transitions::claim_limited::{LimitedClaim, Parked, claim_limited};
use queue_core::transitions::end::release_unknown;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::lanes::Round;
use super::polling::{POLL_GAP, Polling};
use super::prefetch::Pace;
use super::{Shared, Worker};
use crate::connection::Connection;

/// How many bytes of arguments one claim should bring, and the reserve should hold.
const CLAIM_BYTES: usize = 16 * 1024 * 1024;

/// How long a claim may take that finds nothing, before the floors are raised.
const LONG_WALK: Duration = Duration::from_millis(50);

/// How long jobs may wait in reserve while no run ends, before they are given back.
const PREFETCH_PATIENCE: Duration = Duration::from_millis(500);

/// How soon after a claim that found jobs a wake-up that finds none was about those.
const STALE_NEWS: Duration = Duration::from_millis(10);

/// How long there may be no room for a claim before another process polls.
const FULL_PATIENCE: Duration = Duration::from_millis(5);

/// Why a worker looks for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WokenBy {
    /// It was told that there may be some.
    News,
    /// It has waited for as long as it does.
    Interval,
    /// It has just found some, or keys of limits were freed.
    Nothing,
}

/// What one claim found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many jobs were claimed or parked.
    pub(super) count: usize,
    /// The queues that jobs were claimed from.
    queues: Vec<String>,
    /// Whether some of them have limits.
    is_gated: bool,
}

impl<S: Send + Sync + 'static> Worker<S> {
    /// Claims jobs until the process stops.
    pub(crate) async fn claim_loop(
        self: Arc<Self>,
        mut connection: Connection,
    ) -> Result<(), sqlx::Error> {
        let mut pace = Pace::new(Instant::now());
        let mut polling = self.polling.lock().await;
        let mut woken_by = WokenBy::Nothing;
        let mut found_at = Instant::now();
        let mut freed_keys = self.shared.freed_keys.looks();
        // An error may have ended the loop while it polled.
        self.stop_polling(&mut polling).await?;
        // Without knowing what there is, the first claim would not take the most urgent.
        self.learn_lanes(&mut connection).await?;
        loop {
            let room = self
                .wait_for_room(&mut connection, &mut pace, &mut polling)
                .await?;
            if self.is_stopping() {
                break;
            }
            freed_keys.mark_unchanged();
            let owed = self.owed.swap(i64::MAX, Ordering::Relaxed);
            if owed < i64::MAX && self.claim_up_to_floors(&mut connection, owed, room).await? > 0 {
                continue;
            }
            let found = self.claim_above(&mut connection, room).await?;
            let now = Instant::now();
            if found.count > 0 {
                (woken_by, found_at) = (WokenBy::Nothing, now);
            }
            self.note_traffic(&mut polling, &found, room, now);
            let is_dense = polling.is_dense();
            if found.count >= room || (found.count > 0 && !is_dense) {
                continue;
            }
            let is_stale = woken_by == WokenBy::News && now - found_at < STALE_NEWS;
            self.look_below(woken_by, is_stale);
            woken_by = if is_dense && self.may_poll(&mut polling).await? {
                self.wait(POLL_GAP, WokenBy::Nothing, &mut freed_keys).await
            } else if is_stale {
                // Unless the next claim finds what the news was about, a sweep does.
                self.wait(STALE_NEWS, WokenBy::News, &mut freed_keys).await
            } else {
                self.doze(&mut connection, room, &mut polling, &mut freed_keys)
                    .await?
            };
        }
        self.stop_polling(&mut polling).await?;
        connection.close().await;
        Ok(())
    }

    /// Takes note of the jobs that have come: those that this process was notified of, or those that
    /// a claim found which could have taken more.
    fn note_traffic(&self, polling: &mut Polling, found: &Found, room: usize, now: Instant) {
        let news = std::mem::take(&mut *self.news());
        let is_polling = !polling.polled.is_empty();
        let counts = found.count < room && (is_polling || !found.is_gated);
        let jobs = if counts { found.count } else { 0 };
        if news.jobs >= jobs {
            polling.note(news.jobs, &news.queues, now);
        } else {
            polling.note(jobs, &found.queues, now);
        }
    }

    /// Asks for a look below the floors, because a claim above them found nothing.
    fn look_below(&self, woken_by: WokenBy, is_stale: bool) {
        if woken_by == WokenBy::News {
            self.late.notify_one();
        }
        if woken_by == WokenBy::Interval || (woken_by == WokenBy::News && !is_stale) {
            self.sweep.notify_one();
        }
    }

    /// Returns whether this worker is to poll the queues in which it found jobs: another process may
    /// do so already.
    async fn may_poll(&self, polling: &mut Polling) -> Result<bool, sqlx::Error> {
        let sleepers = &self.shared.sleepers;
        let asked = polling.not_polled();
        if !sleepers.listens() || asked.is_empty() {
            return Ok(true);
        }
        sleepers
            .poll(&mut polling.polled, &asked, &self.shared.kinds)
            .await?;
        if polling.polled.is_empty() {
            polling.start_over();
        }
        Ok(!polling.polled.is_empty())
    }

    /// Leaves polling to other processes, if this one polls, and wakes them.
    async fn stop_polling(&self, polling: &mut Polling) -> Result<(), sqlx::Error> {
        polling.start_over();
        self.shared.sleepers.stop_polling(&mut polling.polled).await
    }

    /// Claims up to `limit` jobs from above the floors.
    ///
    /// When that finds nothing and still took long, it walked over many jobs of kinds that this
    /// worker does not know: the floors are raised above them, and only sweeps see them again.
    async fn claim_above(
        &self,
        connection: &mut Connection,
        limit: usize,
    ) -> Result<Found, sqlx::Error> {
        let _alone = self.claiming_above.lock().await;
        let rounds = self.lanes().above();
        let began = Instant::now();
        let found = self.claim(connection, &rounds, limit, false).await?;
        if found.count == 0 && began.elapsed() > LONG_WALK {
            let schema = &self.shared.schema;
            let line = connection
                .run(async |conn| line_end(conn, schema).await)
                .await?;
            if self.claim(connection, &rounds, limit, false).await?.count == 0 {
                self.lanes().raise(line.place);
            }
        }
        if self.has_unsettled() {
            self.late.notify_one();
        }
        Ok(found)
    }

    /// Claims up to `limit` jobs from lanes in their order, and puts them into the reserve.
    pub(super) async fn claim(
        &self,
        connection: &mut Connection,
        rounds: &[Round],
        limit: usize,
        are_stragglers: bool,
    ) -> Result<Found, sqlx::Error> {
        let limit = limit.min(self.affordable());
        let _no_reconciliation_meanwhile = self.shared.claiming.read().await;
        let rests = !are_stragglers && self.gated.rests(self.shared.freed_keys.looks_taken());
        let (mut found, mut room) = (Found::default(), limit);
        for round in rounds.iter().filter(|round| !(rests && round.is_gated)) {
            self.claim_round(connection, round, &mut room, are_stragglers, &mut found)
                .await?;
            if room == 0 {
                return Ok(found);
            }
        }
        if rests && found.count == 0 {
            for round in rounds.iter().filter(|round| round.is_gated) {
                self.claim_round(connection, round, &mut room, are_stragglers, &mut found)
                    .await?;
            }
        }
        Ok(found)
    }

    /// Claims from the lanes of one round, up to what there is room for.
    async fn claim_round(
        &self,
        connection: &mut Connection,
        round: &Round,
        room: &mut usize,
        are_stragglers: bool,
        found: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let looks = self.shared.freed_keys.looks_taken();
        let LimitedClaim { jobs, parked } = self
            .ask(connection, round, *room)
            .await
            .inspect_err(|_| self.reconcile_timer.raise(Instant::now()))?;
        let count = jobs.len() + parked.len();
        found.add(count, &jobs);
        found.is_gated |= round.is_gated && count > 0;
        *room -= jobs.len();
        if round.is_gated && !are_stragglers {
            self.gated.note_found(count, looks);
        }
        // Beyond the last seat there may be others that fit: they are not behind this worker.
        if *room > 0 {
            self.pass_over(&parked);
        }
        report_ended(&parked);
        if !jobs.is_empty() {
            self.take_in(jobs, are_stragglers);
        }
        Ok(())
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        round: &Round,
        room: usize,
    ) -> Result<LimitedClaim, sqlx::Error> {
        let Shared {
            schema,
            process,
            kinds,
            ..
        } = &*self.shared;
        let lanes = &round.lanes;
        if !round.is_gated {
            let jobs = connection
                .run(async |conn| claim(conn, schema, *process, lanes, kinds, room).await)
                .await?;
            return Ok(LimitedClaim {
                jobs,
                parked: Vec::new(),
            });
        }
        let window = self.gated.window();
        let claimed = connection
            .run(async |conn| {
                claim_limited(conn, schema, *process, lanes, kinds, room, window).await
            })
            .await?;
        self.gated.note_claim(room, &claimed);
        Ok(claimed)
    }

    /// Takes note of jobs that were parked: they are behind this worker.
    fn pass_over(&self, parked: &[Parked]) {
        let mut lanes = self.lanes();
        for job in parked {
            lanes.advance(&job.queue, job.priority, job.track, job.seq);
        }
    }

    fn take_in(&self, claimed: Vec<ClaimedJob>, are_stragglers: bool) {
        self.note_sizes(&claimed);
        let mut lanes = self.lanes();
        for job in &claimed {
            lanes.advance(&job.queue, job.priority, job.track, job.seq);
        }
        drop(lanes);
        let held = self.shared.in_flight.add(&claimed);
        let waiting = claimed.into_iter().zip(held).collect();
        self.prefetch.fill(waiting, are_stragglers);
    }

    /// Takes note of how large arguments are: at once when they are larger than before, slowly
    /// when they are smaller.
    fn note_sizes(&self, claimed: &[ClaimedJob]) {
        let bytes: usize = claimed.iter().map(|job| job.args.get().len()).sum();
        let mean = bytes / claimed.len().max(1);
        let before = self.args_size.load(Ordering::Relaxed);
        let now = mean.max((3 * before + mean) / 4);
        self.args_size.store(now, Ordering::Relaxed);
    }

    /// Returns how many jobs have room in memory, by the size of the last ones.
    fn affordable(&self) -> usize {
        (CLAIM_BYTES / self.args_size.load(Ordering::Relaxed).max(1)).max(1)
    }

    /// Gives back the jobs that are claimed for this process without its knowing of them, when it
    /// is time to look for such.
    async fn reconcile(&self, connection: &mut Connection) -> Result<(), sqlx::Error> {
        if !self.reconcile_timer.is_due(Instant::now()) {
            return Ok(());
        }
        let shared = &*self.shared;
        let _no_claims_meanwhile = shared.claiming.write().await;
        let asked = Instant::now();
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
        self.reconcile_timer.settle(asked);
        Ok(())
    }

    /// Waits until there is room for a claim worth its round trip, and returns how much.
    async fn wait_for_room(
        &self,
        connection: &mut Connection,
        pace: &mut Pace,
        polling: &mut Polling,
    ) -> Result<usize, sqlx::Error> {
        let began = Instant::now();
        loop {
            self.reconcile(connection).await?;
            let ended = self.ended.load(Ordering::Relaxed);
            pace.observe(ended, Instant::now());
            let reserve = pace.reserve().min(self.affordable());
            self.ahead.store(reserve, Ordering::Relaxed);
            let room = self.room(reserve);
            if room > reserve / 2 || self.is_stopping() {
                return Ok(room);
            }
            tokio::select! {
                () = self.shared.stopping.cancelled() => return Ok(0),
                () = sleep_until((began + FULL_PATIENCE).into()), if !polling.polled.is_empty() => {
                    self.stop_polling(polling).await?;
                }
                waited = timeout(PREFETCH_PATIENCE, self.prefetch.has_room()) => {
                    if waited.is_err() && self.ended.load(Ordering::Relaxed) == ended {
                        self.given_back.store(ended, Ordering::Relaxed);
                        self.give_back_prefetched().await;
                    }
                }
            }
        }
    }

    /// Sleeps until woken, or until it is time to look again.
    async fn doze(
        &self,
        connection: &mut Connection,
        room: usize,
        polling: &mut Polling,
        freed_keys: &mut watch::Receiver<usize>,
    ) -> Result<WokenBy, sqlx::Error> {
        let (_doze, is_news) = self.shared.sleepers.announce(&mut polling.polled).await?;
        if is_news {
            // Transactions that are open now may have added jobs that wake nobody.
            self.late.notify_one();
            if self.claim_above(connection, room).await?.count > 0 {
                return Ok(WokenBy::Nothing);
            }
        }
        self.dozing.store(true, Ordering::Relaxed);
        let interval = self.settings.poll_interval;
        let woken_by = self.wait(interval, WokenBy::Interval, freed_keys).await;
        self.dozing.store(false, Ordering::Relaxed);
        Ok(woken_by)
    }

    /// Waits for news, for a freed key, or for some time, which then is what it was woken by.
    async fn wait(
        &self,
        time: Duration,
        by_time: WokenBy,
        freed_keys: &mut watch::Receiver<usize>,
    ) -> WokenBy {
        tokio::select! {
            () = self.wake.notified() => WokenBy::News,
            Ok(()) = freed_keys.changed() => WokenBy::Nothing,
            () = tokio::time::sleep(time) => by_time,
            () = self.shared.stopping.cancelled() => WokenBy::Nothing,
        }
    }
}

impl Found {
    fn add(&mut self, count: usize, jobs: &[ClaimedJob]) {
        self.count += count;
        for job in jobs {
            if self.queues.last() != Some(&job.queue) {
                self.queues.push(job.queue.clone());
            }
        }
    }
}

/// Logs which jobs a limit has ended, once.
fn report_ended(parked: &[Parked]) {
    for job in parked.iter().filter(|job| job.fate != "blocked") {
        let Parked {
            job_id,
            kind,
            key,
            fate,
            ..
        } = job;
        tracing::info!(%job_id, kind, key, outcome = fate, "given up: its limit left no room");
    }
}
