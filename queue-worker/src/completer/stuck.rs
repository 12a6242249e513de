//! Completions that the database rejected: a lock was in the way, or a value was refused.
//!
//! They are retried one by one, on a connection of their own, until they are recorded. Meanwhile
//! all others are recorded as usual.

use std::collections::VecDeque;
use std::time::Duration;

use queue_core::transitions::end::End;
use queue_core::transitions::{AttemptError, Ending};
use tokio::sync::mpsc;

use super::write::{Recorder, WriteError};
use crate::attempt::{Completion, Verdict};
use crate::connection::{Connection, RetryDelay, logged};

/// When so many completions are stuck, all others wait too: the cause is probably none of them.
pub(super) const STUCK_MAX: usize = 256;

/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A completion that the database rejected, and why.
#[derive(Debug)]
pub(super) struct Stuck {
    pub(super) completion: Completion,
    pub(super) error: sqlx::Error,
}

/// Retries completions that are stuck until all are recorded and no more can come.
pub(super) async fn retry(
    recorder: &Recorder,
    mut connection: Connection,
    mut rejected: mpsc::Receiver<Stuck>,
) {
    let mut stuck = VecDeque::new();
    let mut delay = RetryDelay::default();
    loop {
        let receiving = async {
            tokio::select! {
                biased;
                received = rejected.recv(), if stuck.len() < STUCK_MAX => received,
                () = std::future::ready(()), if !stuck.is_empty() => None,
            }
        };
        let received = connection.idle_until(receiving).await;
        if let Some(Stuck { completion, error }) = received {
            report(&completion, &error);
            // The newest comes first: most are stuck only for a moment.
            stuck.push_front(writable(completion, &error));
        }
        let Some(completion) = stuck.pop_front() else {
            break;
        };
        let group = std::slice::from_ref(&completion);
        match recorder.try_write(&mut connection, group).await {
            Ok(written) => {
                recorder.settle(group, &written);
                delay.reset();
            }
            Err(error) => {
                stuck.push_back(match &error {
                    WriteError::Rejected(error) => writable(completion, error),
                    WriteError::Unavailable(_) => completion,
                });
                tokio::time::sleep(delay.next().min(WAIT_MAX)).await;
            }
        }
    }
    connection.close().await;
}

fn report(completion: &Completion, error: &sqlx::Error) {
    tracing::warn!(
        job_id = %completion.job.claim.job_id(),
        kind = completion.job.kind,
        queue = completion.job.queue,
        attempt = completion.job.claim.attempt(),
        error = %logged(error),
        "could not record the outcome of the job; retrying",
    );
}

/// Replaces what the database refused: the characters that its encoding may lack, or else the whole end
/// by a plain failure. A finished job stays finished: it has no values to refuse, and its work must not be
/// repeated.
fn writable(mut completion: Completion, error: &sqlx::Error) -> Completion {
    if let Verdict::End(end) = &mut completion.verdict
        && is_about_values(error)
        && !end.make_ascii()
    {
        let message = format!("could not record the outcome of this run: {error}");
        let message = message.replace(|c: char| !c.is_ascii() || c == '\0', "?");
        *end = End::Fail {
            error: AttemptError::new(Ending::Error, message),
        };
    }
    completion
}

/// Returns whether the same values would be refused again: data exceptions, violated constraints.
fn is_about_values(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
