//! The kinds that a program knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::output::say;
use crate::config::HandlerSettings;
use crate::config::document::nearest;

/// The kinds that this program knows. A program of an application refuses to enqueue others, which are
/// probably misspelled; the packaged program, which knows only the handlers of its configuration, warns.
pub(super) struct Kinds {
    known: BTreeSet<String>,
    refuses: bool,
    warned: Mutex<BTreeSet<String>>,
}

impl Kinds {
    pub(super) fn new(
        registered: Vec<String>,
        handlers: &BTreeMap<String, HandlerSettings>,
        is_forced: bool,
    ) -> Self {
        let refuses = !registered.is_empty() && !is_forced;
        Self {
            known: registered
                .into_iter()
                .chain(handlers.keys().cloned())
                .collect(),
            refuses,
            warned: Mutex::default(),
        }
    }

    /// Refuses an unknown kind, or warns of it once.
    pub(super) fn check(&self, kind: &str) -> Result<(), String> {
        if self.refuses && !self.known.contains(kind) {
            let hint = match self.nearest(kind) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`--force` enqueues it for another program".to_owned(),
            };
            return Err(format!("this program has no kind `{kind}`; {hint}"));
        }
        let effect = "its limits, its unique key and the form of its arguments are not applied";
        self.warn(kind, effect);
        Ok(())
    }

    /// Warns of an unknown kind of a recurring job.
    pub(super) fn warn_of_recurring(&self, kind: &str) {
        let effect = "a scheduler that knows it applies its options, its limits and its unique key";
        self.warn(kind, effect);
    }

    fn warn(&self, kind: &str, effect: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.contains(kind) || !warned.insert(kind.to_owned()) {
            return;
        }
        let hint = match self.nearest(kind) {
            Some(near) => format!(" (did you mean `{near}`?)"),
            None => String::new(),
        };
        say(format!(
            "warning: this program does not know the kind `{kind}`{hint}: {effect}"
        ));
    }

    fn nearest(&self, kind: &str) -> Option<&str> {
        nearest(kind, self.known.iter().map(String::as_str))
    }
}
