//! The dispatcher: makes scheduled jobs ready when they are due. Any number may run at once.
//!
//! It looks above its *floor*, the place up to which it has promoted, so that it does not walk over
//! jobs that were promoted before. Jobs that appear below the floor, because they were committed long
//! after their due time or were locked, are found by sweeps, which look everywhere.

use std::time::{Duration, Instant};

use queue_core::transitions::promote::{DuePlace, next_due, promote_after};

use super::supervision::ServiceContext;
use crate::rest::rest_after;
use crate::spans::note_work;

/// The shortest sleep, so that a job that is about to be due does not cause a tight loop.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// Promotes due jobs until the process stops. Sleeps until the next one is due, and looks every
/// `poll_interval` whether a job was scheduled meanwhile that is due sooner.
pub(crate) async fn dispatch(context: ServiceContext) -> Result<(), sqlx::Error> {
    let mut floor = Floor::new();
    let mut sleep_min = SLEEP_MIN;
    while !context.stopping.is_cancelled() {
        let began = Instant::now();
        let (promoted, wait) = promote_due(&context, &mut floor).await?;
        context.lookout.note_promoted(floor.place);
        let poll_interval = context.settings.dispatcher.poll_interval;
        // A job that is due but was not promoted is locked, perhaps for long.
        sleep_min = if promoted == 0 && wait.is_some_and(|wait| wait < sleep_min) {
            (sleep_min * 2).min(poll_interval)
        } else {
            SLEEP_MIN.min(poll_interval)
        };
        if let Some(wait) = wait {
            let due_at = Instant::now().checked_add(wait.max(sleep_min));
            let lookout = &context.lookout;
            let due = lookout.until_due(due_at, began, poll_interval, |seen| seen.scheduled_at);
            context.stopping.run_until_cancelled(due).await;
        }
    }
    Ok(())
}

/// Promotes due jobs once, and returns how many and the time until the next one is due. There is no
/// such time if more may be due now.
async fn promote_due(
    context: &ServiceContext,
    floor: &mut Floor,
) -> Result<(u64, Option<Duration>), sqlx::Error> {
    let (schema, settings) = (&context.schema, &context.settings.dispatcher);
    let after = floor.start_of_look(Instant::now());
    let (began, promoted, next) = context
        .shared
        .run(async |conn| {
            // Others may have used the connection until now.
            let began = Instant::now();
            let promoted = promote_after(conn, schema, after, None, settings.batch_size).await?;
            if promoted.jobs == u64::from(settings.batch_size) {
                return Ok((began, promoted, None));
            }
            let next = next_due(conn, schema, after).await?;
            Ok((began, promoted, Some(next)))
        })
        .await?;
    floor.place = next.map_or(promoted.last.unwrap_or(after), |next| next.floor);
    floor.note_look(after, began, Instant::now());
    note_work(
        "dispatch",
        usize::try_from(promoted.jobs).unwrap_or(usize::MAX),
        began,
    );
    let wait = next.map(|next| next.wait.unwrap_or(Duration::MAX));
    Ok((promoted.jobs, wait))
}

/// The place up to which this dispatcher has promoted, and when it sweeps.
struct Floor {
    place: DuePlace,
    sweep_at: Instant,
}

impl Floor {
    fn new() -> Self {
        Self {
            place: DuePlace::default(),
            sweep_at: Instant::now(),
        }
    }

    /// Returns the place after which the next look promotes.
    fn start_of_look(&self, now: Instant) -> DuePlace {
        match now < self.sweep_at {
            true => self.place,
            false => DuePlace::default(),
        }
    }

    /// Lets a look from the beginning be followed by a rest. The longer it took, the longer.
    fn note_look(&mut self, after: DuePlace, began: Instant, ended: Instant) {
        if after == DuePlace::default() {
            self.sweep_at = ended + rest_after(ended - began);
        }
    }
}
