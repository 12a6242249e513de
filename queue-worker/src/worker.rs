//! A worker: claims jobs from its queues and runs them, a limited number at once.
//!
//! Three loops share its state. One claims whenever there is room, from above the floors of its
//! lanes; when nothing is there, it sleeps until it is woken or it is time to look again. One
//! sweeps below the floors, on a connection of its own, so that a slow sweep stands in no claim's
//! way. One starts what has been claimed, as slots become free.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::Schema;
use queue_core::process::ProcessId;
use queue_core::transitions::Run;
use queue_core::transitions::claim::{ClaimedJob, claim, lanes, last_place};
use queue_core::transitions::claim_limited::{LimitedClaim, Parked, claim_limited};
use queue_core::transitions::release::release_unknown;
use tokio::sync::{Notify, RwLock, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::Runner;
use crate::config::WorkerSettings;
use crate::doubts::Doubts;
use crate::judge::Verdict;
use crate::lanes::{Lanes, Round};
use crate::link::Link;
use crate::reserve::{Pace, Reserve, Waiting};
use crate::running::Holdings;
use crate::sleepers::Sleepers;
use crate::slots::Slots;
use crate::vacated::Vacated;
use crate::writer::Ended;

/// How often a busy worker sweeps, and how much longer than a sweep it then waits.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
const SWEEP_REST: u32 = 20;
const SWEEP_REST_MAX: Duration = Duration::from_secs(30);

/// The stragglers a sweep may claim although there is no room for them.
const STRAGGLERS_MAX: usize = 16;

/// The most jobs with limits that one claim looks at: more than it has room for while some of them
/// have to be parked.
const WINDOW_MAX: usize = 1_000;

/// How long lanes with limits that had nothing are left alone while there are jobs without.
const GATED_REST: Duration = Duration::from_millis(25);

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

/// What the workers of a process share.
pub(crate) struct Shared<S> {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) kinds: Vec<String>,
    pub(crate) runner: Runner<S>,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) sleepers: Sleepers,
    pub(crate) verdicts: mpsc::Sender<Ended>,
    pub(crate) vacated: Arc<Vacated>,
    /// Held for reading by every claim, and for writing by whoever must know that none is under
    /// way.
    pub(crate) claiming: RwLock<()>,
    pub(crate) runs: TaskTracker,
    /// Cancelled when no more jobs are to be claimed or begun.
    pub(crate) stopping: CancellationToken,
}

pub(crate) struct Worker<S> {
    settings: WorkerSettings,
    shared: Arc<Shared<S>>,
    lanes: Mutex<Lanes>,
    reserve: Reserve,
    slots: Slots,
    /// Runs that have ended in all.
    ended: AtomicUsize,
    wake: Notify,
    sweep: Notify,
    dozing: AtomicBool,
    /// Whether there may be jobs that are claimed for this process without its knowing.
    doubts: Doubts,
    /// How many jobs the reserve should hold.
    ahead: AtomicUsize,
    /// How many runs had ended when the reserve was given back.
    given_back: AtomicUsize,
    /// Whether a sweep found no room, and the next claim looks for stragglers first.
    owes_sweep: AtomicBool,
    /// The size of a job's arguments lately, in bytes.
    args_size: AtomicUsize,
    /// How many jobs with limits the next claim looks at, if it has room for fewer.
    window: AtomicUsize,
    /// Until when lanes with limits are left alone, and how many looks for room had been taken then.
    gated_rest: Mutex<Option<(Instant, usize)>>,
    /// How long sweeps rest, after the last.
    rest: Mutex<Duration>,
}

