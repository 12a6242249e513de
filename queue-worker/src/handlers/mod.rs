//! Handlers without Rust code: one attempt of a job, run as a command or at an HTTP endpoint.

mod foreign;

mod command;
mod http;

pub(crate) use foreign::options_of;

use std::time::Duration;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandlerOutcome {
    /// The job is finished.
    Done,
    /// It failed, and may be tried again when its backoff says.
    Retry { error: String },
    /// It failed, and asks to be tried again after this time.
    RetryAfter { after: Duration, error: String },
    /// What the job was about is gone; it is dropped.
    Discard { error: String },
    /// It failed, and trying again would not help.
    Fail { error: String },
}

/// Text of a stranger as Postgres can store it: valid UTF-8 without null characters.
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
