//! The unblocker: makes blocked jobs ready when their key has room.
//!
//! It checks the keys whose slots this process has freed, and now and then all keys: a key may have
//! a new start by its rate, its limit may have been raised, or the process that freed a slot may
//! have died. Any number may run at once. It goes on while a process stops, because the runs that
//! end then free slots too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::transitions::unblock::{Unblocked, blocked_keys, unblock};

use super::supervision::ServiceContext;
use crate::completer::FreedKeys;

/// The most keys that one step of a scan checks.
const STEP_KEYS: u32 = 500;

/// Freed keys are checked in up to so many parts, of at least so many keys: while one part is
/// checked, the jobs of the part before are claimed.
const PARTS: usize = 4;
const PART_MIN: usize = 25;

/// The time between two scans, as a multiple of the time that the last one took.
const SCAN_REST: u32 = 20;
const SCAN_REST_MAX: Duration = Duration::from_secs(30);

/// The shortest wait before a key is checked for its next start, after a check that moved a job,
/// and after one that moved none.
const START_MIN: Duration = Duration::from_millis(5);
const START_MIN_WITHOUT_JOBS: Duration = Duration::from_millis(20);

pub(crate) struct Unblocker {
    context: ServiceContext,
    freed_keys: Arc<FreedKeys>,
    /// The keys that are checked again when their rate allows the next start.
    starts: BTreeMap<String, Instant>,
    /// When the scan of all keys goes on, or the next one begins.
    scan_at: Instant,
    scan_began: Instant,
    /// The last key that was scanned; empty between two scans.
    scanned: String,
}

impl Unblocker {
    pub(crate) fn new(mut context: ServiceContext, freed_keys: Arc<FreedKeys>) -> Self {
        context.connection = context.connection.without_sync();
        Self {
            context,
            freed_keys,
            starts: BTreeMap::new(),
            scan_at: Instant::now(),
            scan_began: Instant::now(),
            scanned: String::new(),
        }
    }

    /// Checks freed keys at once, keys with a rate when their next start is due, and, in a process
    /// that dispatches, all keys with blocked jobs every `poll_interval`. Ends only with an error.
    pub(crate) async fn run(mut self) -> Result<(), sqlx::Error> {
        loop {
            self.check_freed_keys().await?;
            self.check_due_starts().await?;
            self.scan_some().await?;
            let next_start = self.starts.values().min();
            let next = next_start.map_or(self.scan_at, |start| self.scan_at.min(*start));
            tokio::select! {
                biased;
                () = self.freed_keys.added() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    async fn check_freed_keys(&mut self) -> Result<(), sqlx::Error> {
        let mut taken = self.freed_keys.take();
        if taken.rest().is_empty() {
            return Ok(());
        }
        let part = taken.rest().len().div_ceil(PARTS).max(PART_MIN);
        while let Some(keys) = taken.rest().chunks(part).next() {
            let checked = keys.len();
            self.check(keys).await?;
            taken.note_checked(checked);
        }
        self.freed_keys.note_check();
        Ok(())
    }

    async fn check_due_starts(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        let due = self.starts.extract_if(.., |_, start| *start <= now);
        let due: Vec<String> = due.map(|(key, _)| key).collect();
        self.check(&due).await
    }

    /// Checks the next keys of a scan, if it is time for it. Freed keys are checked between two
    /// such steps, so that they do not wait for the end of a long scan. The longer a scan took, the
    /// later the next one begins.
    async fn scan_some(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        if now < self.scan_at {
            return Ok(());
        }
        let settings = &self.context.settings.dispatcher;
        let poll_interval = settings.poll_interval;
        if !settings.enabled {
            self.scan_at = now + poll_interval;
            return Ok(());
        }
        if self.scanned.is_empty() {
            self.scan_began = now;
        }
        let (schema, after) = (&self.context.schema, &self.scanned);
        let connection = &mut self.context.connection;
        let keys = connection
            .run(async |conn| blocked_keys(conn, schema, after, STEP_KEYS).await)
            .await?;
        self.check(&keys).await?;
        match keys.last() {
            Some(last) if keys.len() == STEP_KEYS as usize => self.scanned.clone_from(last),
            _ => {
                self.scanned.clear();
                let rest = (self.scan_began.elapsed() * SCAN_REST).min(SCAN_REST_MAX);
                self.scan_at = Instant::now() + rest.max(poll_interval);
            }
        }
        Ok(())
    }

    async fn check(&mut self, keys: &[String]) -> Result<(), sqlx::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let schema = &self.context.schema;
        let connection = &mut self.context.connection;
        let Unblocked { jobs, next_starts } = connection
            .run(async |conn| unblock(conn, schema, keys).await)
            .await?;
        let mut wait_min = START_MIN_WITHOUT_JOBS;
        if jobs > 0 {
            wait_min = START_MIN;
            self.freed_keys.note_check();
        }
        let now = Instant::now();
        let starts = next_starts.into_iter();
        let starts = starts.map(|(key, wait)| (key, now + wait.max(wait_min)));
        self.starts.extend(starts);
        Ok(())
    }
}
