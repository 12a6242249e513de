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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The job was asked to stop.
    Stopped,
    /// Its process stops: another one goes on.
    Interrupted,
    /// Its next step has a run of its own.
    Isolated,
    /// It sleeps this long.
    Asleep(Duration),
    /// It waits for an event, this long at most.
    Waiting { event: String, left: Duration },
    /// A step failed, and is tried again after this wait.
    Failed(Duration),
}

/// The steps of one run.
#[derive(Debug, Default)]
pub(crate) struct RunSteps {
    /// The results of earlier runs, once a step has asked for them.
    pub(crate) stored: OnceCell<Stored>,
    /// Whether the steps must be those of earlier runs.
    pub(crate) is_strict: bool,
    begun: Mutex<Begun>,
    /// The progress that this run has set, as JSON.
    progress: Mutex<HashMap<String, String>>,
    pub(crate) pause: OnceLock<Pause>,
}

/// The steps that a run has begun.
#[derive(Debug, Default)]
struct Begun {
    /// How many of each name it has begun and not given up.
    counts: HashMap<String, i16>,
    /// How many have finished, with those of earlier runs.
    finished: usize,
    /// The name of the last one.
    last: Option<String>,
    /// Whether this run has done the work of a step, and of an isolated one.
    has_worked: bool,
    has_worked_alone: bool,
}

/// The steps that earlier runs have finished.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    by_name: HashMap<(String, i16), StoredStep>,
    /// Their names, in the order in which they have finished.
    order: Vec<String>,
}

impl Stored {
    /// Takes the steps in the order in which they have finished. Names with `@` are no steps of the job.
    pub(crate) fn new(steps: Vec<StoredStep>) -> Self {
        let names = steps.iter().map(|step| &step.name);
        Self {
            order: names
                .filter(|name| !name.starts_with('@'))
                .cloned()
                .collect(),
            by_name: steps
                .into_iter()
                .map(|step| ((step.name.clone(), step.occurrence), step))
                .collect(),
        }
    }

    pub(crate) fn get(&self, name: &str, occurrence: i16) -> Option<&StoredStep> {
        self.by_name.get(&(name.to_owned(), occurrence))
    }
}

impl RunSteps {
    pub(crate) fn new(is_strict: bool) -> Self {
        Self {
            is_strict,
            ..Self::default()
        }
    }

    /// Counts a step of a name. Returns nothing if the job has too many of that name.
    pub(crate) fn begin<'a>(&'a self, name: &'a str) -> Option<Turn<'a>> {
        let mut begun = lock(&self.begun);
        begun.last = Some(name.to_owned());
        let count = begun.counts.entry(name.to_owned()).or_default();
        *count = count.checked_add(1)?;
        Some(Turn {
            steps: self,
            name,
            occurrence: *count,
            is_over: false,
        })
    }

    /// Returns the name of the step that was begun last.
    pub(crate) fn last(&self) -> Option<String> {
        lock(&self.begun).last.clone()
    }

    /// Returns whether the next step needs another run, because one of the two is isolated.
    pub(crate) fn needs_own_run(&self, is_isolated: bool) -> bool {
        let begun = lock(&self.begun);
        begun.has_worked_alone || is_isolated && begun.has_worked
    }

    /// Returns whether the run has come to all steps that earlier runs had finished.
    pub(crate) fn all_taken(&self) -> bool {
        let begun = lock(&self.begun);
        let is_taken = |name: &str, occurrence: i16| {
            name.starts_with('@')
                || begun
                    .counts
                    .get(name)
                    .is_some_and(|count| *count >= occurrence)
        };
        let stored = self.stored.get().map(|stored| &stored.by_name);
        let mut stored = stored.into_iter().flat_map(HashMap::keys);
        stored.all(|(name, occurrence)| is_taken(name, *occurrence))
    }

    /// Returns in words which step of an earlier run did not come.
    pub(crate) fn check_all_came(&self) -> Result<(), String> {
        match self.expected() {
            Some(missing) => Err(format!(
                "`{missing}`, which an earlier attempt had finished, did not come; it was removed or renamed",
            )),
            None => Ok(()),
        }
    }

    /// Returns the next step that an earlier run had finished.
    fn expected(&self) -> Option<&str> {
        let finished = lock(&self.begun).finished;
        self.stored.get()?.order.get(finished).map(String::as_str)
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
    pub(crate) occurrence: i16,
    is_over: bool,
}

impl Turn<'_> {
    /// Counts the step as finished.
    pub(crate) fn finish(mut self) {
        self.is_over = true;
        lock(&self.steps.begun).finished += 1;
    }

    /// Counts the step as finished by the work of this run.
    pub(crate) fn finish_work(self, is_isolated: bool) {
        let mut begun = lock(&self.steps.begun);
        begun.has_worked = true;
        begun.has_worked_alone |= is_isolated;
        drop(begun);
        self.finish();
    }

    /// Returns in words what has changed if the step is not the one that an earlier run had finished here.
    pub(crate) fn check_strictly(&self) -> Result<(), String> {
        let name = self.name;
        if self.occurrence > 1 {
            return Err(format!(
                "`{name}` came twice; give each step a name of its own"
            ));
        }
        let Some(expected) = self.steps.expected().filter(|expected| *expected != name) else {
            return Ok(());
        };
        let is_known = self
            .steps
            .stored
            .get()
            .is_some_and(|stored| stored.get(name, 1).is_some());
        Err(match is_known {
            true => format!(
                "`{name}` came before `{expected}`, and an earlier attempt finished them the other \
                             way round"
            ),
            false => format!(
                "`{name}` came where an earlier attempt had finished `{expected}`; it is new, or \
                              one of them was renamed"
            ),
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(count) = lock(&self.steps.begun).counts.get_mut(self.name)
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
        drop(steps.begin("send").unwrap());
        let again = steps.begin("send").unwrap();
        assert_eq!(again.occurrence, 1);
        again.finish();
        assert_eq!(steps.begin("send").unwrap().occurrence, 2);
        assert_eq!(steps.begin("bill").unwrap().occurrence, 1);
    }

    #[test]
    fn the_steps_of_one_name_have_a_limit() {
        let steps = RunSteps::default();
        for _ in 0..i16::MAX {
            steps.begin("send").unwrap().finish();
        }
        assert!(steps.begin("send").is_none());
        assert!(steps.begin("bill").is_some());
    }
}
