//! Records the finished steps of all runs of a process, and now and then their progress.
//!
//! Steps that finish during a write are recorded together by the next one, like completions, but on a
//! connection of their own, which is opened by the first step: they wait for no completion, and
//! processes without steps have one connection less.

use std::sync::Arc;
use std::time::Duration;

use queue_core::Schema;
use queue_core::process::ProcessId;
use queue_core::steps::progress::{Progress, write};
use queue_core::steps::{FinishedStep, Recorded, record};
use tokio::sync::mpsc;
use tokio::sync::oneshot::Sender;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::channel::receive;
use super::write::{Tries, WriteError};
use crate::app::checkpoints::{Checkpoint, Kept};
use crate::app::unwritten::Unwritten;
use crate::connection::{Connection, logged};

/// The most steps that wait to be recorded, and that are recorded together.
pub(crate) const STEPS_MAX: usize = 1_000;

/// How often progress is written at most. A process that is killed loses the progress of this time.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Records the steps of one process.
pub(crate) struct Checkpoints {
    pub(crate) schema: Schema,
    pub(crate) process: ProcessId,
    pub(crate) unwritten: Arc<Unwritten>,
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
        let mut progress_due = Instant::now();
        loop {
            tokio::select! {
                biased;
                received = receive(&mut finished, &mut group, STEPS_MAX, &closing) => {
                    if received == 0 {
                        break;
                    }
                }
                () = self.is_progress_due(progress_due) => {}
            }
            let mut writing = None;
            if progress_due <= Instant::now() {
                let (unwritten, guard) = self.unwritten.take().await;
                writing = Some(guard);
                if !unwritten.is_empty() {
                    progress_due = Instant::now() + PROGRESS_EVERY;
                }
                group.extend(unwritten.into_iter().map(|progress| Checkpoint {
                    kept: progress.into(),
                    answer: None,
                }));
            }
            // Rows are locked in the order of job ids.
            group.sort_by_key(|checkpoint| {
                let kept = &checkpoint.kept;
                (matches!(kept, Kept::Progress(_)), kept.job_id())
            });
            if let Err(error) = self.write(&mut group).await {
                self.write_singly(&mut group, error).await;
            }
            drop(writing);
        }
        self.connection.close().await;
    }

    async fn is_progress_due(&self, due: Instant) {
        self.unwritten.any().await;
        sleep_until(due).await;
    }

    /// Records a group, however long the database is unavailable, and answers.
    async fn write(&mut self, group: &mut Vec<Checkpoint>) -> Result<(), sqlx::Error> {
        let report =
            |error: &str| tracing::warn!(error, "could not record steps of jobs; retrying");
        let mut tries = Tries::default();
        loop {
            // A run that was dropped has no use for its step.
            group.retain(|Checkpoint { answer, .. }| {
                !answer.as_ref().is_some_and(Sender::is_closed)
            });
            if group.is_empty() {
                return Ok(());
            }
            match self.try_write(group).await {
                Ok(recorded) => {
                    for (checkpoint, recorded) in group.drain(..).zip(recorded) {
                        answer(checkpoint, Ok(recorded));
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
            reject(group, error);
            return;
        }
        for checkpoint in group.drain(..) {
            let mut alone = vec![checkpoint];
            if let Err(error) = self.write(&mut alone).await {
                reject(&mut alone, error);
            }
        }
    }

    async fn try_write(&mut self, group: &[Checkpoint]) -> Result<Vec<Recorded>, WriteError> {
        let (mut steps, mut values): (Vec<&FinishedStep>, Vec<&Progress>) = <_>::default();
        for checkpoint in group {
            match &checkpoint.kept {
                Kept::Step(step) => steps.push(step),
                Kept::Progress(progress) => values.push(progress),
            }
        }
        let (schema, process) = (&self.schema, self.process);
        let connected = self.connection.connect().await;
        connected.map_err(WriteError::Unavailable)?;
        let recording = self.connection.run(async |conn| {
            let mut recorded = Vec::with_capacity(group.len());
            if !steps.is_empty() {
                recorded = record(conn, schema, process, &steps).await?;
            }
            if !values.is_empty() {
                recorded.extend(write(conn, schema, process, &values).await?);
            }
            Ok(recorded)
        });
        recording.await.map_err(classified)
    }
}

/// Classifies the error of a write. A step that an earlier write has just recorded is found when it is repeated.
fn classified(error: sqlx::Error) -> WriteError {
    let refused = error.as_database_error();
    if refused.is_some_and(|refused| refused.is_unique_violation()) {
        return WriteError::Unavailable(error);
    }
    WriteError::of(error)
}

/// Rejects the one checkpoint of a group.
fn reject(alone: &mut Vec<Checkpoint>, error: sqlx::Error) {
    if let Some(checkpoint) = alone.pop() {
        answer(checkpoint, Err(error));
    }
}

fn answer(checkpoint: Checkpoint, recorded: Result<Recorded, sqlx::Error>) {
    match (checkpoint.answer, recorded) {
        (Some(answer), recorded) => {
            let _no_longer_awaited = answer.send(recorded);
        }
        (None, Err(error)) => {
            let job_id = checkpoint.kept.job_id();
            tracing::warn!(%job_id, error = %logged(&error), "could not write the progress of the job");
        }
        (None, Ok(_)) => {}
    }
}
