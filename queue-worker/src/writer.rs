//! The one place of a process from which the ends of runs are written.
//!
//! Verdicts queue up while a flush is under way and leave together with the next one: the busier
//! the process, the larger the batches, and a job that ends alone waits for nothing. Every write
//! is fenced. What the fence refuses was taken from this process, and is reported as lost.
//!
//! A flush is repeated until it succeeds. If the connection breaks, nobody knows whether it was
//! committed; a repeated flush finds its rows gone then, and asks whether they stand where it
//! wanted to put them, for the same attempt.
//!
//! No error makes the end of a run forgotten: what the server refuses while it takes others is set
//! aside, and tried again there.

use queue_core::JobId;
use queue_core::transitions::Became;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::aside::{self, Stuck};
use crate::ends::Trouble;
use crate::judge::Verdict;
use crate::link::Patience;

pub(crate) use crate::ends::{Ended, Writer};

/// The most verdicts that wait for a flush, and that leave with one.
pub(crate) const QUEUE_MAX: usize = 8_192;
const FLUSH_MAX: usize = 2_000;

/// Into how many parts a group is cut that was not taken as a whole.
const PARTS: usize = 16;

impl Writer {
    /// Writes verdicts until told that no more are awaited, and all are written.
    pub(crate) async fn run(mut self, verdicts: mpsc::Receiver<Ended>, closing: CancellationToken) {
        self.link = self.link.waiting_briefly();
        let (aside, set_aside) = mpsc::channel(aside::STUCK_MAX);
        let second = self.another();
        tokio::join!(
            self.write_all(verdicts, closing, aside),
            aside::write_stuck(second, set_aside),
        );
    }

    async fn write_all(
        mut self,
        mut verdicts: mpsc::Receiver<Ended>,
        closing: CancellationToken,
        aside: mpsc::Sender<Stuck>,
    ) {
        let mut batch = Vec::new();
        loop {
            let received = tokio::select! {
                biased;
                received = verdicts.recv_many(&mut batch, FLUSH_MAX) => received,
                () = closing.cancelled(), if !verdicts.is_closed() => {
                    verdicts.close();
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            let (finishes, ends): (Vec<Ended>, Vec<Ended>) = batch
                .drain(..)
                .partition(|ended| matches!(ended.verdict, Verdict::Finish));
            for group in [finishes, ends] {
                self.write(group, false, &aside).await;
            }
        }
        self.link.close().await;
    }

    /// Writes a group of ends, however long it takes; but those that are stuck are set aside.
    async fn write(&mut self, group: Vec<Ended>, repeated: bool, aside: &mpsc::Sender<Stuck>) {
        if group.is_empty() {
            return;
        }
        match self.write_unless_stuck(&group, repeated).await {
            Ok(written) => self.settle(&group, written),
            Err(error) => Box::pin(self.write_apart(group, error, aside)).await,
        }
    }

    /// Writes a group of ends, however long the database is away.
    async fn write_unless_stuck(
        &mut self,
        group: &[Ended],
        mut repeated: bool,
    ) -> Result<Vec<(JobId, Became)>, sqlx::Error> {
        let mut patience = Patience::default();
        loop {
            match self.try_write(group, repeated).await {
                Ok(written) => return Ok(written),
                Err(Trouble::Stuck(error)) => return Err(error),
                Err(Trouble::Away(error)) => {
                    let wait = patience.next_wait();
                    if patience.is_first() {
                        tracing::warn!(%error, runs = group.len(), "could not record the outcomes of jobs; retrying");
                    }
                    repeated = true;
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Writes verdicts in smaller and smaller groups after the server did not take them together,
    /// so that one does not hold up the others.
    async fn write_apart(
        &mut self,
        mut group: Vec<Ended>,
        error: sqlx::Error,
        aside: &mpsc::Sender<Stuck>,
    ) {
        if group.len() > 1 {
            let part = group.len().div_ceil(PARTS);
            while !group.is_empty() {
                let rest = group.split_off(part.min(group.len()));
                self.write(group, true, aside).await;
                group = rest;
            }
        } else if let Some(ended) = group.pop() {
            // The other end goes on until this one is dropped.
            let _sent = aside.send(Stuck { ended, error }).await;
        }
    }
}