impl<S: Send + Sync + 'static> Worker<S> {
    pub(crate) fn new(settings: WorkerSettings, shared: Arc<Shared<S>>) -> Self {
        Self {
            lanes: Mutex::new(Lanes::new(settings.queues.clone())),
            reserve: Reserve::default(),
            slots: Slots::new(settings.concurrency),
            settings,
            shared,
            ended: AtomicUsize::new(0),
            wake: Notify::new(),
            sweep: Notify::new(),
            dozing: false.into(),
            doubts: Doubts::new(Instant::now()),
            ahead: AtomicUsize::new(0),
            given_back: AtomicUsize::new(usize::MAX),
            owes_sweep: false.into(),
            args_size: AtomicUsize::new(0),
            window: AtomicUsize::new(0),
            gated_rest: Mutex::default(),
            rest: Mutex::default(),
        }
    }

    /// Wakes the worker, because a queue has something new, or any queue may have. A `@` before the
    /// name stands for jobs with limits.
    pub(crate) fn wake(&self, news: Option<&str>) {
        if let Some(news) = news {
            let (queue, is_limited) = match news.strip_prefix('@') {
                Some(queue) => (queue, true),
                None => (news, false),
            };
            let mut lanes = self.lanes();
            if !lanes.serves(queue) {
                return;
            }
            lanes.learn(queue, is_limited);
            if is_limited {
                *self.gated_rest() = None;
            }
        }
        self.wake.notify_one();
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    // ---- claiming

    /// Claims jobs until the process stops.
    pub(crate) async fn claim_loop(self: Arc<Self>, mut link: Link) -> Result<(), sqlx::Error> {
        let mut pace = Pace::new(Instant::now());
        let mut looks = 0;
        let mut was_woken = false;
        let mut found_at = Instant::now();
        let mut vacated = self.shared.vacated.looks();
        // Without knowing what there is, the first claim would not take the most urgent.
        self.learn_lanes(&mut link).await?;
        while !self.is_stopping() {
            let room = self.wait_for_room(&mut link, &mut pace).await?;
            if self.is_stopping() {
                break;
            }
            vacated.mark_unchanged();
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
            was_woken = self.doze(&mut link, room, &mut looks, &mut vacated).await?;
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
    async fn claim(
        &self,
        link: &mut Link,
        rounds: &[Round],
        limit: usize,
        are_stragglers: bool,
    ) -> Result<usize, sqlx::Error> {
        let limit = limit.min(self.affordable());
        let _no_doubts_meanwhile = self.shared.claiming.read().await;
        let rests = !are_stragglers && self.limited_lanes_rest();
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
        let LimitedClaim { jobs, parked } = self
            .ask(link, round, *room)
            .await
            .inspect_err(|_| self.doubts.raise(Instant::now()))?;
        let count = jobs.len() + parked.len();
        *room -= jobs.len();
        if round.is_gated && !are_stragglers {
            self.note_gated(count);
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

    /// Tells whether lanes with limits had nothing a moment ago, and nobody has found room since.
    fn limited_lanes_rest(&self) -> bool {
        let rest = *self.gated_rest();
        rest.is_some_and(|(until, looks)| {
            Instant::now() < until && looks == self.shared.vacated.looks_taken()
        })
    }

    fn note_gated(&self, found: usize) {
        let looks = self.shared.vacated.looks_taken();
        *self.gated_rest() = (found == 0).then(|| (Instant::now() + GATED_REST, looks));
    }

    fn gated_rest(&self) -> MutexGuard<'_, Option<(Instant, usize)>> {
        self.gated_rest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let window = self.window.load(Ordering::Relaxed);
        let claimed = link
            .run(async |conn| {
                claim_limited(conn, schema, *process, lanes, kinds, room, window).await
            })
            .await?;
        let next_window = match (claimed.parked.is_empty(), claimed.jobs.is_empty()) {
            (false, _) => (4 * window.max(room)).min(WINDOW_MAX),
            (true, false) => 0,
            (true, true) => window,
        };
        self.window.store(next_window, Ordering::Relaxed);
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
        let held = self.shared.holdings.add(&claimed);
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
        let known = shared.holdings.claims();
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

    /// Returns how many more jobs to claim, for a reserve of a given size: none beyond what the
    /// writer can take in.
    fn room(&self, reserve: usize) -> usize {
        let running = self.settings.concurrency - self.slots.free();
        (self.settings.concurrency + reserve)
            .saturating_sub(running + self.reserve.len())
            .min(self.shared.verdicts.capacity())
    }

    /// Sleeps until woken, or until it is time to look again; tells whether it was woken.
    async fn doze(
        &self,
        link: &mut Link,
        room: usize,
        looks: &mut usize,
        vacated: &mut watch::Receiver<usize>,
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
            Ok(()) = vacated.changed() => false,
            () = tokio::time::sleep(wait) => false,
            () = self.shared.stopping.cancelled() => false,
        };
        self.dozing.store(false, Ordering::Relaxed);
        Ok(woken)
    }

    // ---- sweeping

    /// Sweeps below the floors until the process stops: often while the worker is busy, when
    /// asked while it is idle, and the more seldom the longer a sweep takes.
    pub(crate) async fn sweep_loop(self: Arc<Self>, mut link: Link) -> Result<(), sqlx::Error> {
        loop {
            let rest = *self.rest();
            tokio::select! {
                () = self.shared.stopping.cancelled() => break,
                () = self.sweep_is_due(rest) => {}
            }
            self.sweep_once(&mut link).await?;
        }
        link.close().await;
        Ok(())
    }

    fn rest(&self) -> MutexGuard<'_, Duration> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep_is_due(&self, rest: Duration) {
        tokio::time::sleep(rest).await;
        loop {
            let asked = timeout(SWEEP_INTERVAL, self.sweep.notified()).await.is_ok();
            if asked || !self.dozing.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Takes note of all lanes that have jobs now, and tells whether one was new.
    async fn learn_lanes(&self, link: &mut Link) -> Result<bool, sqlx::Error> {
        let schema = &self.shared.schema;
        let found = link.run(async |conn| lanes(conn, schema).await).await?;
        Ok(self.lanes().learn_all(&found))
    }

    async fn sweep_once(&self, link: &mut Link) -> Result<(), sqlx::Error> {
        if self.learn_lanes(link).await? {
            self.wake.notify_one();
        }
        let room = self.room(0).max(self.stragglers_without_room());
        if room == 0 {
            self.owes_sweep.store(true, Ordering::Relaxed);
        } else if self.claim_below(link, room).await? > 0 {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Returns how many stragglers a sweep may claim that have to wait for a slot. Where runs take
    /// long, those would only be given back: they are left to the next claim that has room.
    fn stragglers_without_room(&self) -> usize {
        if self.given_back.load(Ordering::Relaxed) == self.ended.load(Ordering::Relaxed) {
            return 0;
        }
        STRAGGLERS_MAX.min(self.ahead.load(Ordering::Relaxed))
    }

    /// Claims up to `limit` jobs from below the floors.
    async fn claim_below(&self, link: &mut Link, limit: usize) -> Result<usize, sqlx::Error> {
        let below = self.lanes().below();
        if below.is_empty() {
            return Ok(0);
        }
        let began = Instant::now();
        let count = self.claim(link, &below, limit, true).await?;
        *self.rest() = (began.elapsed() * SWEEP_REST).min(SWEEP_REST_MAX);
        Ok(count)
    }

    // ---- starting

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

fn unbegun((job, held): Waiting) -> Ended {
    Ended {
        run: Run {
            claim: job.claim,
            ran: Duration::ZERO,
        },
        held,
        verdict: Verdict::Release { begun: false },
    }
}
