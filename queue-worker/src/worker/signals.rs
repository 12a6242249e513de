//! The signals that wake the loops of a worker.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

#[derive(Debug, Default)]
pub(super) struct Signals {
    /// There may be jobs to claim.
    pub(super) wake: Notify,
    /// Jobs may have been committed below the floors.
    pub(super) late: Notify,
    /// A sweep is due.
    pub(super) sweep: Notify,
    is_idle: watch::Sender<bool>,
    news: Mutex<News>,
}

/// The jobs of which this process was notified.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) jobs: usize,
    pub(super) queues: Vec<String>,
}

impl Signals {
    /// Returns whether the claim loop is idle.
    pub(super) fn is_idle(&self) -> bool {
        *self.is_idle.borrow()
    }

    pub(super) fn set_idle(&self, is_idle: bool) {
        self.is_idle.send_replace(is_idle);
    }

    /// Waits while the claim loop is idle.
    pub(super) async fn is_busy(&self) {
        let mut is_idle = self.is_idle.subscribe();
        // The sender is a field of `self`.
        let _busy = is_idle.wait_for(|is_idle| !is_idle).await;
    }

    /// Adds a job of which this process was notified.
    pub(super) fn add_news(&self, queue: &str) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.jobs += 1;
        if !news.queues.iter().any(|known| known == queue) {
            news.queues.push(queue.to_owned());
        }
    }

    /// Takes the jobs that were added since the last time.
    pub(super) fn take_news(&self) -> News {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *news)
    }
}
