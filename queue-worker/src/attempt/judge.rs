//! Decides how a run ends. Pure: the completer carries the decision out.

use std::time::Duration;

use queue_core::Outcome;
use queue_core::encryption::Unopened;
use queue_core::transitions::end::End;
use queue_core::transitions::{AttemptError, Ending};

use super::in_flight::StopReason;
use crate::app::checkpoints::Pause;
use crate::app::context::Attempt;
use crate::app::perform::{Next, Policy};
use crate::app::run_error::RunError;

/// What is to be recorded about a run.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// claimed → finished: the job did its work.
    Finish,
    /// The job ended in some other way.
    End(End),
}

/// Judges a run that returned an error, panicked, or was dropped after it had been asked to stop.
pub(crate) fn judge(
    RunError { mut error, next }: RunError,
    attempt: &Attempt,
    policy: &Policy,
    stopped: Option<StopReason>,
) -> End {
    match stopped {
        Some(StopReason::Interrupted) => return End::Release,
        Some(StopReason::Cancelled) => {
            error.ending = Ending::Cancelled;
            return cancelled(error);
        }
        // The error of a run that was dropped says so already.
        Some(StopReason::TimedOut) if error.ending != Ending::Timeout => {
            error.ending = Ending::Timeout;
            error.message = format!("{}: {}", timed_out(policy.timeout), error.message);
        }
        Some(StopReason::TimedOut) | None => {}
    }
    match next {
        Next::Snooze(delay) => End::Snooze { delay },
        Next::Discard => End::Discard {
            error,
            outcome: Outcome::Discarded,
        },
        Next::Cancel => cancelled(error),
        Next::Fail => End::Fail { error },
        Next::Retry | Next::RetryAfter(_) if attempt.is_last() => End::Fail { error },
        Next::RetryAfter(delay) => End::Retry { error, delay },
        Next::Retry => End::Retry {
            error,
            delay: policy
                .backoff
                .wait(u32::from(attempt.failures.unsigned_abs()) + 1),
        },
    }
}

/// Returns the end of a run that ended at the boundary of a step, or why it was stopped.
pub(crate) fn paused(
    pause: Pause,
    stopped: Option<StopReason>,
    error: Option<RunError>,
) -> Result<End, StopReason> {
    match (pause, stopped) {
        (_, Some(reason @ (StopReason::Cancelled | StopReason::TimedOut))) => Err(reason),
        (Pause::Interrupted | Pause::Stopped | Pause::Isolated, _) => Ok(End::Release),
        (Pause::Asleep(delay), _) => Ok(End::Snooze { delay }),
        (Pause::Waiting { event, left }, _) => Ok(End::Wait {
            event,
            timeout: left,
        }),
        (Pause::Failed(delay), _) => {
            let mut error = error.map_or_else(step_failed, |error| error.error);
            error.ending = Ending::Step;
            Ok(End::Retry { error, delay })
        }
    }
}

/// Returns the error of a step whose own error the job has kept to itself.
fn step_failed() -> AttemptError {
    AttemptError::new(Ending::Step, "a step failed, and is tried again")
}

/// Returns the end of a job that was interrupted once more than its kind allows.
pub(crate) fn interrupted_too_often(times: u32) -> End {
    let message = format!("interrupted {times} times, which is more often than its kind allows");
    End::Fail {
        error: AttemptError::new(Ending::Error, message),
    }
}

/// Returns the end of a job that was asked to stop before it began.
pub(crate) fn cancelled_before_start() -> End {
    let message = "cancelled before it began";
    cancelled(AttemptError::new(Ending::Cancelled, message))
}

fn cancelled(error: AttemptError) -> End {
    End::Discard {
        error,
        outcome: Outcome::Cancelled,
    }
}

/// Returns the error of a run that was dropped because it did not stop by itself.
pub(crate) fn dropped(stopped: StopReason, timeout: Option<Duration>) -> RunError {
    match stopped {
        StopReason::Cancelled => RunError::new(Ending::Cancelled, "cancelled while it ran"),
        StopReason::TimedOut => RunError::new(Ending::Timeout, timed_out(timeout)),
        StopReason::Interrupted => RunError::new(Ending::Error, "interrupted"),
    }
}

/// Returns the error of a run that finished itself in a transaction that was not committed.
pub(crate) fn uncommitted() -> RunError {
    RunError::new(
        Ending::Error,
        "the job returned `Ok` after `complete_in`, but the transaction was not committed",
    )
}

