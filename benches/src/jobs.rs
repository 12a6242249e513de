//! The measured job, which does nothing and has arguments of 100 bytes, and a job that runs long.

use queue_core::Job;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Noop {
    id: i64,
    text: String,
}

impl Job for Noop {
    const KIND: &'static str = "noop";
}

/// A job that holds its slots until it is asked to stop.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hold;

impl Job for Hold {
    const KIND: &'static str = "hold";
}

impl Noop {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id: 1_000_000 + id,
            text: "x".repeat(76),
        }
    }

    pub(crate) fn id(&self) -> i64 {
        self.id - 1_000_000
    }

    pub(crate) fn args() -> String {
        serde_json::to_string(&Self::new(0)).expect("numbers and text are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_have_100_bytes() {
        assert_eq!(Noop::args().len(), 100);
    }
}
