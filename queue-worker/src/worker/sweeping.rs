//! What has appeared below the floors: places that were not committed in order, and jobs that were
//! given back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Worker;
use crate::link::Link;

/// How often a busy worker sweeps, and how much longer than a sweep it then waits.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
const SWEEP_REST: u32 = 20;
const SWEEP_REST_MAX: Duration = Duration::from_secs(30);

/// The stragglers a sweep may claim although there is no room for them.
const STRAGGLERS_MAX: usize = 16;

impl<S: Send + Sync + 'static> Worker<S> {
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
    pub(super) async fn claim_below(
        &self,
        link: &mut Link,
        limit: usize,
    ) -> Result<usize, sqlx::Error> {
        let below = self.lanes().below();
        if below.is_empty() {
            return Ok(0);
        }
        let began = Instant::now();
        let count = self.claim(link, &below, limit, true).await?;
        *self.rest() = (began.elapsed() * SWEEP_REST).min(SWEEP_REST_MAX);
        Ok(count)
    }
}