/// Returns the error of a run that did not begin, because the context of its job cannot be read.
pub(crate) fn unreadable_context(reason: &str) -> RunError {
    let message = format!("the context of the job cannot be read: {reason}");
    RunError::new(Ending::Undecodable, message)
}

/// Returns the error of a run that did not begin, because the arguments of its job cannot be decrypted.
pub(crate) fn unopened(reason: &Unopened) -> RunError {
    let message = format!("the arguments of the job are {reason}");
    RunError::new(Ending::Undecodable, message)
}

fn timed_out(timeout: Option<Duration>) -> String {
    let limit = humantime::format_duration(timeout.unwrap_or_default());
    format!("ran longer than its {limit}")
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use queue_core::JobId;

    use super::*;
    use crate::app::backoff::Backoff;

    fn attempt(failures: i16, attempts_max: i16) -> Attempt {
        Attempt {
            job_id: JobId(1),
            shard: None,
            kind: "k".into(),
            queue: "q".into(),
            priority: 0,
            tags: vec![],
            number: 1,
            failures,
            attempts_max,
            crashes: 0,
            created_at: Utc::now(),
            ready_at: Utc::now(),
        }
    }

    fn policy() -> Policy {
        Policy {
            backoff: Backoff::fixed(Duration::from_secs(9)).jitter(0.0),
            timeout: Some(Duration::from_secs(3)),
            ..Policy::default()
        }
    }

    fn judged(next: Next, failures: i16, stopped: Option<StopReason>) -> String {
        let run_error = RunError {
            next,
            ..RunError::new(Ending::Error, "no")
        };
        match judge(run_error, &attempt(failures, 3), &policy(), stopped) {
            End::Retry { error, delay } => {
                format!("retry {:?} after {}", error.ending, delay.as_secs())
            }
            End::Snooze { delay } => format!("snooze {}", delay.as_secs()),
            End::Wait { event, .. } => format!("wait for {event}"),
            End::Discard { error, outcome } => format!("{outcome:?} {:?}", error.ending),
            End::Fail { error } => format!("fail {:?}", error.ending),
            End::Release => "release".to_owned(),
        }
    }

    #[test]
    fn each_next_step_becomes_an_end() {
        let seconds = Duration::from_secs;
        assert_eq!(judged(Next::Retry, 0, None), "retry Error after 9");
        assert_eq!(
            judged(Next::RetryAfter(seconds(2)), 1, None),
            "retry Error after 2"
        );
        assert_eq!(judged(Next::Snooze(seconds(5)), 0, None), "snooze 5");
        assert_eq!(judged(Next::Discard, 0, None), "Discarded Error");
        assert_eq!(judged(Next::Cancel, 0, None), "Cancelled Error");
        assert_eq!(judged(Next::Fail, 0, None), "fail Error");
    }

    #[test]
    fn the_last_attempt_fails_the_job_but_a_snooze_does_not() {
        assert_eq!(judged(Next::Retry, 2, None), "fail Error");
        assert_eq!(
            judged(Next::RetryAfter(Duration::ZERO), 2, None),
            "fail Error"
        );
        assert_eq!(judged(Next::Snooze(Duration::ZERO), 2, None), "snooze 0");
    }

    #[test]
    fn the_stop_reason_takes_precedence_over_the_error() {
        let interrupted = Some(StopReason::Interrupted);
        assert_eq!(judged(Next::Fail, 2, interrupted), "release");
        let cancelled = Some(StopReason::Cancelled);
        assert_eq!(judged(Next::Retry, 0, cancelled), "Cancelled Cancelled");
        let timed_out = Some(StopReason::TimedOut);
        assert_eq!(judged(Next::Retry, 0, timed_out), "retry Timeout after 9");
        assert_eq!(judged(Next::Retry, 2, timed_out), "fail Timeout");
    }

    #[test]
    fn the_error_of_a_run_that_timed_out_begins_with_the_timeout() {
        let stopped = StopReason::TimedOut;
        let message = |error| match judge(error, &attempt(0, 3), &policy(), Some(stopped)) {
            End::Retry { error, .. } => error.message,
            end => panic!("{end:?}"),
        };

        let killed = message(RunError::new(Ending::Error, "killed by SIGTERM"));
        assert_eq!(killed, "ran longer than its 3s: killed by SIGTERM");
        let dropped = message(dropped(stopped, policy().timeout));
        assert_eq!(dropped, "ran longer than its 3s");
    }
}
