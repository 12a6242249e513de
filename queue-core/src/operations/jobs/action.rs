//! Which jobs an action applies to, and why it does not apply to others.

use std::fmt;

use crate::inspect::{JobFilter, JobSummary};
use crate::state::JobState;

/// A change that an operator or an application makes to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobAction {
    /// Makes a failed job ready with all its attempts again, and a job that waits for another
    /// attempt ready at once.
    Retry,
    /// Gives up a job that is not running: it becomes finished (discarded).
    Discard,
    /// Ends a job that waits (it becomes finished, cancelled), and asks a running one to stop.
    Cancel,
    /// Makes a blocked job ready in spite of its limits, this once.
    RunAnyway,
}

/// Why a job was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No job has this id, or it has been cleared.
    #[error("there is no such job (any more)")]
    Unknown,
    /// The job is over.
    #[error("it is finished ({outcome})")]
    Finished {
        /// How it ended: `done`, `discarded` or `cancelled`.
        outcome: String,
    },
    /// The action does not apply to jobs in this state.
    #[error("it is {state}")]
    State {
        /// The state of the job.
        state: JobState,
        /// The action that applies to such a job instead, if there is one.
        instead: Option<JobAction>,
    },
    /// A retry of a job that has not been run yet.
    #[error("it is scheduled for its first attempt, which is not a retry")]
    FirstAttempt,
    /// A retry of a job that is ready.
    #[error("it is ready already, and runs as soon as a worker is free")]
    Ready,
    /// A ready job was to be run in spite of its limits, which are looked at when it is claimed.
    #[error("it is ready: whether it has room is decided when a worker is free")]
    NotBlocked,
    /// A retry of a failed job that needs its unique key, which another job holds. The job may
    /// also have been locked by another transaction.
    #[error("another job holds its unique key, or is being changed by somebody else")]
    KeyTaken,
    /// A running job has been asked to stop before.
    #[error("it was asked to stop before")]
    AskedBefore,
    /// Another transaction had locked the job, or has changed it back meanwhile.
    #[error("somebody else was changing it: try again")]
    Busy,
}

/// A filter asked for jobs in a state that the action does not apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{state} jobs cannot be {}", .action.past())]
pub struct StateRefused {
    /// The action.
    pub action: JobAction,
    /// The state.
    pub state: JobState,
}

impl JobAction {
    /// Returns the states that the action applies to.
    pub fn states(self) -> &'static [JobState] {
        use JobState::{Blocked, Claimed, Failed, Ready, Scheduled};
        match self {
            Self::Retry => &[Failed, Scheduled],
            Self::Discard => &[Scheduled, Ready, Blocked, Failed],
            Self::Cancel => &[Scheduled, Ready, Blocked, Claimed],
            Self::RunAnyway => &[Blocked],
        }
    }

    /// Returns the states that a filter without states stands for: all that the action applies
    /// to, but failed jobs alone for a retry.
    pub fn default_states(self) -> &'static [JobState] {
        match self {
            Self::Retry => &[JobState::Failed],
            action => action.states(),
        }
    }

    /// Returns the action that applies to a job in a state that this one does not apply to.
    pub fn instead(self, state: JobState) -> Option<Self> {
        match (self, state) {
            (Self::Retry, JobState::Blocked) => Some(Self::RunAnyway),
            (Self::Discard, JobState::Claimed) => Some(Self::Cancel),
            (Self::Cancel, JobState::Failed) => Some(Self::Discard),
            _ => None,
        }
    }

    /// Completes a filter with the states that the action means when it names none.
    ///
    /// # Errors
    /// Refuses a state that the action does not apply to.
    pub fn complete(self, mut filter: JobFilter) -> Result<JobFilter, StateRefused> {
        let unfit = |state: &&JobState| !self.states().contains(state);
        if let Some(&state) = filter.states.iter().find(unfit) {
            return Err(StateRefused {
                action: self,
                state,
            });
        }
        if filter.states.is_empty() {
            filter.states = self.default_states().to_vec();
        }
        Ok(filter)
    }

    /// Returns whether the action applies to a job as it stands.
    pub(super) fn applies_to(self, job: &JobSummary) -> bool {
        let waits_for_its_first = job.state == JobState::Scheduled && job.attempt == 0;
        self.states().contains(&job.state) && !(self == Self::Retry && waits_for_its_first)
    }

    /// Returns why a job that stands like this was not changed.
    pub(super) fn refusal(self, job: &JobSummary) -> Refusal {
        match (self, job.state) {
            (Self::Retry, JobState::Scheduled) if job.attempt == 0 => Refusal::FirstAttempt,
            (Self::Retry, JobState::Ready) => Refusal::Ready,
            (Self::RunAnyway, JobState::Ready) => Refusal::NotBlocked,
            (Self::Retry, JobState::Failed) => Refusal::KeyTaken,
            (Self::Cancel, JobState::Claimed) => Refusal::AskedBefore,
            _ if self.applies_to(job) => Refusal::Busy,
            (_, state) => match &job.outcome {
                Some(outcome) => Refusal::Finished {
                    outcome: outcome.clone(),
                },
                None => Refusal::State {
                    state,
                    instead: self.instead(state),
                },
            },
        }
    }

    /// Returns the action in the past, to be read after jobs: `retried`.
    pub fn past(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Discard => "discarded",
            Self::Cancel => "cancelled",
            Self::RunAnyway => "run anyway",
        }
    }
}

