//! How the loops of a worker wake each other, and how others wake them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Signals {
    /// There may be jobs to claim.
    pub(super) wake: Notify,
    /// A look for jobs that were committed late is due.
    pub(super) late: Notify,
    /// A sweep is due.
    pub(super) sweep: Notify,
    is_idle: AtomicBool,
    news: Mutex<News>,
}

/// The jobs that a process was notified of.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) jobs: usize,
    pub(super) queues: Vec<String>,
}

impl Signals {
    /// Returns whether the claim loop sleeps.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Relaxed)
    }

    pub(super) fn set_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, Ordering::Relaxed);
    }

    /// Adds a job that this process was notified of.
    pub(super) fn add_news(&self, queue: &str) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.jobs += 1;
        if !news.queues.iter().any(|known| known == queue) {
            news.queues.push(queue.to_owned());
        }
    }

    /// Takes what has been added since the last time.
    pub(super) fn take_news(&self) -> News {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *news)
    }
}
