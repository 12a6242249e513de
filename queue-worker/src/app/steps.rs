//! Steps: parts of a job whose results are kept, so that a later run of the job does not repeat them.

use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::encryption::{Place, without_values};
use queue_core::steps::{
    FinishedStep, RESULT_BYTES_MAX, Recorded, StoredStep, load, record, time_until,
};
use queue_core::{begin_read_committed, check_step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use tokio::sync::oneshot;

use super::checkpoints::{Checkpoint, Kept, Pause, Stored, Turn};
use super::context::{Attempt, Cx};
use super::step::Step;
use super::step_error::StepError;

impl<S> Cx<S> {
    /// Does a part of the job, and records its result. If an earlier run of the job has finished the step,
    /// its result is returned instead.
    ///
    /// Steps are known by their names. The second step of a name in a run is another step than the first.
    /// An error is not recorded: a step that failed is tried again, by the job's next run or in this one.
    /// The work may be done and not be recorded, if the process dies in between;
    /// [`step_tx`](Self::step_tx) rules that out for writes to the database.
    ///
    /// Code outside of steps is repeated by each run. What decides which steps run must come from the job's
    /// arguments or from earlier steps.
    ///
    /// A [`Step`] instead of a name has tries of its own, or a run of its own.
    ///
    /// # Errors
    /// Returns the error of the work, or a [`StepError`]. The job should return it at once.
    pub async fn step<'a, T, E>(
        &self,
        step: impl Into<Step<'a>>,
        work: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
    {
        let step = step.into();
        let turn = match self.begin_work(&step).await? {
            ControlFlow::Break(recorded) => return Ok(recorded),
            ControlFlow::Continue(turn) => turn,
        };
        let value = match work().await {
            Ok(value) => value,
            Err(error) => {
                self.note_failure(&step, &turn).await?;
                return Err(error);
            }
        };
        let result = encode(step.name, &value)?;
        self.record(step.name, turn.occurrence, result).await?;
        turn.finish_work(step.is_isolated);
        Ok(value)
    }

    /// Does a part of the job in a transaction, and records its result in the same one: what it writes is
    /// written exactly once. If an earlier run of the job has finished the step, its result is returned
    /// instead. Otherwise like [`step`](Self::step).
    ///
    /// The transaction is rolled back when the work fails, and when the job no longer belongs to this run.
    ///
    /// # Errors
    /// Returns the error of the work, or a [`StepError`]. The job should return it at once.
    pub async fn step_tx<'a, T, E>(
        &self,
        step: impl Into<Step<'a>>,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
    {
        let step = step.into();
        let turn = match self.begin_work(&step).await? {
            ControlFlow::Break(recorded) => return Ok(recorded),
            ControlFlow::Continue(turn) => turn,
        };
        let begun = self.begin().await;
        let mut tx = begun.map_err(StepError::Database)?;
        let value = match work(&mut tx).await {
            Ok(value) => value,
            Err(error) => {
                drop(tx);
                self.note_failure(&step, &turn).await?;
                return Err(error);
            }
        };
        let result = encode(step.name, &value)?;
        self.record_in(&mut tx, step.name, &turn, result).await?;
        tx.commit().await.map_err(StepError::Database)?;
        turn.finish_work(step.is_isolated);
        Ok(value)
    }

    /// Sleeps, as a step: the run ends, its slot becomes free, and the job runs again once the time is over,
    /// by the clock of the database. This costs no attempt, and goes on after a crash of the process.
    ///
    /// # Errors
    /// Returns a [`StepError`]: [`Asleep`](StepError::Asleep) while the time is not over. The job should
    /// return it at once.
    pub async fn sleep(&self, name: &str, time: Duration) -> Result<(), StepError> {
        let turn = self.begin_step(name).await?;
        let left = match self.stored(name, turn.occurrence) {
            Some(_) if self.inner.steps_shared.is_sleep_short => Duration::ZERO,
            Some(stored) => {
                let whole = Duration::from_millis(self.decode(name, stored)?);
                whole.saturating_sub(stored.age())
            }
            None => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let result = millis.to_string();
                self.record(name, turn.occurrence, result).await?;
                time
            }
        };
        if left.is_zero() || self.inner.claim.is_none() {
            turn.finish();
            return Ok(());
        }
        self.pause_run(Pause::Asleep(left));
        Err(StepError::Asleep(name.to_owned()))
    }

    /// Sleeps until a time, like [`sleep`](Self::sleep).
    ///
    /// # Errors
    /// Returns what [`sleep`](Self::sleep) returns.
    pub async fn sleep_until(&self, name: &str, time: DateTime<Utc>) -> Result<(), StepError> {
        let turn = self.begin_step(name).await?;
        let time = match self.stored(name, turn.occurrence) {
            Some(stored) => self.decode(name, stored)?,
            None => {
                let result = encode(name, &time)?;
                self.record(name, turn.occurrence, result).await?;
                time
            }
        };
        let is_stored = self.stored(name, turn.occurrence).is_some();
        let left = match self.inner.claim {
            Some(_) if !(is_stored && self.inner.steps_shared.is_sleep_short) => {
                let mut tx = begin_read_committed(self.inner.queue.pool()).await?;
                let left = time_until(&mut tx, self.inner.queue.schema(), time).await?;
                tx.commit().await?;
                left
            }
            _ => Duration::ZERO,
        };
        if left.is_zero() {
            turn.finish();
            return Ok(());
        }
        self.pause_run(Pause::Asleep(left));
        Err(StepError::Asleep(name.to_owned()))
    }

    /// Returns whether a job takes the new way of a change that was deployed while it was under way: yes,
    /// unless an earlier run had come further than here without asking. The answer is recorded, so that it
    /// stays the same in all later runs of the job.
    ///
    /// ```
    /// # use queue_worker::{BoxError, Cx, testing};
    /// # async fn notify(cx: &Cx<()>) -> Result<(), BoxError> {
    /// if cx.patched("by-mail").await? {
    ///     cx.step("mail", async || Ok::<_, BoxError>(())).await?;
    /// } else {
    ///     cx.step("fax", async || Ok::<_, BoxError>(())).await?;
    /// }
    /// # Ok(())
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # notify(&testing::cx(())).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns a [`StepError`]. The job should return it at once.
    pub async fn patched(&self, name: &str) -> Result<bool, StepError> {
        check_step(name)?;
        let key = format!("@patched/{name}");
        let steps = &self.inner.steps;
        if let Some(answer) = steps.place(&key) {
            return Ok(answer == "true");
        }
        self.load_steps().await?;
        let answer = match steps.stored.get().and_then(|stored| stored.get(&key, 1)) {
            Some(stored) => stored.result.get() == "true",
            None => {
                let is_new = steps.all_taken();
                self.record(&key, 1, is_new.to_string()).await?;
                is_new
            }
        };
        steps.set_place(&key, if answer { "true" } else { "false" });
        Ok(answer)
    }

    /// Returns whether the run has ended at a step: the job is interrupted or sleeps, and goes on in another
    /// run. What this run returns now is ignored.
    pub fn is_paused(&self) -> bool {
        self.pause().is_some()
    }

    /// Returns why the run ends at the boundary of a step, if it does.
    pub(crate) fn pause(&self) -> Option<Pause> {
        self.inner.steps.pause.get().cloned()
    }

    /// Ends the run here. The first reason stays the reason. A context that a test has made goes on.
    pub(crate) fn pause_run(&self, pause: Pause) {
        if self.inner.claim.is_some() {
            let _first_wins = self.inner.steps.pause.set(pause);
        }
    }

    /// Reads the steps that earlier runs have finished. A first attempt has no earlier runs.
    async fn load_steps(&self) -> Result<(), StepError> {
        let inner = &*self.inner;
        if inner.claim.is_none() || inner.attempt.number == 1 {
            return Ok(());
        }
        let Attempt { kind, job_id, .. } = &inner.attempt;
        let loaded = async || {
            // A pooler in transaction mode keeps a server only within a transaction.
            let mut tx = begin_read_committed(inner.queue.pool()).await?;
            let steps = load(&mut tx, inner.queue.schema(), kind, *job_id).await?;
            tx.commit().await?;
            Ok::<_, sqlx::Error>(Stored::new(steps))
        };
        inner.steps.stored.get_or_try_init(loaded).await?;
        Ok(())
    }

    /// Counts the step, and reads what earlier runs have finished.
    pub(crate) async fn begin_step<'a>(&'a self, name: &'a str) -> Result<Turn<'a>, StepError> {
        check_step(name)?;
        if self.is_paused() {
            return Err(StepError::Interrupted(name.to_owned()));
        }
        self.load_steps().await?;
        let turn = self.inner.steps.begin(name);
        let turn = turn.ok_or_else(|| StepError::TooMany(name.to_owned()))?;
        if self.inner.steps.is_strict {
            turn.check_strictly().map_err(StepError::Changed)?;
        }
        Ok(turn)
    }

    /// Checks that a run which did its work has come to all steps that earlier runs had finished.
    pub(crate) async fn check_all_came(&self) -> Result<(), StepError> {
        self.load_steps().await?;
        self.inner
            .steps
            .check_all_came()
            .map_err(StepError::Changed)
    }

    /// Begins a step that does a part of the job. Breaks with the result of an earlier run that has finished
    /// it.
    async fn begin_work<'a, T: DeserializeOwned>(
        &'a self,
        step: &Step<'a>,
    ) -> Result<ControlFlow<T, Turn<'a>>, StepError> {
        let turn = self.begin_step(step.name).await?;
        if let Some(stored) = self.stored(step.name, turn.occurrence) {
            let value = self.decode(step.name, stored)?;
            turn.finish();
            return Ok(ControlFlow::Break(value));
        }
        self.check_interruption(step.name)?;
        if self.inner.claim.is_some() && self.inner.steps.needs_own_run(step.is_isolated) {
            self.pause_run(Pause::Isolated);
            return Err(StepError::Interrupted(step.name.to_owned()));
        }
        Ok(ControlFlow::Continue(turn))
    }

    /// Counts a failed try of a step that has tries of its own. Ends the run here if some are left.
    async fn note_failure(&self, step: &Step<'_>, turn: &Turn<'_>) -> Result<(), StepError> {
        let Some(tries) = step.tries.as_ref().filter(|_| !self.is_paused()) else {
            return Ok(());
        };
        let key = format!("@failures/{}/{}", step.name, turn.occurrence);
        let failures = self.counter(&key).await? + 1;
        if failures < tries.max {
            self.set_progress(&key, failures.to_string());
            self.pause_run(Pause::Failed(tries.backoff.wait(failures)));
        } else {
            // The job's own policy decides. Its next attempt has all tries again.
            self.set_progress(&key, "0".to_owned());
        }
        Ok(())
    }

    pub(crate) fn stored(&self, name: &str, occurrence: i16) -> Option<&StoredStep> {
        let stored = self.inner.steps.stored.get()?;
        stored.get(name, occurrence)
    }

    /// Ends the run here if the job or the process should stop.
    pub(crate) fn check_interruption(&self, name: &str) -> Result<(), StepError> {
        let inner = &*self.inner;
        if self.is_paused() {
            return Err(StepError::Interrupted(name.to_owned()));
        }
        if inner.steps_shared.stop.is_asked() {
            self.pause_run(Pause::Interrupted);
        } else if inner.token.is_cancelled() {
            self.pause_run(Pause::Stopped);
        } else {
            return Ok(());
        }
        Err(StepError::Interrupted(name.to_owned()))
    }

    /// Records a step together with those of other runs of the process.
    pub(crate) async fn record(
        &self,
        name: &str,
        occurrence: i16,
        result: String,
    ) -> Result<(), StepError> {
        match self.finished(name, occurrence, result) {
            Some(step) => self.keep(step.into()).await,
            None => Ok(()),
        }
    }

    /// Keeps something for later runs, recorded by the completer.
    pub(crate) async fn keep(&self, kept: Kept) -> Result<(), StepError> {
        let (answer, answered) = oneshot::channel();
        let answer = Some(answer);
        let checkpoints = &self.inner.steps_shared.checkpoints;
        let _answered_if_not = checkpoints.send(Checkpoint { kept, answer }).await;
        // The completer is gone only when the process has stopped, and gives its jobs back.
        let recorded = answered.await.unwrap_or(Ok(Recorded::Lost))?;
        match recorded {
            Recorded::New | Recorded::Known => Ok(()),
            Recorded::Lost => Err(StepError::Lost(self.job_id())),
        }
    }

    /// Records a step in its own transaction.
    async fn record_in(
        &self,
        tx: &mut PgConnection,
        name: &str,
        turn: &Turn<'_>,
        result: String,
    ) -> Result<(), StepError> {
        let Some(step) = self.finished(name, turn.occurrence, result) else {
            return Ok(());
        };
        let inner = &*self.inner;
        let recorded = record(tx, inner.queue.schema(), inner.process, &[&step]).await?;
        match recorded[..] {
            [Recorded::New] => Ok(()),
            [Recorded::Known] => Err(StepError::AlreadyCommitted(name.to_owned())),
            _ => Err(StepError::Lost(self.job_id())),
        }
    }

    /// Returns the step to record. A context that a test has made records none.
    fn finished(&self, name: &str, occurrence: i16, mut result: String) -> Option<FinishedStep> {
        let claim = self.inner.claim?;
        if let Some(keys) = &self.inner.keys {
            let place = Place::Step(claim.job_id().0, name, occurrence);
            result = keys.seal(&self.inner.attempt.kind, place, &result);
        }
        Some(FinishedStep {
            claim,
            name: name.to_owned(),
            occurrence,
            result,
        })
    }

    /// Reads the result of an earlier run.
    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        name: &str,
        stored: &StoredStep,
    ) -> Result<T, StepError> {
        serde_json::from_str(stored.result.get()).map_err(|source| StepError::Decode {
            name: name.to_owned(),
            source: without_values(self.inner.keys.is_some(), source),
        })
    }
}

pub(crate) fn encode(name: &str, value: &impl Serialize) -> Result<String, StepError> {
    let result = serde_json::to_string(value).map_err(|source| StepError::Encode {
        name: name.to_owned(),
        source,
    })?;
    if result.len() > RESULT_BYTES_MAX {
        return Err(StepError::TooLarge {
            name: name.to_owned(),
            bytes: result.len(),
        });
    }
    Ok(result)
}
