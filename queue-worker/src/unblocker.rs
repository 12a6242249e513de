//! Lets blocked jobs go on whose key has room: because this process has freed a slot of it, and every
//! now and then whatever the reason. A key may have a start again, its limit may have been raised, or
//! whoever should have looked may have died. Any number may run at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::Schema;
use queue_core::transitions::unblock::{blocked_keys, unblock};
use tokio_util::sync::CancellationToken;

use crate::config::DispatcherSettings;
use crate::link::Link;
use crate::vacated::Vacated;

/// The keys that one statement looks at.
const KEYS: u32 = 500;

/// How many times as long as a pass over all keys took the next one is away.
const PASS_REST: u32 = 20;
const PASS_REST_MAX: Duration = Duration::from_secs(30);

/// The shortest sleep before the next start of a key.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// Looks at keys whose slots were freed at once, at those that wait for a start when it is due, and,
/// in a process that dispatches, at all that jobs wait for every `poll_interval`, until the process
/// stops.
pub(crate) async fn unblock_keys(
    mut link: Link,
    schema: Schema,
    settings: DispatcherSettings,
    vacated: Arc<Vacated>,
    stopping: CancellationToken,
) -> Result<(), sqlx::Error> {
    link = link.relaxed();
    let mut starts = Starts::default();
    let mut next_pass = Instant::now();
    while !stopping.is_cancelled() {
        let keys = vacated.take();
        if !keys.is_empty() {
            look(&mut link, &schema, keys, &mut starts).await?;
            vacated.note_look();
        }
        for key in starts.take_due(Instant::now()) {
            look(&mut link, &schema, vec![key], &mut starts).await?;
        }
        let began = Instant::now();
        if began >= next_pass {
            let mut rest = settings.poll_interval;
            if settings.enabled {
                starts = pass(&mut link, &schema, &stopping).await?;
                rest = rest.max((began.elapsed() * PASS_REST).min(PASS_REST_MAX));
            }
            next_pass = Instant::now() + rest;
        }
        let next = starts
            .next()
            .map_or(next_pass, |start| start.min(next_pass));
        let wait = next
            .saturating_duration_since(Instant::now())
            .max(SLEEP_MIN);
        tokio::select! {
            () = stopping.cancelled() => {}
            () = vacated.added() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    link.close().await;
    Ok(())
}

/// When keys have their next start.
#[derive(Default)]
struct Starts {
    keys: BTreeMap<String, Instant>,
}

impl Starts {
    fn take_due(&mut self, now: Instant) -> Vec<String> {
        let due = self.keys.iter().filter(|(_, start)| **start <= now);
        let due: Vec<String> = due.map(|(key, _)| key.clone()).collect();
        for key in &due {
            self.keys.remove(key);
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        self.keys.values().min().copied()
    }
}

/// Looks at all keys, and returns when those have their next start that wait for one.
async fn pass(
    link: &mut Link,
    schema: &Schema,
    stopping: &CancellationToken,
) -> Result<Starts, sqlx::Error> {
    let mut starts = Starts::default();
    let mut after = String::new();
    while !stopping.is_cancelled() {
        let keys = link
            .run(async |conn| blocked_keys(conn, schema, &after, KEYS).await)
            .await?;
        let Some(last) = keys.last() else {
            break;
        };
        after.clone_from(last);
        look(link, schema, keys, &mut starts).await?;
    }
    Ok(starts)
}

/// Looks at some keys. When one of them waits for a start, each is looked at again by itself.
async fn look(
    link: &mut Link,
    schema: &Schema,
    keys: Vec<String>,
    starts: &mut Starts,
) -> Result<(), sqlx::Error> {
    let unblocked = link
        .run(async |conn| unblock(conn, schema, &keys).await)
        .await?;
    let Some(wait) = unblocked.next_start else {
        return Ok(());
    };
    if let [key] = &keys[..] {
        starts.keys.insert(key.clone(), Instant::now() + wait);
        return Ok(());
    }
    for key in keys {
        Box::pin(look(link, schema, vec![key], starts)).await?;
    }
    Ok(())
}
