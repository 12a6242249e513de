//! Lets blocked jobs go on whose key has room: because this process has freed a slot of it, and every
//! now and then whatever the reason. A key may have a start again, its limit may have been raised, or
//! whoever should have looked may have died. Any number may run at once.
//!
//! It goes on while the runs of a process that stops come to their ends, which free slots too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::transitions::unblock::{Unblocked, blocked_keys, unblock};

use super::supervision::ServiceContext;
use crate::completer::FreedKeys;

/// The keys that one statement looks at.
const KEYS: u32 = 500;

/// Keys whose slots were freed are looked at in up to so many parts, of at least so many keys but for
/// the last: while one is looked at, the jobs of the one before are claimed.
const PARTS: usize = 4;
const PART_MIN: usize = 25;

/// How many times as long as a scan of all keys took the next one is away.
const SCAN_REST: u32 = 20;
const SCAN_REST_MAX: Duration = Duration::from_secs(30);

/// The shortest wait before a key's next start is looked for, after a look that moved a job, and
/// after one that moved none.
const START_MIN: Duration = Duration::from_millis(5);
const START_MIN_IN_VAIN: Duration = Duration::from_millis(20);

pub(crate) struct Unblocker {
    context: ServiceContext,
    freed_keys: Arc<FreedKeys>,
    /// When keys have their next start.
    starts: BTreeMap<String, Instant>,
    /// When the scan of all keys goes on, or the next one begins.
    scan_at: Instant,
    scan_began: Instant,
    /// The last key that was scanned; empty between two scans.
    scanned: String,
}

impl Unblocker {
    pub(crate) fn new(mut context: ServiceContext, freed_keys: Arc<FreedKeys>) -> Self {
        context.connection = context.connection.relaxed();
        Self {
            context,
            freed_keys,
            starts: BTreeMap::new(),
            scan_at: Instant::now(),
            scan_began: Instant::now(),
            scanned: String::new(),
        }
    }

    /// Looks at keys whose slots were freed at once, at those that wait for a start when it is due,
    /// and, in a process that dispatches, at all that jobs wait for every `poll_interval`. Ends only
    /// with an error.
    pub(crate) async fn run(mut self) -> Result<(), sqlx::Error> {
        loop {
            self.look_at_freed_keys().await?;
            self.look_at_starts().await?;
            self.look_at_some().await?;
            let next_start = self.starts.values().min();
            let next = next_start.map_or(self.scan_at, |start| self.scan_at.min(*start));
            tokio::select! {
                biased;
                () = self.freed_keys.added() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    async fn look_at_freed_keys(&mut self) -> Result<(), sqlx::Error> {
        let mut taken = self.freed_keys.take();
        if taken.rest().is_empty() {
            return Ok(());
        }
        let part = taken.rest().len().div_ceil(PARTS).max(PART_MIN);
        while let Some(keys) = taken.rest().chunks(part).next() {
            let looked_at = keys.len();
            self.look(keys).await?;
            taken.settle(looked_at);
        }
        self.freed_keys.note_look();
        Ok(())
    }

    async fn look_at_starts(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        let due = self.starts.iter().filter(|(_, start)| **start <= now);
        let due: Vec<String> = due.map(|(key, _)| key.clone()).collect();
        for key in &due {
            self.starts.remove(key);
        }
        self.look(&due).await
    }

    /// Looks at some of all keys, if it is time for it: the others come with the next turns, so that
    /// nobody whose key was freed waits for the end of a long scan. The longer a scan took, the
    /// later the next one begins.
    async fn look_at_some(&mut self) -> Result<(), sqlx::Error> {
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
        let ServiceContext {
            connection, schema, ..
        } = &mut self.context;
        let after = &self.scanned;
        let keys = connection
            .run(async |conn| blocked_keys(conn, schema, after, KEYS).await)
            .await?;
        self.look(&keys).await?;
        match keys.last() {
            Some(last) if keys.len() == KEYS as usize => self.scanned.clone_from(last),
            _ => {
                self.scanned.clear();
                let rest = (self.scan_began.elapsed() * SCAN_REST).min(SCAN_REST_MAX);
                self.scan_at = Instant::now() + rest.max(poll_interval);
            }
        }
        Ok(())
    }

    async fn look(&mut self, keys: &[String]) -> Result<(), sqlx::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let ServiceContext {
            connection, schema, ..
        } = &mut self.context;
        let Unblocked { jobs, next_starts } = connection
            .run(async |conn| unblock(conn, schema, keys).await)
            .await?;
        let wait_min = if jobs > 0 {
            START_MIN
        } else {
            START_MIN_IN_VAIN
        };
        let now = Instant::now();
        for (key, wait) in next_starts {
            self.starts.insert(key, now + wait.max(wait_min));
        }
        if jobs > 0 {
            self.freed_keys.note_look();
        }
        Ok(())
    }
}
