//! The heartbeat: shows that this process is alive, and detects when other processes may presume it
//! dead.

use std::sync::Arc;

use queue_core::JobId;
use queue_core::process::{ProcessId, heartbeat};
use queue_core::transitions::cancel::cancel_requests;
use tokio::time::{Instant, sleep_until, timeout};

use super::supervision::ServiceContext;
use crate::attempt::{InFlight, StopReason};
use crate::connection::logged;

/// Why a process may no longer hold its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It has been declared dead: its row is gone.
    DeclaredDead,
    /// No heartbeat could be written for so long that it may be declared dead at any moment.
    Silent,
}

/// Writes the heartbeat until the process may no longer hold its jobs, and returns why.
pub(crate) async fn beat(
    mut context: ServiceContext,
    process: ProcessId,
    in_flight: Arc<InFlight>,
) -> Lost {
    let interval = context.settings.process.heartbeat_interval;
    let silence_max = context.settings.process.dead_after.mul_f64(2.0 / 3.0);
    let mut last = Instant::now();
    let mut waits = tokio::time::interval(interval);
    waits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        waits.tick().await;
        let sent = Instant::now();
        match timeout(interval, beat_once(&mut context, process)).await {
            Ok(Ok(None)) => return Lost::DeclaredDead,
            Ok(Ok(Some(requests))) => {
                last = sent;
                for (job, attempt) in requests {
                    in_flight.stop(job, Some(attempt), StopReason::Cancelled);
                }
            }
            Ok(Err(error)) if context.connection.outage().covers(&error) => {
                tracing::debug!(error = %logged(&error), "lost a connection");
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %logged(&error), "could not write the heartbeat");
            }
            Err(_elapsed) => tracing::warn!("the database did not answer the heartbeat in time"),
        }
        if last.elapsed() + interval > silence_max {
            sleep_until(last + silence_max).await;
            return Lost::Silent;
        }
    }
}

/// Writes the heartbeat, and returns the jobs and attempts that have been asked to stop. Returns
/// nothing if this process has been declared dead.
async fn beat_once(
    context: &mut ServiceContext,
    process: ProcessId,
) -> Result<Option<Vec<(JobId, i32)>>, sqlx::Error> {
    let schema = &context.schema;
    let is_stopping = context.stopping.is_cancelled();
    context
        .connection
        .run(async |conn| {
            if !heartbeat(conn, schema, process, is_stopping).await? {
                return Ok(None);
            }
            cancel_requests(conn, schema, process).await.map(Some)
        })
        .await
}
