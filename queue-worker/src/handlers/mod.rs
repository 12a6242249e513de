//! Handlers without Rust code: one attempt of a job, run as a command or at an HTTP endpoint.

mod foreign;

mod command;
mod http;

pub(crate) use foreign::options_of;

use std::time::Duration;

/// The attempt that a handler is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandlerInput<'a> {
    pub(crate) job_id: i64,
    pub(crate) kind: &'a str,
    pub(crate) queue: &'a str,
    /// The number of this attempt, from 1.
    pub(crate) attempt: i32,
    pub(crate) attempts_max: i16,
    /// The arguments as JSON text.
    pub(crate) args: &'a str,
}

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
