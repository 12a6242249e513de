//! The completer: records the outcomes of all runs of a process.
//!
//! Completions queue up during a write and are recorded together by the next one: the busier the
//! process, the larger the batches. A completion that comes alone is recorded at once. Every write
//! is fenced: if another process has taken the job over, the outcome is ignored and logged.
//!
//! A write is repeated until it succeeds. If a claim is gone, the write checks whether the same
//! attempt has already ended: an earlier write may have been committed although its answer was
//! lost, or the job may have finished itself in a transaction of its own.
//!
//! No outcome is lost to an error: completions that the server rejects while it accepts others are
//! retried one by one, in [`stuck`].

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use self::channel::receive;
use self::stuck::{STUCK_MAX, Stuck};
use self::write::{Tries, Written};
use crate::app::checkpoints::Checkpoint;
use crate::app::unwritten::Unwritten;
use crate::attempt::{Completion, Verdict};
use crate::connection::Connection;

pub(crate) use self::announce::{EndedJob, announce};
pub(crate) use self::checkpoints::{Checkpoints, STEPS_MAX};
pub(crate) use self::counts::{EndCounts, EndedRun};
pub(crate) use self::ended_in_batches::{EndedInBatches, News};
pub(crate) use self::freed_keys::FreedKeys;
pub(crate) use self::write::Recorder;

mod checkpoints;

mod stuck;
mod write;

mod channel;

mod announce;
mod counts;
mod ended_in_batches;
mod freed_keys;

/// The most completions that wait to be recorded, and that are recorded together.
pub(crate) const QUEUE_MAX: usize = 8_192;
const BATCH_MAX: usize = 2_000;

/// The number of parts into which a rejected group is split.
const PARTS: usize = 16;

/// Records steps and completions, until `closing` is cancelled and all that were sent are recorded.
pub(crate) async fn run(
    recorder: Recorder,
    connection: Connection,
    completions: mpsc::Receiver<Completion>,
    steps: mpsc::Receiver<Checkpoint>,
    unwritten: Arc<Unwritten>,
    closing: CancellationToken,
) {
    let connection = connection.waiting_briefly();
    let second = connection.another();
    let checkpoints = Checkpoints {
        schema: recorder.schema.clone(),
        process: recorder.process,
        unwritten,
        connection: connection.another(),
    };
    // A task of its own, so that completions do not wake it.
    let recording = AbortOnDropHandle::new(tokio::spawn(
        checkpoints.run(steps, closing.clone()).in_current_span(),
    ));
    let (stuck, rejected) = mpsc::channel(STUCK_MAX);
    let completer = Completer {
        recorder: &recorder,
        connection,
        stuck,
    };
    tokio::join!(
        completer.run(completions, closing),
        stuck::retry(&recorder, second, rejected),
    );
    let _panicked = recording.await;
}

struct Completer<'a> {
    recorder: &'a Recorder,
    connection: Connection,
    stuck: mpsc::Sender<Stuck>,
}

impl Completer<'_> {
    async fn run(
        mut self,
        mut completions: mpsc::Receiver<Completion>,
        closing: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            let receiving = receive(&mut completions, &mut batch, BATCH_MAX, &closing);
            if self.connection.idle_until(receiving).await == 0 {
                break;
            }
            let (finishes, ends): (Vec<Completion>, Vec<Completion>) = batch
                .drain(..)
                .partition(|completion| matches!(completion.verdict, Verdict::Finish));
            for group in [finishes, ends] {
                if !group.is_empty() {
                    self.record(group).await;
                }
            }
        }
        self.connection.close().await;
    }

    /// Records a group, however long it takes. A completion that is rejected alone goes to
    /// [`stuck`].
    async fn record(&mut self, group: Vec<Completion>) {
        match self.write_unless_stuck(&group).await {
            Ok(written) => self.recorder.settle(&group, &written),
            Err(error) => Box::pin(self.record_in_parts(group, error)).await,
        }
    }

    /// Writes a group, however long the database is unavailable.
    async fn write_unless_stuck(&mut self, group: &[Completion]) -> Result<Written, sqlx::Error> {
        let report = |error: &str| {
            let jobs = group.len();
            tracing::warn!(
                jobs,
                error,
                "could not record the outcomes of jobs; retrying"
            );
        };
        let mut tries = Tries::default();
        loop {
            match self.recorder.try_write(&mut self.connection, group).await {
                Ok(written) => return Ok(written),
                Err(error) => tries.wait_after(error, report).await?,
            }
        }
    }

    /// Records a group in smaller and smaller parts after the server rejected it as a whole, so
    /// that one completion does not hold up the others.
    async fn record_in_parts(&mut self, mut group: Vec<Completion>, error: sqlx::Error) {
        if group.len() > 1 {
            let part = group.len().div_ceil(PARTS);
            while !group.is_empty() {
                let rest = group.split_off(part.min(group.len()));
                self.record(group).await;
                group = rest;
            }
        } else if let Some(completion) = group.pop() {
            // The receiver goes on until this sender is dropped.
            let _sent = self.stuck.send(Stuck { completion, error }).await;
        }
    }
}
