//! Wakes the jobs that wait for events. Any number of processes may do so at once.
//!
//! The transaction that emits an event wakes no job, because one may begin to wait before it is committed.
//! So the event is open then, until all jobs that wait for it have been woken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::JobId;
use queue_core::events::{OPEN_MAX, open, open_strays, wake_next};
use tokio::sync::Notify;

use super::supervision::ServiceContext;
use crate::rest::rest_after;

/// The time between two passes over all waits: for those whose process died before it looked for the event.
const STRAYS_EVERY: Duration = Duration::from_secs(60);

/// Wakes jobs until the process stops: at once when an event is said to be emitted, and at intervals.
pub(crate) async fn wake_waiting(
    context: ServiceContext,
    emitted: Arc<Notify>,
) -> Result<(), sqlx::Error> {
    let mut looked_at = Instant::now();
    let mut strays_at = looked_at + STRAYS_EVERY;
    let poll_interval = context.settings.dispatcher.poll_interval;
    wake_open(&context).await?;
    while !context.stopping.is_cancelled() {
        let looking = context.lookout.next(looked_at, poll_interval);
        let seen = tokio::select! {
            () = context.stopping.cancelled() => break,
            () = emitted.notified() => {
                wake_open(&context).await?;
                continue;
            }
            seen = looking => seen,
        };
        looked_at = seen.began;
        if strays_at <= Instant::now() {
            let took = open_all_strays(&context).await?;
            strays_at = Instant::now() + STRAYS_EVERY.max(rest_after(took));
            wake_open(&context).await?;
        } else if seen.has_open_events {
            wake_open(&context).await?;
        }
    }
    Ok(())
}

/// Wakes the jobs that wait for open events, some by some.
async fn wake_open(context: &ServiceContext) -> Result<(), sqlx::Error> {
    let (schema, mut name) = (&context.schema, String::new());
    loop {
        let opening = async |conn: &mut _| open(conn, schema, &name).await;
        let events = context.shared.run(opening).await?;
        let Some(last) = events.last() else {
            return Ok(());
        };
        name.clone_from(last);
        wake_all(context, &events).await?;
        if events.len() < OPEN_MAX as usize || context.stopping.is_cancelled() {
            return Ok(());
        }
    }
}

async fn wake_all(context: &ServiceContext, events: &[String]) -> Result<(), sqlx::Error> {
    let (schema, mut after) = (&context.schema, Some(JobId(0)));
    while let Some(last) = after
        && !context.stopping.is_cancelled()
    {
        let waking = async |conn: &mut _| wake_next(conn, schema, events, last).await;
        after = context.shared.run(waking).await?;
    }
    Ok(())
}

/// Opens the events for which jobs wait although they were emitted. Returns how long that took.
async fn open_all_strays(context: &ServiceContext) -> Result<Duration, sqlx::Error> {
    let (schema, began) = (&context.schema, Instant::now());
    let mut after = Some(JobId(0));
    while let Some(last) = after
        && !context.stopping.is_cancelled()
    {
        let opening = async |conn: &mut _| open_strays(conn, schema, last).await;
        after = context.shared.run(opening).await?;
    }
    Ok(began.elapsed())
}
