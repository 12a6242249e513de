//! The unblocker: makes blocked jobs ready when their key has room.
//!
//! It checks the keys whose slots this process has freed, and now and then all keys: a key may have
//! a new start by its rate, its limit may have been raised, or the process that freed a slot may
//! have died. Any number may run at once. It goes on while a process stops, because the runs that
//! end then free slots too.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::transitions::unblock::{Unblocked, blocked_keys, unblock};
use tokio::time::sleep_until;

use super::supervision::ServiceContext;
use crate::completer::FreedKeys;
use crate::rest::rest_after;

/// The most keys that one step of a scan checks.
const STEP_KEYS: u32 = 500;

/// Freed keys are checked in up to so many parts, of at least so many keys: while one part is
/// checked, the jobs of the part before are claimed.
const PARTS: usize = 4;
const PART_MIN: usize = 25;

/// The shortest wait before a key is checked for its next start, after a check that moved a job,
/// and after one that moved none.
const START_MIN: Duration = Duration::from_millis(5);
const START_MIN_WITHOUT_JOBS: Duration = Duration::from_millis(20);

pub(crate) struct Unblocker {
    context: ServiceContext,
    freed_keys: Arc<FreedKeys>,
    /// The keys that are checked again when their rate allows the next start.
    starts: BTreeMap<String, Instant>,
    /// When the last look began, or the last scan ended.
    looked_at: Instant,
    /// How long after that the next look is due.
    rest: Duration,
    scan: Option<Scan>,
}

/// A scan of all keys with blocked jobs.
struct Scan {
    began: Instant,
    /// The last key that was scanned.
    scanned: String,
}

impl Unblocker {
    pub(crate) fn new(mut context: ServiceContext, freed_keys: Arc<FreedKeys>) -> Self {
        context.connection = context.connection.without_sync();
        Self {
            context,
            freed_keys,
            starts: BTreeMap::new(),
            looked_at: Instant::now(),
            rest: Duration::ZERO,
            scan: None,
        }
    }

    /// Checks freed keys at once, keys with a rate when their next start is due, and, in a process
    /// that dispatches, all keys with blocked jobs every `poll_interval`. Ends only with an error.
    pub(crate) async fn run(mut self) -> Result<(), sqlx::Error> {
        loop {
            self.check_freed_keys().await?;
            self.check_due_starts().await?;
            self.scan_some().await?;
            if self.wait().await {
                let (began, scanned) = (Instant::now(), String::new());
                self.scan = Some(Scan { began, scanned });
            }
        }
    }

    /// Waits until there is something to check. Returns whether a scan begins.
    async fn wait(&mut self) -> bool {
        let next_start = self.starts.values().min().copied();
        let start_is_due = async {
            match next_start {
                Some(start) => sleep_until(start.into()).await,
                None => pending().await,
            }
        };
        let (freed_keys, lookout) = (&self.freed_keys, &self.context.lookout);
        let is_scanning = self.scan.is_some();
        let looks = !is_scanning && self.context.settings.dispatcher.enabled;
        let waiting = async {
            tokio::select! {
                biased;
                () = freed_keys.added() => None,
                () = start_is_due => None,
                () = ready(()), if is_scanning => None,
                seen = lookout.next(self.looked_at, self.rest), if looks => Some(seen),
            }
        };
        let Some(seen) = self.context.connection.idle_until(waiting).await else {
            return false;
        };
        self.looked_at = seen.began;
        self.rest = self.context.settings.dispatcher.poll_interval;
        seen.has_blocked
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

    /// Checks the next keys of a scan, if there is one. Freed keys are checked between two such steps,
    /// so that they do not wait for the end of a long scan. The longer a scan took, the later the next
    /// one begins.
    async fn scan_some(&mut self) -> Result<(), sqlx::Error> {
        let Some(Scan { began, scanned }) = self.scan.take() else {
            return Ok(());
        };
        let schema = &self.context.schema;
        let connection = &mut self.context.connection;
        let keys = connection
            .run(async |conn| blocked_keys(conn, schema, &scanned, STEP_KEYS).await)
            .await?;
        self.check(&keys).await?;
        match keys.last() {
            Some(last) if keys.len() == STEP_KEYS as usize => {
                let scanned = last.clone();
                self.scan = Some(Scan { began, scanned });
            }
            _ => {
                self.looked_at = Instant::now();
                let rest = rest_after(began.elapsed());
                self.rest = rest.max(self.context.settings.dispatcher.poll_interval);
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
