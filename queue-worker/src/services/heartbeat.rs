//! Says that this process lives, and notices when others must think it does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::process::{ProcessId, heartbeat};
use queue_core::transitions::cancel::cancel_requests;
use queue_core::{JobId, Schema};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::attempt::{InFlight, StopReason};
use crate::config::ProcessSettings;
use crate::connection::Connection;

/// Why a process may no longer hold its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It has been declared dead: its row is gone.
    DeclaredDead,
    /// It could not say that it lives for so long that it may be declared dead any moment.
    Silent,
}

pub(crate) struct Heartbeat {
    pub(crate) connection: Connection,
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) settings: ProcessSettings,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) stopping: CancellationToken,
}

impl Heartbeat {
    /// Beats until the process may no longer hold its jobs, and says why.
    pub(crate) async fn run(mut self) -> Lost {
        let interval = self.settings.heartbeat_interval;
        let silence_max = self.settings.dead_after.mul_f64(2.0 / 3.0);
        let mut last = Instant::now();
        let mut waits = tokio::time::interval(interval);
        waits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            waits.tick().await;
            let sent = Instant::now();
            match timeout(interval, self.beat()).await {
                Ok(Ok(None)) => return Lost::DeclaredDead,
                Ok(Ok(Some(requests))) => {
                    last = sent;
                    self.pass_on(&requests);
                }
                Ok(Err(error)) => tracing::warn!(%error, "could not write the heartbeat"),
                Err(_elapsed) => tracing::warn!("the heartbeat was not answered in time"),
            }
            if last.elapsed() + interval > silence_max {
                wait_until(last + silence_max).await;
                return Lost::Silent;
            }
        }
    }

    /// Writes the heartbeat, and reads which jobs have been asked to stop; nothing, when this
    /// process has been declared dead.
    async fn beat(&mut self) -> Result<Option<Vec<(JobId, i32)>>, sqlx::Error> {
        let Self {
            connection,
            schema,
            process,
            stopping,
            ..
        } = self;
        let is_stopping = stopping.is_cancelled();
        connection
            .run(async |conn| {
                if !heartbeat(conn, schema, *process, is_stopping).await? {
                    return Ok(None);
                }
                cancel_requests(conn, schema, *process).await.map(Some)
            })
            .await
    }

    fn pass_on(&self, requests: &[(JobId, i32)]) {
        for (job, attempt) in requests {
            self.in_flight
                .stop(*job, Some(*attempt), StopReason::Cancelled);
        }
    }
}

async fn wait_until(moment: Instant) {
    let left: Duration = moment.saturating_duration_since(Instant::now());
    tokio::time::sleep(left).await;
}
