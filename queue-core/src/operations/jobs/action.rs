//! Which jobs an action applies to, and why it does not apply to others.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::inspect::{JobFilter, JobSummary};
use crate::state::JobState;

/// A change that an operator or an application makes to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobAction {
    /// Makes a failed job ready with its failures set to zero, and a job that is scheduled for another
    /// attempt ready at once.
    Retry,
    /// Ends a job that is not running: it becomes finished (discarded).
    Discard,
    /// Ends a waiting job: it becomes finished (cancelled). Asks a running job to stop.
    Cancel,
    /// Makes a blocked job ready although its limits have no room.
    RunAnyway,
    /// Lets a waiting job wait until a time; if that has come, makes a scheduled job ready.
    Reschedule(DateTime<Utc>),
    /// Gives a waiting job another priority, and a ready one a new place in line.
    Prioritize(i16),
}

/// Why a job was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No job has this id, or it has been cleared.
    #[error("no such job, or it has been cleared")]
    Unknown,
    /// The job is finished.
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
    /// The job is ready. Its limits are checked when it is claimed.
    #[error("it is ready: its limits are checked when a worker is free")]
    NotBlocked,
    /// A retry of a failed job whose unique key another job holds, or that another transaction had
    /// locked.
    #[error("another job holds its unique key, or another transaction is changing it")]
    KeyTaken,
    /// A blocked job that waits for other jobs cannot be rescheduled.
    #[error("it waits for other jobs, or another transaction is changing it")]
    WaitsForJobs,
    /// The job has the priority already.
    #[error("it has this priority already")]
    SamePriority,
    /// The running job was asked to stop before.
    #[error("it was asked to stop before")]
    AskedBefore,
    /// Another transaction had locked the job, or changed it back meanwhile.
    #[error("another transaction was changing it: try again")]
    Busy,
}

/// The filter names a state that the action does not apply to.
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
            Self::Reschedule(_) | Self::Prioritize(_) => &[Scheduled, Ready, Blocked],
        }
    }

    /// Returns the states that are used for a filter without states: only failed jobs for a retry, only
    /// scheduled ones to reschedule, for other actions all states that they apply to.
    pub fn default_states(self) -> &'static [JobState] {
        match self {
            Self::Retry => &[JobState::Failed],
            Self::Reschedule(_) => &[JobState::Scheduled],
            action => action.states(),
        }
    }

    /// Returns the action to suggest for a job in a state that this one does not apply to.
    pub fn instead(self, state: JobState) -> Option<Self> {
        match (self, state) {
            (Self::Retry, JobState::Blocked) => Some(Self::RunAnyway),
            (Self::Discard, JobState::Claimed) => Some(Self::Cancel),
            (Self::Cancel, JobState::Failed) => Some(Self::Discard),
            (Self::Reschedule(_) | Self::Prioritize(_), JobState::Failed) => Some(Self::Retry),
            _ => None,
        }
    }

    /// Fills in the states of a filter that names none.
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

    /// Returns whether the action applies to the job in its present state.
    pub(super) fn applies_to(self, job: &JobSummary) -> bool {
        let awaits_first_attempt = job.state == JobState::Scheduled && job.attempt == 0;
        self.states().contains(&job.state) && !(self == Self::Retry && awaits_first_attempt)
    }

    /// Returns why the job was not changed.
    pub(super) fn refusal(self, job: &JobSummary) -> Refusal {
        match (self, job.state) {
            (Self::Retry, JobState::Scheduled) if job.attempt == 0 => Refusal::FirstAttempt,
            (Self::Retry, JobState::Ready) => Refusal::Ready,
            (Self::RunAnyway, JobState::Ready) => Refusal::NotBlocked,
            (Self::Retry, JobState::Failed) => Refusal::KeyTaken,
            (Self::Cancel, JobState::Claimed) => Refusal::AskedBefore,
            (Self::Prioritize(priority), _) if self.applies_to(job) && job.priority == priority => {
                Refusal::SamePriority
            }
            (Self::Reschedule(at), JobState::Ready) if at <= Utc::now() => Refusal::Ready,
            (Self::Reschedule(_), JobState::Blocked) => Refusal::WaitsForJobs,
            _ if self.applies_to(job) => Refusal::Busy,
            (_, state) => match job.outcome.clone() {
                Some(outcome) => Refusal::Finished { outcome },
                None => {
                    let instead = self.instead(state);
                    Refusal::State { state, instead }
                }
            },
        }
    }

    /// Returns the action of a text, as it is displayed.
    pub fn of_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some((verb, to)) => Self::to(verb, to),
            None => [Self::Retry, Self::Discard, Self::Cancel, Self::RunAnyway]
                .into_iter()
                .find(|action| action.verb() == text),
        }
    }

    /// Returns the action of a verb that needs a time or a number.
    pub fn to(verb: &str, to: &str) -> Option<Self> {
        match verb {
            "reschedule" => to.parse().ok().map(Self::Reschedule),
            "priority" => to.parse().ok().map(Self::Prioritize),
            _ => None,
        }
    }

    /// Returns the verb, as commands and addresses have it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
            Self::Cancel => "cancel",
            Self::RunAnyway => "run",
            Self::Reschedule(_) => "reschedule",
            Self::Prioritize(_) => "priority",
        }
    }

    /// Returns the past participle, such as `retried`.
    pub fn past(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Discard => "discarded",
            Self::Cancel => "cancelled",
            Self::RunAnyway => "run anyway",
            Self::Reschedule(_) => "rescheduled",
            Self::Prioritize(_) => "given another priority",
        }
    }
}

impl fmt::Display for JobAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb();
        match self {
            Self::Reschedule(at) => write!(f, "{verb} {}", at.to_rfc3339()),
            Self::Prioritize(priority) => write!(f, "{verb} {priority}"),
            _ => f.write_str(verb),
        }
    }
}

#[cfg(test)]
mod tests {
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
            failures: Some(0),
            attempts_max: 10,
            tags: Vec::new(),
            tenant: None,
            args: None,
            enqueued_at: Utc::now(),
            at: Utc::now(),
            error: None,
        }
    }

    #[test]
    fn a_job_scheduled_for_its_first_attempt_cannot_be_retried() {
        assert!(JobAction::Retry.applies_to(&job(JobState::Scheduled, 1)));
        assert!(!JobAction::Retry.applies_to(&job(JobState::Scheduled, 0)));
        assert!(JobAction::Cancel.applies_to(&job(JobState::Scheduled, 0)));
    }

    #[test]
    fn a_refusal_names_the_state_and_the_action_that_applies() {
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
    fn run_anyway_applies_to_blocked_jobs_only() {
        for state in JobState::ALL {
            let applies = JobAction::RunAnyway.applies_to(&job(state, 1));
            assert_eq!(applies, state == JobState::Blocked, "{state}");
        }
    }

    #[test]
    fn an_action_is_read_from_the_text_that_it_is_displayed_as() {
        let at = DateTime::from_timestamp(1_900_000_000, 123_456_000).unwrap();
        for action in [
            JobAction::Retry,
            JobAction::Discard,
            JobAction::Cancel,
            JobAction::RunAnyway,
            JobAction::Reschedule(at),
            JobAction::Prioritize(-7),
        ] {
            assert_eq!(JobAction::of_text(&action.to_string()), Some(action));
        }
        for text in [
            "",
            "explode",
            "priority",
            "priority x",
            "reschedule soon",
            "retry 1",
        ] {
            assert_eq!(JobAction::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_filter_accepts_only_states_that_the_action_applies_to() {
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
