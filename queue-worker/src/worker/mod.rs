//! A worker: claims jobs from its queues and runs them, a limited number at once.
//!
//! Three loops share its state. One [claims](claiming) whenever there is room, from above the floors
//! of its lanes; when nothing is there, it sleeps until it is woken or it is time to look again. One
//! [sweeps](sweeping) below the floors, on a connection of its own, so that a slow sweep stands in no
//! claim's way. One [starts](starting) what has been claimed, as slots become free.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::Schema;
use queue_core::process::ProcessId;
use queue_core::transitions::claim::lanes;
use tokio::sync::{Notify, RwLock, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::gated::Gated;
use self::idle::Sleepers;
use self::lanes::Lanes;
use self::polling::{News, Polling};
use self::prefetch::Prefetch;
use self::reconcile::ReconcileTimer;
use crate::app::slots::Slots;
use crate::attempt::{Completion, InFlight, Runner};
use crate::completer::FreedKeys;
use crate::config::WorkerSettings;
use crate::connection::Connection;

mod claiming;
mod starting;
mod sweeping;

mod gated;
mod open_transactions;
mod polling;

pub(crate) mod idle;
mod lanes;
mod prefetch;
mod reconcile;

/// What the workers of a process share.
pub(crate) struct Shared<S> {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) kinds: Vec<String>,
    pub(crate) runner: Runner<S>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) sleepers: Sleepers,
    pub(crate) completions: mpsc::Sender<Completion>,
    pub(crate) freed_keys: Arc<FreedKeys>,
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
    prefetch: Prefetch,
    slots: Slots,
    /// Runs that have ended in all.
    ended: AtomicUsize,
    wake: Notify,
    /// What this process was notified of since the claim loop last looked.
    news: Mutex<News>,
    sweep: Notify,
    /// How jobs have come lately; outlives the claim loop when an error ends it.
    polling: tokio::sync::Mutex<Polling>,
    /// Asks for a look whether jobs were committed late.
    late: Notify,
    /// The place up to which every job has been seen that was ever to appear.
    settled: AtomicI64,
    /// Held by every claim from above the floors.
    claiming_above: tokio::sync::Mutex<()>,
    dozing: AtomicBool,
    /// Whether there may be jobs that are claimed for this process without its knowing.
    reconcile_timer: ReconcileTimer,
    /// How many jobs the reserve should hold.
    ahead: AtomicUsize,
    /// How many runs had ended when the reserve was given back.
    given_back: AtomicUsize,
    /// The place from which on the next claim looks below the floors first, because there was no
    /// room to; the largest number if there was.
    owed: AtomicI64,
    /// The size of a job's arguments lately, in bytes.
    args_size: AtomicUsize,
    gated: Gated,
    /// How long sweeps rest, after the last.
    rest: Mutex<Duration>,
}

impl<S: Send + Sync + 'static> Worker<S> {
    pub(crate) fn new(settings: WorkerSettings, shared: Arc<Shared<S>>) -> Self {
        Self {
            lanes: Mutex::new(Lanes::new(settings.queues.clone())),
            prefetch: Prefetch::default(),
            slots: Slots::new(settings.concurrency),
            settings,
            shared,
            ended: AtomicUsize::new(0),
            wake: Notify::new(),
            news: Mutex::default(),
            sweep: Notify::new(),
            polling: tokio::sync::Mutex::new(Polling::new(Instant::now())),
            late: Notify::new(),
            settled: AtomicI64::new(0),
            claiming_above: tokio::sync::Mutex::new(()),
            dozing: false.into(),
            reconcile_timer: ReconcileTimer::new(Instant::now()),
            ahead: AtomicUsize::new(0),
            given_back: AtomicUsize::new(usize::MAX),
            owed: AtomicI64::new(i64::MAX),
            args_size: AtomicUsize::new(0),
            gated: Gated::default(),
            rest: Mutex::default(),
        }
    }

    /// Wakes the worker, because a queue has something new, or any queue may have. A `@` before the
    /// name stands for jobs with limits, a `!` for jobs that another process polled for until now.
    pub(crate) fn wake(&self, news: Option<&str>) {
        if let Some(news) = news {
            let polled = news.strip_prefix('!');
            if polled.is_some() {
                self.shared.sleepers.expect_silence();
            }
            let (queue, is_limited) = match news.strip_prefix('@') {
                Some(queue) => (queue, true),
                None => (polled.unwrap_or(news), false),
            };
            let mut lanes = self.lanes();
            if !lanes.serves(queue) {
                return;
            }
            lanes.learn(queue, is_limited);
            drop(lanes);
            self.news().add(queue);
            if is_limited {
                self.gated.wake();
            }
        }
        self.wake.notify_one();
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    /// Takes note of all lanes that have jobs now, and tells whether one was new.
    async fn learn_lanes(&self, connection: &mut Connection) -> Result<bool, sqlx::Error> {
        let schema = &self.shared.schema;
        let found = connection
            .run(async |conn| lanes(conn, schema).await)
            .await?;
        Ok(self.lanes().learn_all(&found))
    }

    /// Returns how many more jobs to claim, for a reserve of a given size: none beyond what the
    /// completer can take in.
    fn room(&self, reserve: usize) -> usize {
        let running = self.settings.concurrency - self.slots.free();
        (self.settings.concurrency + reserve)
            .saturating_sub(running + self.prefetch.len())
            .min(self.shared.completions.capacity())
    }
}
