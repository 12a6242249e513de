//! Handlers without Rust code: they run an attempt as a command or an HTTP request. Alerts are sent so, too.

mod foreign;
mod message;

mod command;
mod http;
mod state;

pub(crate) use foreign::new_job;
pub(crate) use http::{built, http_builder};
pub(crate) use message::Receiver;

use std::time::Duration;

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandlerOutcome {
    /// The job is finished.
    Done,
    /// It failed, and is retried after its backoff.
    Retry { error: String },
    /// It failed, and is retried after this time.
    RetryAfter { after: Duration, error: String },
    /// The job is obsolete, and is discarded.
    Discard { error: String },
    /// It failed, and is not retried.
    Fail { error: String },
}

/// Returns output as text that Postgres can store: valid UTF-8 without null characters.
fn storable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use queue_core::JobId;

    use crate::app::context::Attempt;

    /// The second attempt of a job.
    pub(super) fn attempt() -> Attempt {
        Attempt {
            job_id: JobId(42),
            shard: None,
            kind: "send".to_owned(),
            queue: "mail".to_owned(),
            priority: 0,
            tags: Vec::new(),
            number: 2,
            failures: 1,
            attempts_max: 5,
            crashes: 0,
            created_at: Utc::now(),
            ready_at: Utc::now(),
        }
    }
}
