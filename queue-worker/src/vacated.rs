//! The keys of limits whose slots this process has freed, until somebody has looked who may go on.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

#[derive(Debug)]
pub(crate) struct Vacated {
    keys: Mutex<BTreeSet<String>>,
    news: Notify,
    looked: watch::Sender<usize>,
}

impl Default for Vacated {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
            news: Notify::new(),
            looked: watch::Sender::new(0),
        }
    }
}

impl Vacated {
    /// Adds keys, once the end of the runs that held their slots is committed.
    pub(crate) fn add<'a>(&self, keys: impl Iterator<Item = &'a String>) {
        let mut mine = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mine.len();
        mine.extend(keys.cloned());
        if mine.len() > before {
            self.news.notify_one();
        }
    }

    /// Takes all keys, to look who waits for them.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut mine = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *mine).into_iter().collect()
    }

    /// Waits for keys to be added.
    pub(crate) async fn added(&self) {
        self.news.notified().await;
    }

    /// Says that somebody has looked, so that workers look for what may go on.
    pub(crate) fn note_look(&self) {
        self.looked.send_modify(|looks| *looks += 1);
    }

    /// Returns how often somebody has looked.
    pub(crate) fn looks_taken(&self) -> usize {
        *self.looked.borrow()
    }

    /// Returns what changes whenever somebody has looked.
    pub(crate) fn looks(&self) -> watch::Receiver<usize> {
        self.looked.subscribe()
    }
}
