//! The rows by which a process announces that it is idle, and which queues it polls.
//!
//! Enqueueing notifies only while a process is idle, because transactions that notify commit one
//! after the other on the whole server. An idle worker writes the row of its process, looks for
//! jobs once more, and waits. The row is removed when all workers of the process have been busy for
//! a while.
//!
//! While jobs come one by one and fast, one process polls their queue instead, and announces that
//! by another row: then enqueueing does not notify, however many processes are idle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queue_core::Schema;
use queue_core::process::{self, ProcessId};
use tokio::sync::{Mutex, Notify};

use crate::connection::Connection;
use crate::metrics::note_polling;
use crate::shared_connection::SharedConnection;

/// How long all workers must have been busy before the row is removed: it is written a few times a
/// second at most.
const BUSY_FOR: Duration = Duration::from_millis(250);

/// The announcements of one process.
pub(crate) struct IdleRows {
    schema: Schema,
    process: ProcessId,
    /// Whether this process listens for notifications. If not, it announces nothing.
    pub(super) listens: bool,
    idle_workers: AtomicUsize,
    /// How often a worker became idle.
    times_idle: AtomicUsize,
    /// How often the row of the idle process was written or removed: it exists while this is odd.
    changes: AtomicUsize,
    polling_workers: AtomicUsize,
    /// Notified when a worker is no longer idle.
    became_busy: Notify,
    /// Locked while a row is written, so that its changes are counted in their order.
    writing: Mutex<()>,
}

/// A worker that is idle until this is dropped.
pub(crate) struct IdleWorker<'a>(&'a IdleRows);

impl Drop for IdleWorker<'_> {
    fn drop(&mut self) {
        self.0.idle_workers.fetch_sub(1, Ordering::Relaxed);
        self.0.became_busy.notify_one();
    }
}

impl IdleRows {
    pub(crate) fn new(schema: Schema, process: ProcessId, listens: bool) -> Self {
        note_polling(0);
        Self {
            schema,
            process,
            listens,
            idle_workers: AtomicUsize::new(0),
            times_idle: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
            polling_workers: AtomicUsize::new(0),
            became_busy: Notify::new(),
            writing: Mutex::new(()),
        }
    }

    /// Returns the number of the announcement in force, if there is one. While the same number is
    /// returned, every job that is enqueued wakes this process.
    pub(crate) fn announcement(&self) -> Option<usize> {
        let is_polling = self.polling_workers.load(Ordering::Relaxed) > 0;
        let changes = self.changes.load(Ordering::Relaxed);
        (self.row_exists() && !is_polling).then_some(changes)
    }

    /// Gives the announcement a new number, because jobs may have been enqueued under it without
    /// waking this process.
    pub(crate) fn renew_announcement(&self) {
        self.changes.fetch_add(2, Ordering::Relaxed);
    }

    fn row_exists(&self) -> bool {
        self.changes.load(Ordering::Relaxed) % 2 == 1
    }

    /// Announces that a worker is idle and no longer polls some queues. Returns whether a row had
    /// to be written: until then, jobs may have been enqueued without a notification.
    pub(crate) async fn announce_idle(
        &self,
        connection: &mut Connection,
        polled: &mut Vec<String>,
    ) -> Result<(IdleWorker<'_>, bool), sqlx::Error> {
        self.idle_workers.fetch_add(1, Ordering::Relaxed);
        self.times_idle.fetch_add(1, Ordering::Relaxed);
        let idle = IdleWorker(self);
        let _writing = self.writing.lock().await;
        if !self.listens || (self.row_exists() && polled.is_empty()) {
            return Ok((idle, false));
        }
        connection
            .run(async |conn| process::sleep(conn, &self.schema, self.process, polled).await)
            .await?;
        if !self.row_exists() {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        self.clear_polled(polled);
        Ok((idle, true))
    }

    /// Announces that a worker polls more queues for jobs of some kinds. Queues that another
    /// process polls are left to that one.
    pub(crate) async fn announce_polling(
        &self,
        connection: &mut Connection,
        polled: &mut Vec<String>,
        queues: &[String],
        kinds: &[String],
    ) -> Result<(), sqlx::Error> {
        let _writing = self.writing.lock().await;
        if polled.is_empty() {
            note_polling(1 + self.polling_workers.fetch_add(1, Ordering::Relaxed));
            self.renew_announcement();
        }
        // The rows may be written although the answer is lost.
        polled.extend_from_slice(queues);
        let ours = connection
            .run(async |conn| process::poll(conn, &self.schema, self.process, queues, kinds).await)
            .await?;
        polled.retain(|queue| !queues.contains(queue) || ours.contains(queue));
        if polled.is_empty() {
            note_polling(self.polling_workers.fetch_sub(1, Ordering::Relaxed) - 1);
        }
        Ok(())
    }

    fn clear_polled(&self, polled: &mut Vec<String>) {
        if !polled.is_empty() {
            note_polling(self.polling_workers.fetch_sub(1, Ordering::Relaxed) - 1);
            polled.clear();
        }
    }

    /// Announces that this process no longer polls some queues, and wakes the others.
    pub(crate) async fn stop_polling(
        &self,
        connection: &mut Connection,
        polled: &mut Vec<String>,
    ) -> Result<(), sqlx::Error> {
        if polled.is_empty() {
            return Ok(());
        }
        let _writing = self.writing.lock().await;
        connection
            .run(async |conn| process::stop_polling(conn, &self.schema, self.process, polled).await)
            .await?;
        self.clear_polled(polled);
        Ok(())
    }

    /// Removes the row whenever no worker has been idle for a while. Ends only with an error.
    pub(crate) async fn remove_when_busy(
        &self,
        connection: &SharedConnection,
    ) -> Result<(), sqlx::Error> {
        loop {
            self.became_busy.notified().await;
            let times_idle = self.times_idle.load(Ordering::Relaxed);
            tokio::time::sleep(BUSY_FOR).await;
            let _writing = self.writing.lock().await;
            let was_idle = self.times_idle.load(Ordering::Relaxed) != times_idle
                || self.idle_workers.load(Ordering::Relaxed) > 0;
            if self.row_exists() && !was_idle {
                self.changes.fetch_add(1, Ordering::Relaxed);
                connection
                    .run(async |conn| process::wake(conn, &self.schema, self.process).await)
                    .await?;
            }
        }
    }
}
