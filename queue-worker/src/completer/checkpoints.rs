//! Records the finished steps of all runs of a process.
//!
//! Steps that finish during a write are recorded together by the next one, like completions, but on a
//! connection of their own, which is opened by the first step: they wait for no completion, and
//! processes without steps have one connection less.

use queue_core::Schema;
use queue_core::process::ProcessId;
use queue_core::steps::{FinishedStep, Recorded, record};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::receive;
use super::write::{Tries, WriteError};
use crate::app::checkpoints::Checkpoint;
use crate::connection::Connection;

/// The most steps that wait to be recorded, and that are recorded together.
pub(crate) const STEPS_MAX: usize = 1_000;

/// Records the steps of one process.
pub(crate) struct Checkpoints {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) connection: Connection,
}

impl Checkpoints {
    /// Records steps until `closing` is cancelled, or no run can send any.
    pub(crate) async fn run(
        mut self,
        mut finished: mpsc::Receiver<Checkpoint>,
        closing: CancellationToken,
    ) {
        let mut group = Vec::new();
        loop {
            if receive(&mut finished, &mut group, STEPS_MAX, &closing).await == 0 {
                break;
            }
            // Rows are locked in the order of job ids.
            group.sort_by_key(|checkpoint| checkpoint.step.claim.job_id());
            if let Err(error) = self.write(&mut group).await {
                self.write_singly(&mut group, error).await;
            }
        }
        self.connection.close().await;
    }

    /// Records a group, however long the database is unavailable, and answers.
    async fn write(&mut self, group: &mut Vec<Checkpoint>) -> Result<(), sqlx::Error> {
        let report =
            |error: &str| tracing::warn!(error, "could not record steps of jobs; retrying");
        let mut tries = Tries::default();
        loop {
            // A run that was dropped has no use for its step.
            group.retain(|checkpoint| !checkpoint.answer.is_closed());
            if group.is_empty() {
                return Ok(());
            }
            match self.try_write(group).await {
                Ok(recorded) => {
                    for (checkpoint, recorded) in group.drain(..).zip(recorded) {
                        let _no_longer_awaited = checkpoint.answer.send(Ok(recorded));
                    }
                    return Ok(());
                }
                Err(error) => tries.wait_after(error, report).await?,
            }
        }
    }

    /// Records each step of a rejected group alone. One that is rejected alone is an error of its job.
    async fn write_singly(&mut self, group: &mut Vec<Checkpoint>, error: sqlx::Error) {
        if group.len() == 1 {
            answer(group, error);
            return;
        }
        for checkpoint in group.drain(..) {
            let mut alone = vec![checkpoint];
            if let Err(error) = self.write(&mut alone).await {
                answer(&mut alone, error);
            }
        }
    }

    async fn try_write(&mut self, group: &[Checkpoint]) -> Result<Vec<Recorded>, WriteError> {
        let steps: Vec<&FinishedStep> = group.iter().map(|checkpoint| &checkpoint.step).collect();
        let (schema, process) = (&self.schema, self.process);
        let connected = self.connection.connect().await;
        connected.map_err(WriteError::Unavailable)?;
        let recorded = self
            .connection
            .run(async |conn| record(conn, schema, process, &steps).await);
        recorded.await.map_err(WriteError::of)
    }
}

/// Answers the one step of a group.
fn answer(alone: &mut Vec<Checkpoint>, error: sqlx::Error) {
    if let Some(checkpoint) = alone.pop() {
        let _no_longer_awaited = checkpoint.answer.send(Err(error));
    }
}
