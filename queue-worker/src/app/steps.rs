//! Steps: parts of a job whose results are kept, so that a later run of the job does not repeat them.

use std::ops::ControlFlow;
use std::time::Duration;

use queue_core::steps::{FinishedStep, RESULT_BYTES_MAX, Recorded, StoredStep, load, record};
use queue_core::{InvalidName, JobId, check_step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use tokio::sync::oneshot;

use super::checkpoints::{Checkpoint, Pause, Turn};
use super::context::Cx;

/// Why a step did not give a result, besides the error of its own work. Return it from the job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The job should stop. Once it returns, it runs again and goes on at this step, which costs no
    /// attempt. A job that was asked to cancel is cancelled.
    #[error("interrupted before the step `{0}`")]
    Interrupted(String),
    /// The job sleeps. Once it returns, its slot is free until the sleep is over.
    #[error("asleep in the step `{0}`")]
    Asleep(String),
    /// The job no longer belongs to this run: its process was declared dead, and the job was given to
    /// another. The step is not recorded.
    #[error("job {0} was taken from this run: its steps are no longer recorded")]
    Lost(JobId),
    /// The transaction of the step had been committed before, although the answer was lost. It was not
    /// committed again. The next run of the job finds the result.
    #[error("the step `{0}` had been committed before: the next attempt goes on after it")]
    AlreadyCommitted(String),
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The result is larger than 256 KiB as JSON.
    #[error(
        "the result of the step `{name}` has {bytes} bytes as JSON, the most is {RESULT_BYTES_MAX}: \
         keep it elsewhere, and return a reference to it"
    )]
    TooLarge {
        /// The step.
        name: String,
        /// The size of its result.
        bytes: usize,
    },
    /// The result could not be written as JSON.
    #[error("could not write the result of the step `{name}` as JSON")]
    Encode {
        /// The step.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The result of an earlier run does not fit the type that this program expects.
    #[error("the recorded result of the step `{name}` does not fit its type")]
    Decode {
        /// The step.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The database failed.
    #[error("could not read or record steps")]
    Database(#[from] sqlx::Error),
}

impl<S: Send + Sync + 'static> Cx<S> {
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
    /// # Errors
    /// Returns the error of the work, or a [`StepError`]. The job should return it at once.
    pub async fn step<T, E>(
        &self,
        name: &str,
        work: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
    {
        let turn = match self.begin_work(name).await? {
            ControlFlow::Break(recorded) => return Ok(recorded),
            ControlFlow::Continue(turn) => turn,
        };
        let value = work().await?;
        let result = encode(name, &value)?;
        self.record(name, &turn, result).await?;
        turn.finish();
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
    pub async fn step_tx<T, E>(
        &self,
        name: &str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
    {
        let turn = match self.begin_work(name).await? {
            ControlFlow::Break(recorded) => return Ok(recorded),
            ControlFlow::Continue(turn) => turn,
        };
        let begun = self.begin().await;
        let mut tx = begun.map_err(StepError::Database)?;
        let value = work(&mut tx).await?;
        let result = encode(name, &value)?;
        self.record_in(&mut tx, name, &turn, result).await?;
        tx.commit().await.map_err(StepError::Database)?;
        turn.finish();
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
        let left = match self.stored(name, &turn) {
            Some(_) if self.inner.steps_shared.is_sleep_short => Duration::ZERO,
            Some(stored) => {
                let whole = Duration::from_millis(decode(name, stored)?);
                whole.saturating_sub(stored.age())
            }
            None => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                self.record(name, &turn, millis.to_string()).await?;
                time
            }
        };
        if left.is_zero() || self.inner.claim.is_none() {
            turn.finish();
            return Ok(());
        }
        let _first_wins = self.inner.steps.pause.set(Pause::Asleep(left));
        Err(StepError::Asleep(name.to_owned()))
    }

    /// Returns why the run ends at the boundary of a step, if it does.
    pub(crate) fn pause(&self) -> Option<Pause> {
        self.inner.steps.pause.get().copied()
    }

    /// Counts the step, and reads what earlier runs have finished. A first attempt has no earlier runs.
    async fn begin_step<'a>(&'a self, name: &'a str) -> Result<Turn<'a>, StepError> {
        check_step(name)?;
        let inner = &*self.inner;
        if inner.claim.is_some() && inner.attempt.number > 1 {
            let load = async || {
                let mut conn = inner.queue.pool().acquire().await?;
                load(&mut conn, inner.queue.schema(), inner.attempt.job_id).await
            };
            let by_name = |step: StoredStep| ((step.name.clone(), step.occurrence), step);
            let loaded = async || Ok(load().await?.into_iter().map(by_name).collect());
            let stored: Result<_, sqlx::Error> = inner.steps.stored.get_or_try_init(loaded).await;
            stored?;
        }
        Ok(inner.steps.begin(name))
    }

    /// Begins a step that does a part of the job. Breaks with the result of an earlier run that has finished
    /// it.
    async fn begin_work<'a, T: DeserializeOwned>(
        &'a self,
        name: &'a str,
    ) -> Result<ControlFlow<T, Turn<'a>>, StepError> {
        let turn = self.begin_step(name).await?;
        if let Some(stored) = self.stored(name, &turn) {
            let value = decode(name, stored)?;
            turn.finish();
            return Ok(ControlFlow::Break(value));
        }
        self.check_interruption(name)?;
        Ok(ControlFlow::Continue(turn))
    }

    fn stored(&self, name: &str, turn: &Turn<'_>) -> Option<&StoredStep> {
        let stored = self.inner.steps.stored.get()?;
        stored.get(&(name.to_owned(), turn.occurrence))
    }

    /// Ends the run here if the job or the process should stop.
    fn check_interruption(&self, name: &str) -> Result<(), StepError> {
        let inner = &*self.inner;
        if inner.steps_shared.stop.is_asked() {
            let _first_wins = inner.steps.pause.set(Pause::Interrupted);
        } else if !inner.token.is_cancelled() {
            return Ok(());
        }
        Err(StepError::Interrupted(name.to_owned()))
    }

    /// Records a step together with those of other runs of the process.
    async fn record(&self, name: &str, turn: &Turn<'_>, result: String) -> Result<(), StepError> {
        let Some(step) = self.finished(name, turn, result) else {
            return Ok(());
        };
        let (answer, answered) = oneshot::channel();
        let sent = self
            .inner
            .steps_shared
            .checkpoints
            .send(Checkpoint { step, answer });
        let _answered_if_not = sent.await;
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
        let Some(step) = self.finished(name, turn, result) else {
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
    fn finished(&self, name: &str, turn: &Turn<'_>, result: String) -> Option<FinishedStep> {
        Some(FinishedStep {
            claim: self.inner.claim?,
            name: name.to_owned(),
            occurrence: turn.occurrence,
            result,
        })
    }
}

fn encode(name: &str, value: &impl Serialize) -> Result<String, StepError> {
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

fn decode<T: DeserializeOwned>(name: &str, stored: &StoredStep) -> Result<T, StepError> {
    serde_json::from_str(stored.result.get()).map_err(|source| StepError::Decode {
        name: name.to_owned(),
        source,
    })
}
