//! The dispatcher: makes scheduled jobs ready when they are due. Any number may run at once.

use std::time::{Duration, Instant};

use queue_core::transitions::promote::{next_due, promote};

use super::supervision::ServiceContext;

/// The shortest sleep, so that a job that is about to be due does not cause a tight loop.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// Promotes due jobs until the process stops. Sleeps until the next one is due, and looks every
/// `poll_interval` whether a job was scheduled meanwhile that is due sooner.
pub(crate) async fn dispatch(context: ServiceContext) -> Result<(), sqlx::Error> {
    let (schema, settings) = (&context.schema, &context.settings.dispatcher);
    let mut sleep_min = SLEEP_MIN;
    while !context.stopping.is_cancelled() {
        let began = Instant::now();
        let (promoted, wait) = context
            .shared
            .run(async |conn| {
                let promoted = promote(conn, schema, None, settings.batch_size).await?;
                if promoted == u64::from(settings.batch_size) {
                    return Ok((promoted, None));
                }
                let due = next_due(conn, schema).await?;
                Ok((promoted, Some(due.unwrap_or(Duration::MAX))))
            })
            .await?;
        // A job that is due but was not promoted is locked, perhaps for long.
        sleep_min = if promoted == 0 && wait.is_some_and(|wait| wait < sleep_min) {
            (sleep_min * 2).min(settings.poll_interval)
        } else {
            SLEEP_MIN.min(settings.poll_interval)
        };
        if let Some(wait) = wait {
            let due_at = Instant::now().checked_add(wait.max(sleep_min));
            let due = context
                .lookout
                .until_due(due_at, began, settings.poll_interval, |seen| {
                    seen.scheduled_at
                });
            context.stopping.run_until_cancelled(due).await;
        }
    }
    Ok(())
}
