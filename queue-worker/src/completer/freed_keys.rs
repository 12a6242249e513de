//! The keys of limits whose slots this process has freed, until somebody has looked for blocked jobs
//! of theirs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

#[derive(Debug, Default)]
pub(crate) struct FreedKeys {
    keys: Mutex<BTreeSet<String>>,
    news: Notify,
    looked: watch::Sender<usize>,
}

impl FreedKeys {
    /// Adds keys, once the outcomes of the runs that held their slots are committed.
    pub(crate) fn add<'a>(&self, keys: impl Iterator<Item = &'a String>) {
        let mut mine = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mine.len();
        mine.extend(keys.cloned());
        if mine.len() > before {
            self.news.notify_one();
        }
    }

    /// Takes all keys, to look who waits for them.
    pub(crate) fn take(self: &Arc<Self>) -> Taken {
        let mut mine = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Taken {
            keys: std::mem::take(&mut *mine).into_iter().collect(),
            looked_at: 0,
            from: Arc::clone(self),
        }
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

/// Keys that were taken to be looked at: those that were not, because of an error or because the
/// process stops, go back.
#[derive(Debug)]
pub(crate) struct Taken {
    keys: Vec<String>,
    looked_at: usize,
    from: Arc<FreedKeys>,
}

impl Taken {
    /// Returns the keys that have not been looked at.
    pub(crate) fn rest(&self) -> &[String] {
        &self.keys[self.looked_at..]
    }

    /// Takes note that so many more have been looked at.
    pub(crate) fn settle(&mut self, count: usize) {
        self.looked_at += count;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.from.add(self.rest().iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_not_looked_at_go_back() {
        let freed_keys = Arc::new(FreedKeys::default());
        freed_keys.add(["a", "b", "c"].map(str::to_owned).iter());

        let mut taken = freed_keys.take();
        assert_eq!(taken.rest(), ["a", "b", "c"]);
        taken.settle(2);
        drop(taken);

        assert_eq!(freed_keys.take().rest(), ["c"]);
    }
}
