//! Jobs that appear below the floors: at places that were not committed in order, or that were given
//! back.
//!
//! The worker looks at the end of the line soon after each claim, and when a transaction has ended
//! that was open before, it claims from the places that this one may have filled. All places below the
//! floors are swept as well, but more seldom: a sweep walks over everything that was claimed before.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::transitions::claim::line_end;
use tokio::time::{sleep_until, timeout_at};

use super::Worker;
use super::open_transactions::OpenTransactions;
use crate::connection::Connection;

/// How often a busy worker sweeps, and how much longer than a sweep it then waits.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
const SWEEP_REST: u32 = 20;
const SWEEP_REST_MAX: Duration = Duration::from_secs(30);

/// The late jobs that may be claimed although there is no room for them.
const LATE_MAX: usize = 16;

impl<S: Send + Sync + 'static> Worker<S> {
    /// Claims from below the floors until the process stops: what was committed late as soon as it
    /// is, and everything else often while the worker is busy, when asked while it is idle, and the
    /// more seldom the longer a sweep takes.
    pub(crate) async fn sweep_loop(
        self: Arc<Self>,
        mut connection: Connection,
    ) -> Result<(), sqlx::Error> {
        let mut open = OpenTransactions::new(Instant::now());
        let mut swept_at = Instant::now();
        // Only the second look knows an end of the line from before its snapshot.
        self.claim_late(&mut connection, &mut open).await?;
        self.claim_late(&mut connection, &mut open).await?;
        loop {
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => break,
                () = self.look_is_due(&open) => self.claim_late(&mut connection, &mut open).await?,
                () = self.sweep_is_due(swept_at) => {
                    self.sweep_once(&mut connection).await?;
                    swept_at = Instant::now();
                }
            }
        }
        connection.close().await;
        Ok(())
    }

    /// Waits until a claim has raised the floors, until news turned out to be about no job above
    /// them, or until it is time to look whether a transaction is still open.
    async fn look_is_due(&self, open: &OpenTransactions) {
        sleep_until(open.earliest_look().into()).await;
        let next = if self.dozing.load(Ordering::Relaxed) && self.shared.sleepers.listens() {
            open.next_look_asleep()
        } else if self.has_unsettled() && self.room(0) > 0 {
            Some(open.earliest_look())
        } else {
            None
        };
        tokio::select! {
            () = self.late.notified() => {}
            () = sleep_until_some(next) => {}
        }
    }

    /// Claims the jobs of transactions that have ended since the last look, from places that the
    /// floors have passed.
    async fn claim_late(
        &self,
        connection: &mut Connection,
        open: &mut OpenTransactions,
    ) -> Result<(), sqlx::Error> {
        let schema = &self.shared.schema;
        // Before the look: what it finds to be new has begun while this announcement stood.
        let announcement = self.shared.sleepers.announcement();
        let line = connection
            .run(async |conn| line_end(conn, schema).await)
            .await?;
        // A claim that was under way then may not have seen what had been committed, and is about to
        // raise the floors above it.
        drop(self.claiming_above.lock().await);
        let had_silent = open.has_silent();
        let above = open.observe(&line, Instant::now(), announcement);
        self.settled.store(open.settled(), Ordering::Relaxed);
        if had_silent && self.dozing.load(Ordering::Relaxed) {
            // What was committed may also be above the floors.
            self.wake.notify_one();
        }
        self.claim_below(connection, above).await?;
        Ok(())
    }

    /// Returns whether a claim has passed places that open transactions may still fill.
    pub(super) fn has_unsettled(&self) -> bool {
        self.lanes().highest_floor() > self.settled.load(Ordering::Relaxed)
    }

    fn rest(&self) -> MutexGuard<'_, Duration> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep_is_due(&self, swept_at: Instant) {
        let rested_at = swept_at + *self.rest();
        sleep_until(rested_at.into()).await;
        let mut due_at = rested_at + SWEEP_INTERVAL;
        loop {
            let asked = timeout_at(due_at.into(), self.sweep.notified())
                .await
                .is_ok();
            if asked || !self.dozing.load(Ordering::Relaxed) {
                return;
            }
            due_at = Instant::now() + SWEEP_INTERVAL;
        }
    }

    async fn sweep_once(&self, connection: &mut Connection) -> Result<(), sqlx::Error> {
        if self.learn_lanes(connection).await? {
            self.wake.notify_one();
        }
        let began = Instant::now();
        if self.claim_below(connection, 0).await? > 0 {
            self.wake.notify_one();
        }
        *self.rest() = (began.elapsed() * SWEEP_REST).min(SWEEP_REST_MAX);
        Ok(())
    }

    /// Claims jobs between a place and the floors. Without room for them, the next claim that has
    /// some looks there first.
    async fn claim_below(
        &self,
        connection: &mut Connection,
        above: i64,
    ) -> Result<usize, sqlx::Error> {
        let room = self.room(0).max(self.late_without_room());
        if room == 0 {
            if !self.lanes().below(above).is_empty() {
                self.owed.fetch_min(above, Ordering::Relaxed);
            }
            return Ok(0);
        }
        self.claim_up_to_floors(connection, above, room).await
    }

    /// Returns how many late jobs may be claimed that have to wait for a slot. Where runs take long,
    /// those would only be given back: they are left to the next claim that has room.
    fn late_without_room(&self) -> usize {
        if self.given_back.load(Ordering::Relaxed) == self.ended.load(Ordering::Relaxed) {
            return 0;
        }
        LATE_MAX.min(self.ahead.load(Ordering::Relaxed))
    }

    /// Claims up to `limit` jobs between a place and the floors.
    pub(super) async fn claim_up_to_floors(
        &self,
        connection: &mut Connection,
        above: i64,
        limit: usize,
    ) -> Result<usize, sqlx::Error> {
        let below = self.lanes().below(above);
        if below.is_empty() {
            return Ok(0);
        }
        let count = self.claim(connection, &below, limit, true).await?.count;
        if count >= limit {
            // There may be more of them.
            self.owed.fetch_min(above, Ordering::Relaxed);
        }
        Ok(count)
    }
}

async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
