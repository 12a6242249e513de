//! ready → claimed, or blocked: whenever there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use queue_core::transitions::claim::{ClaimedJob, claim, last_place};
use queue_core::transitions::claim_limited::{LimitedClaim, Parked, claim_limited};
use queue_core::transitions::end::release_unknown;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Shared, Worker};
use crate::lanes::Round;
use crate::link::Link;
use crate::reserve::Pace;

/// How many bytes of arguments one claim should bring, and the reserve should hold.
const CLAIM_BYTES: usize = 16 * 1024 * 1024;

/// How long a claim may take that finds nothing, before the floors are raised.
const LONG_WALK: Duration = Duration::from_millis(50);

/// How long jobs may wait in reserve while no run ends, before they are given back.
const RESERVE_PATIENCE: Duration = Duration::from_millis(500);

/// How soon after a claim that found jobs a wake-up that finds none was about those.
const STALE_NEWS: Duration = Duration::from_millis(10);

/// The first looks after going to sleep, for what was enqueued without a notification just then.
const FIRST_LOOKS: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];

impl<S: Send + Sync + 'static> Worker<S> {
    /// Claims jobs until the process stops.
    pub(crate) async fn claim_loop(self: Arc<Self>, mut link: Link) -> Result<(), sqlx::Error> {
        let mut pace = Pace::new(Instant::now());
        let mut looks = 0;
        let mut was_woken = false;
        let mut found_at = Instant::now();
        let mut freed_keys = self.shared.freed_keys.looks();
        // Without knowing what there is, the first claim would not take the most urgent.
        self.learn_lanes(&mut link).await?;
        while !self.is_stopping() {
            let room = self.wait_for_room(&mut link, &mut pace).await?;
            if self.is_stopping() {
                break;
            }
            freed_keys.mark_unchanged();
            if self.owes_sweep.swap(false, Ordering::Relaxed)
                && self.claim_below(&mut link, room).await? > 0
            {
                continue;
            }
            if self.claim_above(&mut link, room).await? > 0 {
                looks = 0;
                was_woken = false;
                found_at = Instant::now();
                continue;
            }
            let is_stale = was_woken && found_at.elapsed() < STALE_NEWS;
            if (was_woken && !is_stale) || looks == FIRST_LOOKS.len() {
                self.sweep.notify_one();
            }
            was_woken = self
                .doze(&mut link, room, &mut looks, &mut freed_keys)
                .await?;
        }
        link.close().await;
        Ok(())
    }

    /// Claims up to `limit` jobs from above the floors.
    ///
    /// When that finds nothing and still took long, it walked over many jobs of kinds that this
    /// worker does not know: the floors are raised above them, and only sweeps see them again.
    async fn claim_above(&self, link: &mut Link, limit: usize) -> Result<usize, sqlx::Error> {
        let rounds = self.lanes().above();
        let began = Instant::now();
        let count = self.claim(link, &rounds, limit, false).await?;
        if count == 0 && began.elapsed() > LONG_WALK {
            let schema = &self.shared.schema;
            let place = link
                .run(async |conn| last_place(conn, schema).await)
                .await?;
            if self.claim(link, &rounds, limit, false).await? == 0 {
                self.lanes().raise(place);
            }
        }
        Ok(count)
    }

    /// Claims up to `limit` jobs from lanes in their order, and puts them into the reserve. Returns
    /// how many were claimed or parked.
    pub(super) async fn claim(
        &self,
        link: &mut Link,
        rounds: &[Round],
        limit: usize,
        are_stragglers: bool,
    ) -> Result<usize, sqlx::Error> {
        let limit = limit.min(self.affordable());
        let _no_doubts_meanwhile = self.shared.claiming.read().await;
        let rests = !are_stragglers && self.gated.rests(self.shared.freed_keys.looks_taken());
        let (mut count, mut room) = (0, limit);
        for round in rounds.iter().filter(|round| !(rests && round.is_gated)) {
            count += self
                .claim_round(link, round, &mut room, are_stragglers)
                .await?;
            if room == 0 {
                return Ok(count);
            }
        }
        if rests && count == 0 {
            for round in rounds.iter().filter(|round| round.is_gated) {
                count += self
                    .claim_round(link, round, &mut room, are_stragglers)
                    .await?;
            }
        }
        Ok(count)
    }

    /// Claims from the lanes of one round, up to what there is room for. Returns how many jobs were
    /// claimed or parked.
    async fn claim_round(
        &self,
        link: &mut Link,
        round: &Round,
        room: &mut usize,
        are_stragglers: bool,
    ) -> Result<usize, sqlx::Error> {
        let looks = self.shared.freed_keys.looks_taken();
        let LimitedClaim { jobs, parked } = self
            .ask(link, round, *room)
            .await
            .inspect_err(|_| self.doubts.raise(Instant::now()))?;
        let count = jobs.len() + parked.len();
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
        Ok(count)
    }

    async fn ask(
        &self,
        link: &mut Link,
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
            let jobs = link
                .run(async |conn| claim(conn, schema, *process, lanes, kinds, room).await)
                .await?;
            return Ok(LimitedClaim {
                jobs,
                parked: Vec::new(),
            });
        }
        let window = self.gated.window();
        let claimed = link
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
        self.reserve.fill(waiting, are_stragglers);
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
    async fn settle_doubts(&self, link: &mut Link) -> Result<(), sqlx::Error> {
        if !self.doubts.is_due(Instant::now()) {
            return Ok(());
        }
        let shared = &*self.shared;
        let _no_claims_meanwhile = shared.claiming.write().await;
        let asked = Instant::now();
        let known = shared.in_flight.claims();
        let released = link
            .run(async |conn| release_unknown(conn, &shared.schema, shared.process, &known).await)
            .await?;
        if !released.is_empty() {
            tracing::warn!(
                jobs = released.len(),
                "gave back jobs whose claim was committed but never answered"
            );
        }
        self.doubts.settle(asked);
        Ok(())
    }

    /// Waits until there is room for a claim worth its round trip, and returns how much.
    async fn wait_for_room(&self, link: &mut Link, pace: &mut Pace) -> Result<usize, sqlx::Error> {
        loop {
            self.settle_doubts(link).await?;
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
                waited = timeout(RESERVE_PATIENCE, self.reserve.has_room()) => {
                    if waited.is_err() && self.ended.load(Ordering::Relaxed) == ended {
                        self.given_back.store(ended, Ordering::Relaxed);
                        self.give_back_reserve().await;
                    }
                }
            }
        }
    }

    /// Sleeps until woken, or until it is time to look again; tells whether it was woken.
    async fn doze(
        &self,
        link: &mut Link,
        room: usize,
        looks: &mut usize,
        freed_keys: &mut watch::Receiver<usize>,
    ) -> Result<bool, sqlx::Error> {
        let (_doze, is_news) = self.shared.sleepers.announce().await?;
        if is_news && self.claim_above(link, room).await? > 0 {
            *looks = 0;
            return Ok(false);
        }
        let wait = FIRST_LOOKS
            .get(*looks)
            .copied()
            .unwrap_or(self.settings.poll_interval)
            .min(self.settings.poll_interval);
        *looks = (*looks + 1).min(FIRST_LOOKS.len());
        self.dozing.store(true, Ordering::Relaxed);
        let woken = tokio::select! {
            () = self.wake.notified() => true,
            Ok(()) = freed_keys.changed() => false,
            () = tokio::time::sleep(wait) => false,
            () = self.shared.stopping.cancelled() => false,
        };
        self.dozing.store(false, Ordering::Relaxed);
        Ok(woken)
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
