//! The heartbeat: shows that this process is alive, detects when other processes may presume it dead, and
//! detects connections that were cut.

use std::sync::Arc;
use std::time::Duration;

use queue_core::JobId;
use queue_core::counts::append;
use queue_core::process::{ProcessId, heartbeat};
use queue_core::transitions::cancel::cancel_requests;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until, timeout_at};

use super::supervision::ServiceContext;
use crate::attempt::{InFlight, StopReason};
use crate::completer::EndCounts;
use crate::connection::{Cuts, PATIENCE, logged, timely};

/// Why a process may no longer hold its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It has been declared dead: its row is gone.
    DeclaredDead,
    /// No heartbeat could be written for so long that it may be declared dead at any moment.
    Silent,
}

/// How long an answer may take until a new connection is tried.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes the heartbeat until the process may no longer hold its jobs, and returns why.
pub(crate) async fn beat(
    mut context: ServiceContext,
    process: ProcessId,
    in_flight: Arc<InFlight>,
    counts: Arc<EndCounts>,
) -> Lost {
    let interval = context.settings.process.heartbeat_interval;
    let silence_max = context.settings.process.dead_after.mul_f64(2.0 / 3.0);
    let mut last = Instant::now();
    let mut waits = tokio::time::interval(interval);
    waits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        wait(&mut waits, context.connection.cuts()).await;
        let sent = Instant::now();
        let beating = beat_on_some_connection(&mut context, process, &in_flight);
        let Ok(beaten) = timeout_at(last + silence_max, beating).await else {
            return Lost::Silent;
        };
        match beaten {
            Ok(None) => return Lost::DeclaredDead,
            Ok(Some(requests)) => {
                last = sent;
                for (job, attempt) in requests {
                    in_flight.stop(job, Some(attempt), StopReason::Cancelled);
                }
                append_counts(&mut context, &counts).await;
            }
            Err(error) if is_timeout(&error) => {
                tracing::warn!("the database did not answer the heartbeat in time");
            }
            Err(error) if context.connection.outage().covers(&error) => {
                tracing::debug!(error = %logged(&error), "lost a connection");
            }
            Err(error) => {
                tracing::warn!(error = %logged(&error), "could not write the heartbeat");
            }
        }
        if last.elapsed() + interval > silence_max {
            sleep_until(last + silence_max).await;
            return Lost::Silent;
        }
    }
}

/// Waits for the interval, or until an operation on another connection takes long.
async fn wait(waits: &mut Interval, cuts: &Cuts) {
    let doubted = async {
        // At most one beat in that time.
        tokio::time::sleep(PATIENCE).await;
        cuts.doubted().await;
    };
    tokio::select! {
        _ = waits.tick() => {}
        () = doubted => waits.reset(),
    }
}

/// Writes the heartbeat, by a new connection if the present one does not answer. If the new one does
/// answer, the connections opened before it were cut.
async fn beat_on_some_connection(
    context: &mut ServiceContext,
    process: ProcessId,
    in_flight: &InFlight,
) -> Result<Option<Vec<(JobId, i32)>>, sqlx::Error> {
    let interval = context.settings.process.heartbeat_interval;
    let limit = ANSWER_TIMEOUT.min(interval);
    match timely(limit, beat_once(context, process, in_flight)).await {
        Err(error) if is_timeout(&error) => {}
        beaten => return beaten,
    }
    let beaten = timely(interval, beat_once(context, process, in_flight)).await?;
    tracing::warn!("connections to the database were cut; opening new ones");
    context.connection.note_cut();
    Ok(beaten)
}

/// Appends what has been counted since the last heartbeat.
async fn append_counts(context: &mut ServiceContext, counts: &EndCounts) {
    let ServiceContext {
        connection, schema, ..
    } = context;
    let appending = counts.append(async |counts| {
        let appending = connection.run(async |conn| append(conn, schema, counts).await);
        timely(ANSWER_TIMEOUT, appending).await
    });
    appending.await;
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// Writes the heartbeat, and returns the jobs and attempts that have been asked to stop. Returns
/// nothing if this process has been declared dead.
async fn beat_once(
    context: &mut ServiceContext,
    process: ProcessId,
    in_flight: &InFlight,
) -> Result<Option<Vec<(JobId, i32)>>, sqlx::Error> {
    let schema = &context.schema;
    let is_stopping = context.stopping.is_cancelled();
    context
        .connection
        .run(async |conn| {
            if !heartbeat(conn, schema, process, is_stopping).await? {
                return Ok(None);
            }
            if in_flight.count() == 0 {
                return Ok(Some(Vec::new()));
            }
            cancel_requests(conn, schema, process).await.map(Some)
        })
        .await
}
