//! Tells people what is wrong, and when it is over, if the configuration has `[alerts]`.

use std::time::Duration;

use queue_core::alerts::{Alert, Turn, Watch, end_turn, look, note_told, take_turn};
use queue_core::{Queue, Redaction, begin_read_committed};
use serde_json::json;
use sqlx::PgConnection;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::output::program_name;
use crate::config::{AlertSettings, Config};
use crate::connection::logged;
use crate::handlers::Receiver;

/// How long a turn may last. If the process dies in it, another takes the next one after that.
const TURN_MAX: Duration = Duration::from_secs(60);

/// How many alerts a message names. It counts the others.
const NAMED_MAX: usize = 50;

/// Starts to look, until the handle is dropped.
pub(super) fn start(
    queue: &Queue,
    config: &Config,
) -> Result<Option<AbortOnDropHandle<()>>, Failure> {
    let Some(settings) = &config.alerts else {
        return Ok(None);
    };
    let receiver = Receiver::new(settings.run.clone());
    let alerting = Alerting {
        queue: queue.clone(),
        settings: settings.clone(),
        redaction: config.settings.redact.redaction(),
        receiver: receiver.map_err(Failure::usage)?,
    };
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(alerting.run()))))
}

struct Alerting {
    queue: Queue,
    settings: AlertSettings,
    redaction: Redaction,
    receiver: Receiver,
}

impl Alerting {
    async fn run(self) {
        loop {
            if let Err(error) = self.take_turn().await {
                tracing::warn!(error = %logged(&error), "could not look for alerts; trying again");
            }
            sleep(self.settings.interval.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
        }
    }

    /// Looks and tells, unless another process does.
    async fn take_turn(&self) -> Result<(), sqlx::Error> {
        let schema = self.queue.schema();
        let taking = self.commit(async |conn| take_turn(conn, schema, TURN_MAX).await);
        let Some(turn) = taking.await? else {
            return Ok(());
        };
        let looked = self.look_and_tell().await;
        self.end(turn).await?;
        looked
    }

    async fn end(&self, turn: Turn) -> Result<(), sqlx::Error> {
        let (schema, interval) = (self.queue.schema(), self.settings.interval);
        self.commit(async |conn| end_turn(conn, schema, turn, interval).await)
            .await
    }

    async fn look_and_tell(&self) -> Result<(), sqlx::Error> {
        let schema = self.queue.schema();
        let watch = Watch {
            on: &self.settings.on,
            latency: self.settings.latency,
            redaction: &self.redaction,
        };
        let looking = self.commit(async |conn| look(conn, schema, watch).await);
        let untold = looking.await?;
        if untold.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.receiver.send(&message(&untold)).await {
            tracing::warn!(
                alerts = untold.len(),
                error,
                "could not send alerts; trying again"
            );
            return Ok(());
        }
        self.commit(async |conn| note_told(conn, schema, &untold).await)
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
}

/// Writes a message. Its `text` is what Slack and others show.
fn message(alerts: &[Alert]) -> String {
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
    json!({
        "program": program_name(),
        "text": lines.join("\n"),
        "begun": begun,
        "over": over,
        "more": more.len(),
    })
    .to_string()
}
