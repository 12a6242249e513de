//! Whether this process wants to be woken: a row while one of its workers is idle.
//!
//! Enqueueing notifies only while some process has such a row, because notifying makes all
//! commits of the server wait in line. An idle worker writes the row, looks for jobs once more,
//! and sleeps. A process whose workers have all been busy for a while withdraws it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queue_core::Schema;
use queue_core::process::{self, ProcessId};
use tokio::sync::Mutex;

use crate::link::Link;

/// How long all workers must have been busy before the row goes: at most a few writes a second.
const BUSY_FOR: Duration = Duration::from_millis(250);

pub(crate) struct Sleepers {
    schema: Schema,
    process: ProcessId,
    dozing: AtomicUsize,
    dozes: AtomicUsize,
    row: Mutex<Row>,
}

struct Row {
    link: Link,
    is_written: bool,
}

/// A worker that sleeps, until this is dropped.
pub(crate) struct Doze<'a>(&'a Sleepers);

impl Drop for Doze<'_> {
    fn drop(&mut self) {
        self.0.dozing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sleepers {
    pub(crate) fn new(schema: Schema, process: ProcessId, link: Link) -> Self {
        Self {
            schema,
            process,
            dozing: AtomicUsize::new(0),
            dozes: AtomicUsize::new(0),
            row: Mutex::new(Row {
                link,
                is_written: false,
            }),
        }
    }

    /// Says that a worker is about to sleep. Returns whether that had to be written: then
    /// something may have been enqueued meanwhile without a notification.
    pub(crate) async fn announce(&self) -> Result<(Doze<'_>, bool), sqlx::Error> {
        self.dozing.fetch_add(1, Ordering::Relaxed);
        self.dozes.fetch_add(1, Ordering::Relaxed);
        let doze = Doze(self);
        let mut row = self.row.lock().await;
        if row.is_written {
            return Ok((doze, false));
        }
        row.link
            .run(async |conn| process::sleep(conn, &self.schema, self.process).await)
            .await?;
        row.is_written = true;
        Ok((doze, true))
    }

    /// Withdraws the row whenever no worker has slept for a while. Ends only with an error.
    pub(crate) async fn withdraw_when_busy(&self) -> Result<(), sqlx::Error> {
        loop {
            let dozes = self.dozes.load(Ordering::Relaxed);
            tokio::time::sleep(BUSY_FOR).await;
            let mut row = self.row.lock().await;
            let slept = self.dozes.load(Ordering::Relaxed) != dozes
                || self.dozing.load(Ordering::Relaxed) > 0;
            if row.is_written && !slept {
                row.is_written = false;
                row.link
                    .run(async |conn| process::wake(conn, &self.schema, self.process).await)
                    .await?;
            }
        }
    }
}
