//! Waiting for events, as a step.

use std::time::Duration;

use queue_core::begin_read_committed;
use queue_core::events::find;
use serde::de::DeserializeOwned;

use super::checkpoints::Pause;
use super::context::Cx;
use super::step_error::StepError;

impl<S> Cx<S> {
    /// Waits until an event is emitted ([`Queue::emit`](queue_core::Queue::emit)), as a step: the run ends, its
    /// slot becomes free, and the job runs again once the event has come or the time is over. This costs no
    /// attempt. Returns the payload, or nothing if the time is over. An event that was emitted before is
    /// found at once.
    ///
    /// ```
    /// # use queue_worker::{BoxError, Cx, testing};
    /// # use std::time::Duration;
    /// # async fn pay(cx: &Cx<()>, order: i64) -> Result<(), BoxError> {
    /// let week = Duration::from_secs(7 * 86_400);
    /// let receipt: Option<String> = cx.wait_for(&format!("order/{order}/paid"), week).await?;
    /// # Ok(())
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # pay(&testing::cx(()), 7).await.unwrap();
    /// # }
    /// ```
    ///
    /// In a context that a test has made, the time is over at once.
    ///
    /// # Errors
    /// Returns a [`StepError`]: [`Waiting`](StepError::Waiting) while the job waits. The job should return it
    /// at once.
    pub async fn wait_for<T: DeserializeOwned>(
        &self,
        event: &str,
        timeout: Duration,
    ) -> Result<Option<T>, StepError> {
        let turn = self.begin_step(event).await?;
        if let Some(stored) = self.stored(event, turn.occurrence) {
            let received: Option<(T,)> = self.decode(event, stored)?;
            turn.finish();
            return Ok(received.map(|(payload,)| payload));
        }
        let left = self.patience(event, turn.occurrence, timeout).await?;
        let received = match self.inner.claim {
            Some(_) => self.emitted(event).await?,
            None => None,
        };
        if received.is_none() && !left.is_zero() && self.inner.claim.is_some() {
            let event = event.to_owned();
            let waiting = StepError::Waiting(event.clone());
            self.pause_run(Pause::Waiting { event, left });
            return Err(waiting);
        }
        // In brackets, so that a payload of null is no absence of one.
        let result = received.map_or("null".to_owned(), |payload| format!("[{payload}]"));
        let received = serde_json::from_str(&result);
        let received: Option<(T,)> = received.map_err(|source| StepError::Decode {
            name: event.to_owned(),
            source,
        })?;
        self.record(event, turn.occurrence, result).await?;
        turn.finish();
        Ok(received.map(|(payload,)| payload))
    }

    /// Returns how much of the timeout is left, since the wait began.
    async fn patience(
        &self,
        event: &str,
        occurrence: i16,
        timeout: Duration,
    ) -> Result<Duration, StepError> {
        let key = format!("@wait/{event}");
        match self.stored(&key, occurrence) {
            Some(_) if self.inner.steps_shared.is_sleep_short => Ok(Duration::ZERO),
            Some(stored) => {
                let whole = Duration::from_millis(self.decode(event, stored)?);
                Ok(whole.saturating_sub(stored.age()))
            }
            None => {
                let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                self.record(&key, occurrence, millis.to_string()).await?;
                Ok(timeout)
            }
        }
    }

    async fn emitted(&self, event: &str) -> Result<Option<String>, StepError> {
        let queue = &self.inner.queue;
        let mut tx = begin_read_committed(queue.pool()).await?;
        let found = find(&mut tx, queue.schema(), event).await?;
        tx.commit().await?;
        Ok(found.map(|payload| payload.get().to_owned()))
    }
}
