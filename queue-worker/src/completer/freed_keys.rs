//! The limit keys whose slots this process has freed, until the unblocker has checked them: a key
//! is checked by making as many of its blocked jobs ready as it has room for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

#[derive(Debug, Default)]
pub(crate) struct FreedKeys {
    keys: Mutex<BTreeSet<String>>,
    news: Notify,
    /// How many checks there have been, by the unblocker of this process.
    checks: watch::Sender<usize>,
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

    /// Takes all keys, to check them.
    pub(crate) fn take(self: &Arc<Self>) -> TakenKeys {
        let mut mine = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        TakenKeys {
            keys: std::mem::take(&mut *mine).into_iter().collect(),
            checked: 0,
            from: Arc::clone(self),
        }
    }

    /// Waits for keys to be added.
    pub(crate) async fn added(&self) {
        self.news.notified().await;
    }

    /// Counts a check, which makes workers look for unblocked jobs.
    pub(crate) fn note_check(&self) {
        self.checks.send_modify(|checks| *checks += 1);
    }

    /// Returns how many checks there have been.
    pub(crate) fn checks(&self) -> usize {
        *self.checks.borrow()
    }

    /// Returns a receiver that changes with every check.
    pub(crate) fn watch_checks(&self) -> watch::Receiver<usize> {
        self.checks.subscribe()
    }
}

/// Keys that were taken to be checked. Those that were not checked, because of an error or because
/// the process stops, go back when this is dropped.
#[derive(Debug)]
pub(crate) struct TakenKeys {
    keys: Vec<String>,
    checked: usize,
    from: Arc<FreedKeys>,
}

impl TakenKeys {
    /// Returns the keys that have not been checked.
    pub(crate) fn rest(&self) -> &[String] {
        &self.keys[self.checked..]
    }

    /// Notes that the next `count` keys have been checked.
    pub(crate) fn note_checked(&mut self, count: usize) {
        self.checked += count;
    }
}

impl Drop for TakenKeys {
    fn drop(&mut self) {
        self.from.add(self.rest().iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchecked_keys_go_back() {
        let freed_keys = Arc::new(FreedKeys::default());
        freed_keys.add(["a", "b", "c"].map(str::to_owned).iter());

        let mut taken = freed_keys.take();
        assert_eq!(taken.rest(), ["a", "b", "c"]);
        taken.note_checked(2);
        drop(taken);

        assert_eq!(freed_keys.take().rest(), ["c"]);
    }
}
