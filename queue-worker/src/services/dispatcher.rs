//! The dispatcher: makes scheduled jobs ready when they are due. Any number may run at once.

use std::time::Duration;

use queue_core::transitions::promote::{next_due, promote};
use tokio::time::sleep;

use super::supervision::ServiceContext;

/// The shortest sleep, so that a job that is about to be due does not cause a tight loop.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// Promotes due jobs until the process stops. Sleeps until the next one is due, but at most for
/// `poll_interval`: jobs may be scheduled meanwhile.
pub(crate) async fn dispatch(mut context: ServiceContext) -> Result<(), sqlx::Error> {
    let (schema, settings) = (&context.schema, &context.settings.dispatcher);
    let mut sleep_min = SLEEP_MIN;
    while !context.stopping.is_cancelled() {
        let (promoted, wait) = context
            .connection
            .run(async |conn| {
                let promoted = promote(conn, schema, None, settings.batch_size).await?;
                if promoted == u64::from(settings.batch_size) {
                    return Ok((promoted, None));
                }
                let due = next_due(conn, schema).await?;
                Ok((promoted, Some(due.unwrap_or(settings.poll_interval))))
            })
            .await?;
        // A job that is due but was not promoted is locked, perhaps for long.
        sleep_min = if promoted == 0 && wait.is_some_and(|wait| wait < sleep_min) {
            (sleep_min * 2).min(settings.poll_interval)
        } else {
            SLEEP_MIN.min(settings.poll_interval)
        };
        if let Some(wait) = wait {
            let wait = wait.clamp(sleep_min, settings.poll_interval);
            context.stopping.run_until_cancelled(sleep(wait)).await;
        }
    }
    context.connection.close().await;
    Ok(())
}
