//! The report about the jobs that a command changed, and those that it did not.

use std::collections::BTreeMap;

use queue_core::JobId;
use queue_core::operations::jobs::{Changes, JobAction, Refusal};
use serde::Serialize;

use crate::cli::output::{counted, print_json, say};
use crate::cli::{Exit, Failure};

/// How many ids are listed for each reason.
const NAMED_MAX: usize = 10;

/// How many jobs were changed, and which were not.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// The number of jobs that were changed.
    changed: u64,
    /// The number of running jobs that were asked to stop.
    asked_to_stop: u64,
    /// Jobs that were not changed, by reason.
    unchanged: Vec<Unchanged>,
    /// Whether one of the given ids does not exist.
    #[serde(skip)]
    is_one_unknown: bool,
}

#[derive(Debug, Serialize)]
struct Unchanged {
    reason: String,
    jobs: usize,
    /// The first ids.
    ids: Vec<JobId>,
}

impl Report {
    pub(super) fn of(changes: &Changes) -> Self {
        let mut left: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
        for (job, reason) in &changes.refused {
            left.entry(sentence(reason)).or_default().push(*job);
        }
        let mut reasons = changes.refused.iter().map(|(_, reason)| reason);
        let is_one_unknown = reasons.any(|reason| *reason == Refusal::Unknown);
        let unchanged = left.into_iter().map(|(reason, ids)| Unchanged {
            reason,
            jobs: ids.len(),
            ids: ids.into_iter().take(NAMED_MAX).collect(),
        });
        Self {
            changed: changes.changed.len() as u64,
            asked_to_stop: changes.asked_to_stop.len() as u64,
            unchanged: unchanged.collect(),
            is_one_unknown,
        }
    }

    /// Prints the report.
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

    /// Returns the exit code for jobs given by id: success only if all of them were changed.
    pub(super) fn exit(&self) -> Exit {
        match self.unchanged.is_empty() {
            true => Exit::Fine,
            false if self.is_one_unknown => Exit::NotFound,
            false => Exit::Failed,
        }
    }
}

/// Describes the change: `retried 2 jobs`.
fn done(action: JobAction, jobs: &str) -> String {
    match action {
        JobAction::RunAnyway => format!("let {jobs} run despite limits"),
        JobAction::Prioritize(priority) => format!("gave priority {priority} to {jobs}"),
        action => format!("{} {jobs}", action.past()),
    }
}

/// Describes why a job was not changed, and which command applies to it instead.
fn sentence(reason: &Refusal) -> String {
    match reason {
        Refusal::State { instead, .. } => format!("{reason}{}", hint(*instead)),
        reason => reason.to_string(),
    }
}

/// Names the command that applies instead, to be read after the reason.
pub(super) fn hint(instead: Option<JobAction>) -> String {
    match instead {
        None => String::new(),
        Some(JobAction::RunAnyway) => {
            ": use `queue jobs run` to run it despite its limit".to_owned()
        }
        Some(action) => format!(": use `queue jobs {}`", action.verb()),
    }
}

impl Unchanged {
    fn sentence(&self) -> String {
        let ids: Vec<String> = self.ids.iter().map(JobId::to_string).collect();
        let ids = match self.jobs > self.ids.len() {
            true => format!("{}, …", ids.join(", ")),
            false => ids.join(", "),
        };
        let jobs = counted(self.jobs as u64, "job", "jobs");
        format!("did not change {jobs} ({ids}): {}", self.reason)
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
    fn the_first_jobs_that_were_not_changed_are_listed() {
        assert_eq!(
            left(&running(None), 1).unchanged[0].sentence(),
            "did not change 1 job (1): it is running"
        );
        assert_eq!(
            left(&running(None), 12).unchanged[0].sentence(),
            "did not change 12 jobs (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …): it is running"
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
            ": use `queue jobs run` to run it despite its limit"
        );
    }

    #[test]
    fn an_unknown_job_has_its_own_exit_code() {
        assert_eq!(Report::default().exit(), Exit::Fine);
        assert_eq!(left(&running(None), 1).exit(), Exit::Failed);
        assert_eq!(left(&Refusal::Unknown, 1).exit(), Exit::NotFound);
    }
}
