//! The ends of runs that the server did not take: a lock was in the way, or it refused them.
//!
//! They are tried one by one, on a connection of their own, until they are taken; all other ends
//! go on meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use queue_core::transitions::end::End;
use queue_core::transitions::{AttemptError, Ending};
use tokio::sync::mpsc;

use crate::ends::{Ended, Trouble, Writer};
use crate::judge::Verdict;
use crate::link::Patience;

/// The most ends that are set aside before all others have to wait: when so many are stuck,
/// something is wrong with all.
pub(crate) const STUCK_MAX: usize = 256;

/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The end of a run that the server did not take, and why.
#[derive(Debug)]
pub(crate) struct Stuck {
    pub(crate) ended: Ended,
    pub(crate) error: sqlx::Error,
}

/// Writes ends that are stuck until all are written and no more can come.
pub(crate) async fn write_stuck(mut writer: Writer, mut set_aside: mpsc::Receiver<Stuck>) {
    let mut stuck = VecDeque::new();
    let mut patience = Patience::default();
    loop {
        let received = tokio::select! {
            biased;
            received = set_aside.recv(), if stuck.len() < STUCK_MAX => received,
            () = std::future::ready(()), if !stuck.is_empty() => None,
        };
        if let Some(Stuck { ended, error }) = received {
            report(&ended, &error);
            // The newest first: most are stuck for a moment only.
            stuck.push_front(writable(ended, &error));
        }
        let Some(ended) = stuck.pop_front() else {
            break;
        };
        match writer.try_write(std::slice::from_ref(&ended), true).await {
            Ok(written) => {
                writer.settle(std::slice::from_ref(&ended), written);
                patience.reset();
            }
            Err(trouble) => {
                stuck.push_back(match &trouble {
                    Trouble::Stuck(error) => writable(ended, error),
                    Trouble::Away(_) => ended,
                });
                tokio::time::sleep(patience.next_wait().min(WAIT_MAX)).await;
            }
        }
    }
    writer.link.close().await;
}

fn report(ended: &Ended, error: &sqlx::Error) {
    tracing::warn!(
        job_id = %ended.held.claim.job_id(),
        kind = ended.held.kind,
        queue = ended.held.queue,
        attempt = ended.held.claim.attempt(),
        %error,
        "could not record the outcome of the job; retrying",
    );
}

/// Makes an end that the server can take of one whose values it refused. That a job finished stays
/// so: there is nothing in it to be refused, and its work must not be done again.
fn writable(mut ended: Ended, error: &sqlx::Error) -> Ended {
    let (Verdict::End(end) | Verdict::Completed { otherwise: end }) = &mut ended.verdict else {
        return ended;
    };
    if !is_about_values(error) {
        return ended;
    }
    let message = format!("the end of this run could not be written: {error}");
    *end = End::Fail {
        error: AttemptError {
            ending: Ending::Error,
            message: message.replace(|c: char| !c.is_ascii() || c == '\0', "?"),
            backtrace: None,
        },
    };
    ended
}

/// Data exceptions and violated constraints: the same values are refused again.
fn is_about_values(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
