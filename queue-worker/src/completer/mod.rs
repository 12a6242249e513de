//! The completer: the one place of a process from which the outcomes of its runs are recorded.
//!
//! Completions queue up while a write is under way and leave together with the next one: the busier
//! the process, the larger the batches, and a run that ends alone waits for nothing. Every write is
//! fenced. If another process has taken the job over, the outcome is ignored and logged.
//!
//! A write is repeated until it succeeds. Where it finds a claim gone, it asks whether the job stands
//! where an end puts it, for the same attempt: then an earlier write was committed although its
//! answer was lost, or the job finished itself in a transaction of its own.
//!
//! No error makes an outcome forgotten: completions that the server rejects while it takes others
//! are retried one by one, in [`stuck`].

use std::collections::HashMap;

use queue_core::JobId;
use queue_core::transitions::Became;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::stuck::{STUCK_MAX, Stuck};
use self::write::WriteError;
use crate::attempt::{Completion, Verdict};
use crate::connection::{Connection, Patience};

pub(crate) use self::freed_keys::FreedKeys;
pub(crate) use self::write::Recorder;

mod stuck;
mod write;

mod freed_keys;

/// The most completions that wait for a write, and that leave with one.
pub(crate) const QUEUE_MAX: usize = 8_192;
const WRITE_MAX: usize = 2_000;

/// Into how many parts a group is cut that was not taken as a whole.
const PARTS: usize = 16;

/// Records completions until `closing` says that no more are awaited, and all are recorded.
pub(crate) async fn run(
    recorder: Recorder,
    connection: Connection,
    completions: mpsc::Receiver<Completion>,
    closing: CancellationToken,
) {
    let connection = connection.waiting_briefly();
    let second = connection.another();
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
            let received = tokio::select! {
                biased;
                received = completions.recv_many(&mut batch, WRITE_MAX) => received,
                () = closing.cancelled(), if !completions.is_closed() => {
                    completions.close();
                    continue;
                }
            };
            if received == 0 {
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

    /// Records a group, however long it takes; but completions that are stuck are handed over.
    async fn record(&mut self, group: Vec<Completion>) {
        match self.write_unless_stuck(&group).await {
            Ok(became) => self.recorder.settle(&group, &became),
            Err(error) => Box::pin(self.record_in_parts(group, error)).await,
        }
    }

    /// Writes a group, however long the database is away.
    async fn write_unless_stuck(
        &mut self,
        group: &[Completion],
    ) -> Result<HashMap<JobId, Became>, sqlx::Error> {
        let mut patience = Patience::default();
        loop {
            match self.recorder.try_write(&mut self.connection, group).await {
                Ok(became) => return Ok(became),
                Err(WriteError::Rejected(error)) => return Err(error),
                Err(WriteError::Unavailable(error)) => {
                    let wait = patience.next_wait();
                    if patience.is_first() {
                        let jobs = group.len();
                        tracing::warn!(%error, jobs, "could not record the outcomes of jobs; retrying");
                    }
                    tokio::time::sleep(wait).await;
                }
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
            // The other end goes on until this one is dropped.
            let _sent = self.stuck.send(Stuck { completion, error }).await;
        }
    }
}