impl fmt::Display for JobAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
            Self::Cancel => "cancel",
            Self::RunAnyway => "run",
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::job::JobId;

    fn job(state: JobState, attempt: i32) -> JobSummary {
        JobSummary {
            id: JobId(1),
            kind: "send".to_owned(),
            queue: "mail".to_owned(),
            state,
            outcome: (state == JobState::Finished).then(|| "done".to_owned()),
            priority: 0,
            attempt,
            attempts_max: 10,
            tags: Vec::new(),
            enqueued_at: Utc::now(),
            at: Utc::now(),
            error: None,
        }
    }

    #[test]
    fn a_first_run_is_not_a_retry() {
        assert!(JobAction::Retry.applies_to(&job(JobState::Scheduled, 1)));
        assert!(!JobAction::Retry.applies_to(&job(JobState::Scheduled, 0)));
        assert!(JobAction::Cancel.applies_to(&job(JobState::Scheduled, 0)));
    }

    #[test]
    fn a_refusal_says_how_the_job_stands_and_what_applies_instead() {
        let refused = |action: JobAction, state| match action.refusal(&job(state, 1)) {
            Refusal::State { state, instead } => (state.to_string(), instead),
            other => (other.to_string(), None),
        };
        let running = ("running".to_owned(), Some(JobAction::Cancel));
        assert_eq!(refused(JobAction::Discard, JobState::Claimed), running);
        let failed = ("failed".to_owned(), Some(JobAction::Discard));
        assert_eq!(refused(JobAction::Cancel, JobState::Failed), failed);
        let blocked = ("blocked".to_owned(), Some(JobAction::RunAnyway));
        assert_eq!(refused(JobAction::Retry, JobState::Blocked), blocked);
        let finished = ("it is finished (done)".to_owned(), None);
        assert_eq!(refused(JobAction::Retry, JobState::Finished), finished);
    }

    #[test]
    fn only_blocked_jobs_are_run_anyway() {
        for state in JobState::ALL {
            let applies = JobAction::RunAnyway.applies_to(&job(state, 1));
            assert_eq!(applies, state == JobState::Blocked, "{state}");
        }
    }

    #[test]
    fn a_filter_is_completed_only_with_states_that_the_action_applies_to() {
        let filter = |states: &[JobState]| JobFilter {
            states: states.to_vec(),
            ..JobFilter::default()
        };
        let refused = JobAction::RunAnyway.complete(filter(&[JobState::Ready]));
        let refused = refused.unwrap_err().to_string();
        assert_eq!(refused, "ready jobs cannot be run anyway");
        let completed = JobAction::Retry.complete(filter(&[])).unwrap();
        assert_eq!(completed.states, [JobState::Failed]);
        let completed = JobAction::Retry.complete(filter(&[JobState::Scheduled]));
        assert_eq!(completed.unwrap().states, [JobState::Scheduled]);
    }
}
