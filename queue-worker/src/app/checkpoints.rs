//! What a run keeps about its steps, and how the completer gets what is to be recorded about them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use queue_core::JobId;
use queue_core::steps::progress::Progress;
use queue_core::steps::{FinishedStep, Recorded, StoredStep};
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::unwritten::Unwritten;
use crate::stop::Stop;

/// What a run keeps for later runs of its job. Those of one group are written in this order.
#[derive(Debug)]
pub(crate) enum Kept {
    Step(FinishedStep),
    Progress(Progress),
}

impl Kept {
    pub(crate) fn job_id(&self) -> JobId {
        match self {
            Self::Step(step) => step.claim.job_id(),
            Self::Progress(progress) => progress.claim.job_id(),
        }
    }
}

impl From<FinishedStep> for Kept {
    fn from(step: FinishedStep) -> Self {
        Self::Step(step)
    }
}

impl From<Progress> for Kept {
    fn from(progress: Progress) -> Self {
        Self::Progress(progress)
    }
}

/// Something that the completer is to record.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) kept: Kept,
    /// Receives whether it was recorded, if the run waits for that. Closed when it no longer waits.
    pub(crate) answer: Option<oneshot::Sender<Result<Recorded, sqlx::Error>>>,
}

/// What the steps of all runs of a process share.
#[derive(Debug)]
pub(crate) struct StepService {
    /// Sends finished steps to the completer.
    pub(crate) checkpoints: mpsc::Sender<Checkpoint>,
    /// The progress that the completer writes now and then.
    pub(crate) unwritten: Arc<Unwritten>,
    /// Asked when the process stops: its runs end at their next step.
    pub(crate) stop: Stop,
    /// Whether a sleep is over as soon as the job runs again. Tests do not wait.
    pub(crate) is_sleep_short: bool,
}

/// Why a run ends before its job, at the boundary of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The job was asked to stop.
    Stopped,
    /// Its process stops: another one goes on.
    Interrupted,
    /// It sleeps this long.
    Asleep(Duration),
}

/// The steps of one run.
#[derive(Debug, Default)]
pub(crate) struct RunSteps {
    /// The results of earlier runs, once a step has asked for them.
    pub(crate) stored: OnceCell<HashMap<(String, i32), StoredStep>>,
    /// How many steps of each name the run has begun and not given up.
    begun: Mutex<HashMap<String, i32>>,
    /// The progress that this run has set, as JSON.
    progress: Mutex<HashMap<String, String>>,
    pub(crate) pause: OnceLock<Pause>,
}

impl RunSteps {
    /// Counts a step of a name.
    pub(crate) fn begin<'a>(&'a self, name: &'a str) -> Turn<'a> {
        let mut begun = lock(&self.begun);
        let count = begun.entry(name.to_owned()).or_default();
        *count += 1;
        Turn {
            steps: self,
            name,
            occurrence: *count,
            is_over: false,
        }
    }

    /// Returns the value of a name that this run has set.
    pub(crate) fn place(&self, name: &str) -> Option<String> {
        lock(&self.progress).get(name).cloned()
    }

    pub(crate) fn set_place(&self, name: &str, value: &str) {
        lock(&self.progress).insert(name.to_owned(), value.to_owned());
    }

    /// Returns whether this run has set any value.
    pub(crate) fn has_progress(&self) -> bool {
        !lock(&self.progress).is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The turn of one step among those of its name. Dropped before the step has finished, it is given back:
/// a step that is tried again in the same run is the same step.
pub(crate) struct Turn<'a> {
    steps: &'a RunSteps,
    name: &'a str,
    pub(crate) occurrence: i32,
    is_over: bool,
}

impl Turn<'_> {
    pub(crate) fn finish(mut self) {
        self.is_over = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(count) = lock(&self.steps.begun).get_mut(self.name)
            && *count == self.occurrence
        {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_tried_again_is_the_same_step() {
        let steps = RunSteps::default();
        drop(steps.begin("send"));
        let again = steps.begin("send");
        assert_eq!(again.occurrence, 1);
        again.finish();
        assert_eq!(steps.begin("send").occurrence, 2);
        assert_eq!(steps.begin("bill").occurrence, 1);
    }
}
