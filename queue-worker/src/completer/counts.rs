//! The counts of the runs that this process has ended, until its heartbeat appends them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queue_core::Outcome;
use queue_core::counts::{Counts, KindCounts};
use queue_core::transitions::Became;

use crate::connection::logged;
use crate::metrics::note_end;

/// The counts of each queue, by kind.
#[derive(Debug, Default)]
pub(crate) struct EndCounts(Mutex<HashMap<String, HashMap<String, Counts>>>);

/// The end of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedRun<'a> {
    pub(crate) queue: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) became: Became,
    /// Whether it ended in an error.
    pub(crate) is_error: bool,
    /// How long the job had been ready, and how long it ran, if this process ran it.
    pub(crate) times: Option<(Duration, Duration)>,
}

impl<'a> EndedRun<'a> {
    /// Returns the end of a job that this process did not run.
    pub(crate) fn elsewhere(queue: &'a str, kind: &'a str, became: Became) -> Self {
        Self {
            queue,
            kind,
            became,
            is_error: true,
            times: None,
        }
    }

    /// Returns one word for the end of the run, as it stands in the metrics.
    fn word(&self) -> &'static str {
        match self.became {
            Became::Finished(outcome) => outcome.as_str(),
            Became::Failed => "failed",
            Became::Scheduled | Became::Ready if self.is_error => "retried",
            Became::Scheduled => "snoozed",
            Became::Ready => "released",
        }
    }
}

impl EndCounts {
    /// Counts runs, once their ends are committed.
    pub(crate) fn add<'a>(&self, ended: impl Iterator<Item = EndedRun<'a>>) {
        let mut queues = self.lock();
        for run in ended {
            note_end(run.queue, run.kind, run.word(), run.times);
            let Some(counts) = count(&run) else {
                continue;
            };
            let kinds = match queues.get_mut(run.queue) {
                Some(kinds) => kinds,
                None => queues.entry(run.queue.to_owned()).or_default(),
            };
            match kinds.get_mut(run.kind) {
                Some(sum) => sum.add(&counts),
                None => kinds.entry(run.kind.to_owned()).or_default().add(&counts),
            }
        }
    }

    /// Appends what was counted since the last time, and keeps it if that fails.
    pub(crate) async fn append(
        &self,
        appending: impl AsyncFnOnce(&[KindCounts]) -> Result<(), sqlx::Error>,
    ) {
        let taken = self.take();
        if taken.is_empty() {
            return;
        }
        if let Err(error) = appending(&taken).await {
            tracing::debug!(error = %logged(&error), "could not append counts of runs; keeping them");
            self.put_back(taken);
        }
    }

    fn take(&self) -> Vec<KindCounts> {
        let queues = std::mem::take(&mut *self.lock()).into_iter();
        let kinds = queues.flat_map(|(queue, kinds)| {
            kinds.into_iter().map(move |(kind, counts)| KindCounts {
                queue: queue.clone(),
                kind,
                counts,
            })
        });
        kinds.collect()
    }

    fn put_back(&self, counts: Vec<KindCounts>) {
        let mut queues = self.lock();
        for of_kind in counts {
            let kinds = queues.entry(of_kind.queue).or_default();
            kinds.entry(of_kind.kind).or_default().add(&of_kind.counts);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Counts>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what one run adds. One that was given back or snoozed is not counted.
fn count(run: &EndedRun<'_>) -> Option<Counts> {
    let (waited, ran) = run.times.unwrap_or_default();
    let mut counts = Counts {
        waited_ms: millis(waited),
        ran_ms: millis(ran),
        ..Counts::default()
    };
    match run.became {
        Became::Finished(Outcome::Done) => counts.done = 1,
        Became::Finished(Outcome::Discarded) => counts.discarded = 1,
        Became::Finished(Outcome::Cancelled) => counts.cancelled = 1,
        Became::Failed => counts.failed = 1,
        Became::Scheduled | Became::Ready if run.is_error => counts.retried = 1,
        Became::Scheduled | Became::Ready => return None,
    }
    Some(counts)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
