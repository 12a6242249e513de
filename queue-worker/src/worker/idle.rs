//! How a process says whether it wants to be woken for new jobs.
//!
//! Enqueueing notifies only while some process sleeps, which it says with a row, because notifying
//! makes all commits of the server wait in line. An idle worker writes the row, looks for jobs once
//! more, and sleeps. A process whose workers have all been busy for a while withdraws it.
//!
//! While jobs come one by one and fast, one process polls their queue instead, which it says with a
//! row as well: then enqueueing notifies nobody, however many sleep.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queue_core::Schema;
use queue_core::process::{self, ProcessId};
use tokio::sync::Mutex;

use crate::connection::Connection;

/// How long all workers must have been busy before the row goes: at most a few writes a second.
const BUSY_FOR: Duration = Duration::from_millis(250);

pub(crate) struct IdleState {
    schema: Schema,
    process: ProcessId,
    /// Whether this process listens: if not, it says nothing.
    listens: bool,
    sleeping: AtomicUsize,
    sleeps: AtomicUsize,
    /// How often the row was written or withdrawn: it is there when the number is odd.
    changes: AtomicUsize,
    /// How many workers poll.
    polling: AtomicUsize,
    connection: Mutex<Connection>,
}

/// A worker that sleeps, until this is dropped.
pub(crate) struct Asleep<'a>(&'a IdleState);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.sleeping.fetch_sub(1, Ordering::Relaxed);
    }
}

impl IdleState {
    pub(crate) fn new(
        schema: Schema,
        process: ProcessId,
        listens: bool,
        connection: Connection,
    ) -> Self {
        Self {
            schema,
            process,
            listens,
            sleeping: AtomicUsize::new(0),
            sleeps: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
            polling: AtomicUsize::new(0),
            connection: Mutex::new(connection),
        }
    }

    /// Returns whether this process is notified of new jobs.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// Returns the number of the announcement that every job enqueued now wakes this process, or
    /// nothing if there is none: it has not said that it sleeps, or some worker polls.
    pub(crate) fn announcement(&self) -> Option<usize> {
        let is_polling = self.polling.load(Ordering::Relaxed) > 0;
        let changes = self.changes.load(Ordering::Relaxed);
        (self.is_written() && !is_polling).then_some(changes)
    }

    /// Takes note that jobs may have been enqueued that do not wake this process although it has
    /// announced that it sleeps: from now on, that is another announcement.
    pub(crate) fn expect_silence(&self) {
        self.changes.fetch_add(2, Ordering::Relaxed);
    }

    fn is_written(&self) -> bool {
        self.changes.load(Ordering::Relaxed) % 2 == 1
    }

    /// Says that a worker is about to sleep, and polls some queues no more. Returns whether that had
    /// to be written: then something may have been enqueued meanwhile without a notification.
    pub(crate) async fn announce(
        &self,
        polled: &mut Vec<String>,
    ) -> Result<(Asleep<'_>, bool), sqlx::Error> {
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        let asleep = Asleep(self);
        let mut connection = self.connection.lock().await;
        if !self.listens || (self.is_written() && polled.is_empty()) {
            return Ok((asleep, false));
        }
        connection
            .run(async |conn| process::sleep(conn, &self.schema, self.process, polled).await)
            .await?;
        if !self.is_written() {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        self.forget_polled(polled);
        Ok((asleep, true))
    }

    /// Says that a worker polls more queues for jobs of some kinds. Those that another process polls
    /// are left to that one.
    pub(crate) async fn poll(
        &self,
        polled: &mut Vec<String>,
        queues: &[String],
        kinds: &[String],
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        if polled.is_empty() {
            self.polling.fetch_add(1, Ordering::Relaxed);
            self.expect_silence();
        }
        // The rows may be there although the answer that says so is lost.
        polled.extend_from_slice(queues);
        let ours = connection
            .run(async |conn| process::poll(conn, &self.schema, self.process, queues, kinds).await)
            .await?;
        polled.retain(|queue| !queues.contains(queue) || ours.contains(queue));
        if polled.is_empty() {
            self.polling.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn forget_polled(&self, polled: &mut Vec<String>) {
        if !polled.is_empty() {
            self.polling.fetch_sub(1, Ordering::Relaxed);
            polled.clear();
        }
    }

    /// Says that this process polls some queues no more, and wakes the others.
    pub(crate) async fn stop_polling(&self, polled: &mut Vec<String>) -> Result<(), sqlx::Error> {
        if polled.is_empty() {
            return Ok(());
        }
        let mut connection = self.connection.lock().await;
        connection
            .run(async |conn| process::stop_polling(conn, &self.schema, self.process, polled).await)
            .await?;
        self.forget_polled(polled);
        Ok(())
    }

    /// Withdraws the row whenever no worker has slept for a while. Ends only with an error.
    pub(crate) async fn withdraw_when_busy(&self) -> Result<(), sqlx::Error> {
        loop {
            let sleeps = self.sleeps.load(Ordering::Relaxed);
            tokio::time::sleep(BUSY_FOR).await;
            let mut connection = self.connection.lock().await;
            let slept = self.sleeps.load(Ordering::Relaxed) != sleeps
                || self.sleeping.load(Ordering::Relaxed) > 0;
            if self.is_written() && !slept {
                self.changes.fetch_add(1, Ordering::Relaxed);
                connection
                    .run(async |conn| process::wake(conn, &self.schema, self.process).await)
                    .await?;
            }
        }
    }
}
