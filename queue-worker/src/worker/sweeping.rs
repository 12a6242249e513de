//! The sweep loop: claims jobs that appear below the floors, because places are not committed in
//! order and jobs are given back.
//!
//! Soon after each claim it looks at the end of the line. When a transaction has ended that was
//! open before, it claims from the places at which that one may have added jobs. Now and then it
//! sweeps all places below the floors: seldom, because a sweep walks over all rows that were
//! claimed before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout_at};

use super::claimer::Claimer;
use super::open_transactions::OpenTransactions;
use super::state::Worker;
use crate::app::State;
use crate::connection::Connection;
use crate::rest::rest_after;

/// How often a busy worker sweeps, at most.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// The most late jobs that may be claimed although there is no room for them.
const LATE_MAX: usize = 16;

/// Claims from below the floors until the process stops: late jobs as soon as they are committed,
/// and all others by sweeps. A busy worker sweeps often, an idle one when asked to; slow sweeps are
/// rarer.
pub(crate) struct SweepLoop<S> {
    claimer: Claimer<S>,
    open: OpenTransactions,
    /// When the rest after the last sweep is over.
    rested_at: Instant,
    /// How long the last answer took that needs no search: the distance to the database.
    trip: Duration,
}

/// What the sweep loop does next.
enum Due {
    Look,
    Sweep,
}

impl<S: State> SweepLoop<S> {
    pub(crate) async fn run(
        worker: Arc<Worker<S>>,
        connection: Connection,
    ) -> Result<(), sqlx::Error> {
        let mut sweeps = Self {
            open: OpenTransactions::new(Instant::now()),
            rested_at: Instant::now(),
            trip: Duration::ZERO,
            claimer: Claimer { worker, connection },
        };
        // Only the second look has an end of the line from before its snapshot.
        sweeps.claim_late().await?;
        sweeps.claim_late().await?;
        while let Some(due) = sweeps.wait().await {
            match due {
                Due::Look => sweeps.claim_late().await?,
                Due::Sweep => sweeps.sweep().await?,
            }
        }
        sweeps.claimer.connection.close().await;
        Ok(())
    }

    /// Waits until something is due. Returns nothing when the process stops.
    async fn wait(&mut self) -> Option<Due> {
        let Claimer { worker, connection } = &mut self.claimer;
        let due = async {
            tokio::select! {
                biased;
                () = worker.shared.stopping.cancelled() => None,
                () = look_is_due(worker, &self.open) => Some(Due::Look),
                () = sweep_is_due(worker, self.rested_at) => Some(Due::Sweep),
            }
        };
        connection.idle_until(due).await
    }

    /// Claims the jobs of transactions that have ended since the last look, from places that the
    /// floors have passed.
    async fn claim_late(&mut self) -> Result<(), sqlx::Error> {
        let worker = Arc::clone(&self.claimer.worker);
        // Read before the look: transactions that are new in it have begun under this announcement.
        let announcement = worker.shared.idle.announcement();
        let asked = Instant::now();
        let line = self.claimer.line_end().await?;
        self.trip = asked.elapsed();
        // A claim that was under way at the look may have missed late jobs and be about to raise
        // the floors above them.
        drop(worker.floors.raising.lock().await);
        let had_silent = self.open.has_silent();
        let above = self.open.observe(&line, Instant::now(), announcement);
        worker.floors.settle(self.open.settled());
        if had_silent && worker.signals.is_idle() {
            // The jobs that were committed may also be above the floors.
            worker.signals.wake.notify_one();
        }
        self.claim_below(above).await?;
        Ok(())
    }

    async fn sweep(&mut self) -> Result<(), sqlx::Error> {
        let worker = Arc::clone(&self.claimer.worker);
        if self.claimer.learn_lanes().await? {
            worker.signals.wake.notify_one();
        }
        let began = Instant::now();
        if self.claim_below(0).await? > 0 {
            worker.signals.wake.notify_one();
        }
        let searched = began.elapsed().saturating_sub(self.trip);
        self.rested_at = Instant::now() + rest_after(searched);
        Ok(())
    }

    /// Claims jobs between a place and the floors. If there is no room for them, the next claim
    /// with room looks there first.
    async fn claim_below(&mut self, above: i64) -> Result<usize, sqlx::Error> {
        let worker = &self.claimer.worker;
        // Where runs take long, late jobs without a slot would only be given back.
        let late = match worker.prefetch.is_stalled() {
            true => 0,
            false => LATE_MAX.min(worker.prefetch.target()),
        };
        let room = match worker.is_quiet() {
            true => 0,
            false => worker.room(0).max(late),
        };
        if room == 0 {
            if !worker.lanes().below(above).is_empty() {
                worker.floors.owe(above);
            }
            return Ok(0);
        }
        self.claimer.claim_below(above, room).await
    }
}

/// Waits until a claim has raised the floors, until a notification led to no job above them, or
/// until it is time to check whether a transaction is still open.
async fn look_is_due<S: State>(worker: &Worker<S>, open: &OpenTransactions) {
    sleep_until(open.earliest_look().into()).await;
    let next = if worker.signals.is_idle() && worker.shared.idle.listens {
        open.next_look_idle()
    } else if worker.has_unsettled() && worker.room(0) > 0 {
        Some(open.earliest_look())
    } else {
        None
    };
    let late = worker.signals.late.notified();
    match next {
        Some(next) => _ = timeout_at(next.into(), late).await,
        None => late.await,
    }
}

async fn sweep_is_due<S>(worker: &Worker<S>, rested_at: Instant) {
    sleep_until(rested_at.into()).await;
    let is_busy_for_long = async {
        sleep_until((rested_at + SWEEP_INTERVAL).into()).await;
        while worker.signals.is_idle() {
            worker.signals.is_busy().await;
            sleep(SWEEP_INTERVAL).await;
        }
    };
    tokio::select! {
        () = worker.signals.sweep.notified() => {}
        () = is_busy_for_long => {}
    }
}
