//! The heartbeat: shows that this process is alive, detects when other processes may presume it dead, and
//! detects connections that were cut.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use queue_core::JobId;
use queue_core::counts::append;
use queue_core::process::{Asked, ProcessRequest, heartbeat};
use queue_core::transitions::cancel::cancel_requests;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::supervision::ServiceContext;
use crate::app::State;
use crate::attempt::StopReason;
use crate::completer::EndCounts;
use crate::connection::{PATIENCE, logged, timely};
use crate::health::Health;
use crate::metrics::note_missed_heartbeat;
use crate::stop::Stop;
use crate::worker::Shared;

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

/// What a heartbeat reads: what the process, and jobs that it runs, were asked to do.
struct Requests {
    process: Asked,
    cancelled: Vec<(JobId, i32)>,
}

/// Writes the heartbeat until the process may no longer hold its jobs, and returns why. Does meanwhile what
/// it reads there: stops the process or its jobs, or makes it quiet.
pub(crate) async fn beat<S: State>(
    mut context: ServiceContext,
    shared: Arc<Shared<S>>,
    health: Health,
    stop: Stop,
) -> Lost {
    let interval = context.settings.process.heartbeat_interval;
    let silence_max = context.settings.process.silent_after();
    let mut last = Instant::now();
    let mut has_failed = false;
    loop {
        let sent = Instant::now();
        let beating = beat_on_some_connection(&mut context, &shared, &mut has_failed);
        let Ok(beaten) = timeout_at(last + silence_max, beating).await else {
            note_missed_heartbeat();
            return Lost::Silent;
        };
        if beaten.is_err() {
            note_missed_heartbeat();
        }
        match beaten {
            Ok(None) => return Lost::DeclaredDead,
            Ok(Some(requests)) => {
                last = sent;
                health.note_heartbeat(sent.into_std());
                for (job, attempt) in requests.cancelled {
                    let cancelled = StopReason::Cancelled;
                    shared.in_flight.stop(job, Some(attempt), cancelled);
                }
                heed(requests.process, &shared.asked, &stop);
                append_counts(&mut context, &shared.counts, &mut has_failed).await;
            }
            Err(error) if is_timeout(&error) || context.connection.outage().covers(&error) => {
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
        wait(interval, &context).await;
    }
}

/// Waits for the interval, or until an operation on another connection takes long.
async fn wait(interval: Duration, context: &ServiceContext) {
    // At most one beat in that time.
    let earliest = Instant::now() + PATIENCE;
    let doubted = async {
        context.connection.cuts().doubted().await;
        sleep_until(earliest).await;
    };
    tokio::select! {
        () = context.lookout.pause(interval) => {}
        () = doubted => {}
    }
}

/// Writes the heartbeat, by a new connection if the present one does not answer. After any failure, the
/// connections opened before the first that answers again, perhaps some heartbeats later, are replaced: they
/// may be cut, and nothing else would find that out soon.
async fn beat_on_some_connection<S>(
    context: &mut ServiceContext,
    shared: &Shared<S>,
    has_failed: &mut bool,
) -> Result<Option<Requests>, sqlx::Error> {
    let interval = context.settings.process.heartbeat_interval;
    let limit = ANSWER_TIMEOUT.min(interval);
    let mut beaten = timely(limit, beat_once(context, shared)).await;
    *has_failed |= beaten.is_err();
    if beaten.as_ref().is_err_and(is_timeout) {
        tracing::warn!(
            "the database did not answer the heartbeat in time; trying a new connection"
        );
        beaten = timely(interval, beat_once(context, shared)).await;
    }
    let requests = beaten?;
    if mem::take(has_failed) {
        context.connection.note_cut();
    }
    Ok(requests)
}

/// Appends what has been counted since the last heartbeat.
async fn append_counts(context: &mut ServiceContext, counts: &EndCounts, has_failed: &mut bool) {
    let ServiceContext {
        connection, schema, ..
    } = context;
    let appending = counts.append(async |counts| {
        let appending = connection.run(async |conn| append(conn, schema, counts).await);
        let appended = timely(ANSWER_TIMEOUT, appending).await;
        *has_failed |= appended.is_err();
        appended
    });
    appending.await;
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// Does what the process was asked to do, if that is new.
fn heed(asked: Asked, known: &watch::Sender<Asked>, stop: &Stop) {
    if asked == *known.borrow() {
        return;
    }
    let by = asked.by.as_deref();
    match asked.request {
        Some(ProcessRequest::Quiet) => tracing::info!(by, "asked to be quiet"),
        Some(ProcessRequest::Stop) => {
            tracing::info!(by, "asked to stop");
            stop.gracefully();
        }
        None => tracing::info!(by, "asked to claim jobs again"),
    }
    known.send_replace(asked);
}

/// Writes the heartbeat, and returns what it reads. Returns nothing if this process has been declared dead.
async fn beat_once<S>(
    context: &mut ServiceContext,
    shared: &Shared<S>,
) -> Result<Option<Requests>, sqlx::Error> {
    let (schema, process) = (&context.schema, shared.process);
    let is_stopping = context.stopping.is_cancelled();
    context
        .connection
        .run(async |conn| {
            let Some(asked) = heartbeat(conn, schema, process, is_stopping).await? else {
                return Ok(None);
            };
            let cancelled = match shared.in_flight.count() {
                0 => Vec::new(),
                _ => cancel_requests(conn, schema, process).await?,
            };
            Ok(Some(Requests {
                process: asked,
                cancelled,
            }))
        })
        .await
}
