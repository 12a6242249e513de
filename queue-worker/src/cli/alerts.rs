//! Sends alerts, when something is wrong and when it is over, if the configuration has `[alerts]`.

use std::time::Duration;

use queue_core::alerts::{Alert, Turn, Watch, end_turn, find, record_sent, take_turn};
use queue_core::{Queue, Redaction, begin_read_committed};
use serde_json::json;
use sqlx::PgConnection;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Failure;
use super::output::program_name;
use crate::config::{AlertSettings, Config};
use crate::connection::logged;
use crate::handlers::Receiver;
use crate::spans::of_shard;

/// How long a turn may last. If the process dies in it, another takes the next one after that.
const TURN_MAX: Duration = Duration::from_secs(60);

/// How long the end of a program may wait for the end of a turn.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// How many alerts a message names. It counts the others, which the next messages name.
const NAMED_MAX: usize = 50;

/// The task that finds and sends alerts.
pub(super) struct Alerts {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// Starts to find the alerts of a queue, or of a shard.
pub(super) fn start(
    shard: Option<&str>,
    queue: &Queue,
    config: &Config,
) -> Result<Option<Alerts>, Failure> {
    let Some(settings) = &config.alerts else {
        return Ok(None);
    };
    let receiver = Receiver::new(settings.run.clone());
    let alerting = Alerting {
        shard: shard.map(str::to_owned),
        queue: queue.clone(),
        settings: settings.clone(),
        redaction: config.settings.redact.redaction(),
        receiver: receiver.map_err(Failure::usage)?,
        stop: CancellationToken::new(),
    };
    let stop = alerting.stop.clone();
    let task = AbortOnDropHandle::new(tokio::spawn(alerting.run().instrument(of_shard(shard))));
    Ok(Some(Alerts { stop, task }))
}

impl Alerts {
    /// Stops, and leaves the turn to another process.
    pub(super) async fn end(self) {
        self.stop.cancel();
        let _too_late = timeout(END_TIMEOUT, self.task).await;
    }
}

struct Alerting {
    shard: Option<String>,
    queue: Queue,
    settings: AlertSettings,
    redaction: Redaction,
    receiver: Receiver,
    stop: CancellationToken,
}

impl Alerting {
    async fn run(self) {
        loop {
            if let Err(error) = self.take_turn().await {
                tracing::warn!(error = %logged(&error), "could not look for alerts; trying again");
            }
            let pause = self.settings.interval.mul_f64(0.9 + fastrand::f64() / 5.0);
            if timeout(pause, self.stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Finds and sends alerts, unless another process has the turn.
    async fn take_turn(&self) -> Result<(), sqlx::Error> {
        let schema = self.queue.schema();
        let taking = self.commit(async |conn| take_turn(conn, schema, TURN_MAX).await);
        let Some(turn) = taking.await? else {
            return Ok(());
        };
        let sent = tokio::select! {
            sent = self.find_and_send() => sent,
            () = self.stop.cancelled() => Ok(()),
        };
        self.end(turn).await?;
        sent
    }

    async fn end(&self, turn: Turn) -> Result<(), sqlx::Error> {
        let (schema, interval) = (self.queue.schema(), self.settings.interval);
        self.commit(async |conn| end_turn(conn, schema, turn, interval).await)
            .await
    }

    async fn find_and_send(&self) -> Result<(), sqlx::Error> {
        let schema = self.queue.schema();
        let watch = Watch {
            on: &self.settings.on,
            latency: self.settings.latency,
            redaction: &self.redaction,
        };
        let finding = self.commit(async |conn| find(conn, schema, watch).await);
        let unsent = finding.await?;
        if unsent.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.receiver.send(&self.message(&unsent)).await {
            tracing::warn!(
                alerts = unsent.len(),
                error,
                "could not send alerts; trying again"
            );
            return Ok(());
        }
        let named = &unsent[..unsent.len().min(NAMED_MAX)];
        self.commit(async |conn| record_sent(conn, schema, named).await)
            .await
    }

    async fn commit<T>(
        &self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut tx = begin_read_committed(self.queue.pool()).await?;
        let done = operation(&mut tx).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Writes a message. Its `text` is what Slack and others show.
    fn message(&self, alerts: &[Alert]) -> String {
        let (named, more) = alerts.split_at(alerts.len().min(NAMED_MAX));
        let begun: Vec<&Alert> = named.iter().filter(|alert| alert.is_new).collect();
        let over: Vec<&Alert> = named
            .iter()
            .filter(|alert| alert.over_at.is_some())
            .collect();
        let mut lines: Vec<String> = begun.iter().map(|alert| alert.text.clone()).collect();
        lines.extend(over.iter().map(|alert| format!("over: {}", alert.text)));
        if !more.is_empty() {
            lines.push(format!("and {} more", more.len()));
        }
        let shard = self.shard.as_deref();
        if let Some(shard) = shard {
            lines.insert(0, format!("shard {shard}:"));
        }
        let mut message = json!({
            "program": program_name(),
            "text": escaped(&lines.join("\n")),
            "begun": begun,
            "over": over,
            "more": more.len(),
        });
        if let Some(shard) = shard {
            message["shard"] = shard.into();
        }
        message.to_string()
    }
}

/// Escapes what Slack and others would take for markup, such as a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
