//! What a command says about the jobs that it changed, and about those that it left alone.

use std::collections::BTreeMap;

use queue_core::JobId;
use queue_core::operations::jobs::{Changes, JobAction, Refusal};
use serde::Serialize;

use crate::cli::output::{counted, print_json, say};
use crate::cli::{Exit, Failure};

/// The ids that are named for each reason; more would hide the reasons.
const NAMED_MAX: usize = 10;

/// What became of the jobs that were to be changed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Jobs that were changed.
    changed: u64,
    /// Running jobs that were asked to stop.
    asked_to_stop: u64,
    /// Jobs that were not changed, by reason.
    unchanged: Vec<Unchanged>,
    /// Whether a job that was named does not exist.
    #[serde(skip)]
    is_one_unknown: bool,
}

#[derive(Debug, Serialize)]
struct Unchanged {
    reason: String,
    jobs: usize,
    /// The first of them.
    ids: Vec<JobId>,
}

impl Report {
    pub(super) fn of(changes: &Changes) -> Self {
        let mut left: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
        for (job, reason) in &changes.refused {
            left.entry(sentence(reason)).or_default().push(*job);
        }
        Self {
            changed: changes.changed.len() as u64,
            asked_to_stop: changes.asked_to_stop.len() as u64,
            unchanged: left.into_iter().map(Unchanged::because).collect(),
            is_one_unknown: changes
                .refused
                .iter()
                .any(|(_, reason)| *reason == Refusal::Unknown),
        }
    }

    /// Says what was done and what was left.
    pub(super) fn conclude(&self, action: JobAction, json: bool) -> Result<(), Failure> {
        if json {
            print_json(self)?;
        }
        if self.changed > 0 || self.asked_to_stop == 0 {
            say(done(action, &counted(self.changed, "job", "jobs")));
        }
        if self.asked_to_stop > 0 {
            let jobs = counted(self.asked_to_stop, "running job", "running jobs");
            say(format!("asked {jobs} to stop"));
        }
        for unchanged in &self.unchanged {
            say(unchanged.sentence());
        }
        Ok(())
    }

    /// Returns how a command ends that named its jobs: with success only if none was left.
    pub(super) fn exit(&self) -> Exit {
        match self.unchanged.is_empty() {
            true => Exit::Fine,
            false if self.is_one_unknown => Exit::NotFound,
            false => Exit::Failed,
        }
    }
}

/// Says what was done to jobs: `retried 2 jobs`.
fn done(action: JobAction, jobs: &str) -> String {
    match action {
        JobAction::RunAnyway => format!("let {jobs} run in spite of limits"),
        action => format!("{} {jobs}", action.past()),
    }
}

/// Says why a job was left alone, and which command applies to it instead.
fn sentence(reason: &Refusal) -> String {
    match reason {
        Refusal::State { instead, .. } => format!("{reason}{}", hint(*instead)),
        reason => reason.to_string(),
    }
}

/// Names the command that applies instead, to be read after what does not.
pub(super) fn hint(instead: Option<JobAction>) -> String {
    match instead {
        None => String::new(),
        Some(JobAction::RunAnyway) => {
            ": use `queue jobs run` to run it in spite of its limit".to_owned()
        }
        Some(action) => format!(": use `queue jobs {action}`"),
    }
}

impl Unchanged {
    fn because((reason, ids): (String, Vec<JobId>)) -> Self {
        Self {
            reason,
            jobs: ids.len(),
            ids: ids.into_iter().take(NAMED_MAX).collect(),
        }
    }

    fn sentence(&self) -> String {
        let ids: Vec<String> = self.ids.iter().map(JobId::to_string).collect();
        let more = if self.jobs > self.ids.len() {
            ", …"
        } else {
            ""
        };
        format!(
            "left {} alone ({}{more}): {}",
            counted(self.jobs as u64, "job", "jobs"),
            ids.join(", "),
            self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use queue_core::JobState;

    use super::*;

    fn left(reason: &Refusal, jobs: i64) -> Report {
        let refused = (1..=jobs).map(|id| (JobId(id), reason.clone()));
        Report::of(&Changes {
            refused: refused.collect(),
            ..Changes::default()
        })
    }

    fn running(instead: Option<JobAction>) -> Refusal {
        let state = JobState::Claimed;
        Refusal::State { state, instead }
    }

    #[test]
    fn what_was_left_alone_is_named_up_to_a_point() {
        assert_eq!(
            left(&running(None), 1).unchanged[0].sentence(),
            "left 1 job alone (1): it is running"
        );
        assert_eq!(
            left(&running(None), 12).unchanged[0].sentence(),
            "left 12 jobs alone (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …): it is running"
        );
    }

    #[test]
    fn a_refusal_names_the_command_that_applies() {
        assert_eq!(
            sentence(&running(Some(JobAction::Cancel))),
            "it is running: use `queue jobs cancel`"
        );
        assert_eq!(
            hint(Some(JobAction::RunAnyway)),
            ": use `queue jobs run` to run it in spite of its limit"
        );
    }

    #[test]
    fn a_job_that_is_not_there_has_an_exit_code_of_its_own() {
        assert_eq!(Report::default().exit(), Exit::Fine);
        assert_eq!(left(&running(None), 1).exit(), Exit::Failed);
        assert_eq!(left(&Refusal::Unknown, 1).exit(), Exit::NotFound);
    }
}
