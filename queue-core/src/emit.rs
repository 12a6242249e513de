//! Emitting events that jobs wait for.

use std::pin::Pin;

use serde::Serialize;
use sqlx::PgConnection;

use crate::db::begin_read_committed;
use crate::events;
use crate::names::{InvalidName, check_event};
use crate::queue::Queue;

/// The most bytes that the payload of an event may have, as JSON.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// Why an event was not emitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The payload could not be written as JSON.
    #[error("could not write the payload of the event as JSON")]
    Encode(#[from] serde_json::Error),
    /// The payload is larger than 256 KiB as JSON.
    #[error("the payload of the event has {0} bytes as JSON, the most is {PAYLOAD_BYTES_MAX}")]
    TooLarge(usize),
    /// The database failed.
    #[error("could not emit the event")]
    Database(#[from] sqlx::Error),
}

/// A request to emit an event; await it. Returns whether it is the first of its name.
#[must_use = "nothing is emitted until the request is awaited"]
pub struct Emit<'a> {
    queue: &'a Queue,
    event: Result<(String, String), EmitError>,
    tx: Option<&'a mut PgConnection>,
}

impl Queue {
    /// Emits an event, which wakes the jobs that wait for its name. The first event of a name stays: later
    /// ones change nothing, until it is cleared (`retention.events`).
    ///
    /// ```no_run
    /// # use queue_core::Queue;
    /// # async fn example(queue: Queue) -> Result<(), queue_core::EmitError> {
    /// let is_first = queue.emit("order/7/paid", &"receipt 12").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn emit(&self, name: &str, payload: &impl Serialize) -> Emit<'_> {
        Emit {
            queue: self,
            event: event(name, payload),
            tx: None,
        }
    }
}

impl<'a> Emit<'a> {
    /// Emits in the caller's transaction: jobs are woken once it is committed.
    pub fn tx(mut self, tx: &'a mut PgConnection) -> Self {
        self.tx = Some(tx);
        self
    }

    async fn send(self) -> Result<bool, EmitError> {
        let (name, payload) = self.event?;
        let schema = &self.queue.schema;
        if let Some(tx) = self.tx {
            return Ok(events::emit(tx, schema, &name, &payload).await?);
        }
        let mut tx = begin_read_committed(&self.queue.pool).await?;
        let is_first = events::emit(&mut tx, schema, &name, &payload).await?;
        tx.commit().await?;
        Ok(is_first)
    }
}

impl<'a> IntoFuture for Emit<'a> {
    type Output = Result<bool, EmitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

fn event(name: &str, payload: &impl Serialize) -> Result<(String, String), EmitError> {
    check_event(name)?;
    let payload = serde_json::to_string(payload)?;
    match payload.len() {
        ..=PAYLOAD_BYTES_MAX => Ok((name.to_owned(), payload)),
        bytes => Err(EmitError::TooLarge(bytes)),
    }
}
