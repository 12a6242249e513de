//! Lets blocked jobs go on whose key has room: because this process has freed a slot of it, and every
//! now and then whatever the reason. A key may have a start again, its limit may have been raised, or
//! whoever should have looked may have died. Any number may run at once.
//!
//! It goes on while the runs of a process that stops come to their ends, which free slots too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::Schema;
use queue_core::transitions::unblock::{Unblocked, blocked_keys, unblock};

use crate::completer::FreedKeys;
use crate::config::DispatcherSettings;
use crate::connection::Connection;

/// The keys that one statement looks at.
const KEYS: u32 = 500;

/// Keys whose slots were freed are looked at in up to so many parts, of at least so many keys but for
/// the last: while one is looked at, the jobs of the one before are claimed.
const PARTS: usize = 4;
const PART_MIN: usize = 25;

/// How many times as long as a pass over all keys took the next one is away.
const PASS_REST: u32 = 20;
const PASS_REST_MAX: Duration = Duration::from_secs(30);

/// The shortest wait before a key's next start is looked for, after a look that moved a job, and
/// after one that moved none.
const START_MIN: Duration = Duration::from_millis(5);
const START_MIN_IN_VAIN: Duration = Duration::from_millis(20);

pub(crate) struct Unblocker {
    connection: Connection,
    schema: Schema,
    settings: DispatcherSettings,
    freed_keys: Arc<FreedKeys>,
    /// When keys have their next start.
    starts: BTreeMap<String, Instant>,
    pass: Pass,
}

/// Where the look at all keys stands.
enum Pass {
    Rests { until: Instant },
    Goes { began: Instant, after: String },
}

impl Unblocker {
    pub(crate) fn new(
        connection: Connection,
        schema: Schema,
        settings: DispatcherSettings,
        freed_keys: Arc<FreedKeys>,
    ) -> Self {
        Self {
            connection: connection.relaxed(),
            schema,
            settings,
            freed_keys,
            starts: BTreeMap::new(),
            pass: Pass::Rests {
                until: Instant::now(),
            },
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
            let wait = self.next_look().saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                () = self.freed_keys.added() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn next_look(&self) -> Instant {
        let pass = match self.pass {
            Pass::Rests { until } => until,
            Pass::Goes { .. } => Instant::now(),
        };
        self.starts
            .values()
            .min()
            .map_or(pass, |start| pass.min(*start))
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
    /// nobody whose key was freed waits for the end of a long pass.
    async fn look_at_some(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        let (began, after) = match &self.pass {
            Pass::Rests { until } if now < *until => return Ok(()),
            Pass::Rests { .. } if !self.settings.enabled => {
                self.rest(Duration::ZERO);
                return Ok(());
            }
            Pass::Rests { .. } => (now, String::new()),
            Pass::Goes { began, after } => (*began, after.clone()),
        };
        let schema = &self.schema;
        let keys = self
            .connection
            .run(async |conn| blocked_keys(conn, schema, &after, KEYS).await)
            .await?;
        self.look(&keys).await?;
        match keys.last() {
            Some(last) if keys.len() == KEYS as usize => {
                self.pass = Pass::Goes {
                    began,
                    after: last.clone(),
                };
            }
            _ => self.rest(began.elapsed()),
        }
        Ok(())
    }

    /// Rests after a pass, the longer the longer it took.
    fn rest(&mut self, took: Duration) {
        let rest = (took * PASS_REST).min(PASS_REST_MAX);
        self.pass = Pass::Rests {
            until: Instant::now() + rest.max(self.settings.poll_interval),
        };
    }

    async fn look(&mut self, keys: &[String]) -> Result<(), sqlx::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let schema = &self.schema;
        let Unblocked { jobs, next_starts } = self
            .connection
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
