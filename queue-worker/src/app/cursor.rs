//! Cursors: how far a job is in a long row of work, so that a later run of the job goes on there.

use futures_util::future::try_join_all;
use queue_core::encryption::{Place, without_values};
use queue_core::steps::Recorded;
use queue_core::steps::progress::{DONE, OUTPUT, Progress, read, write};
use queue_core::transitions::Claim;
use queue_core::{begin, begin_read_committed, check_step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use super::context::{Attempt, Cx};
use super::step_error::StepError;
use super::steps::encode;

/// The place that a job has reached. See [`Cx::cursor`].
#[derive(Debug)]
pub struct Cursor<'a, S, T> {
    cx: &'a Cx<S>,
    name: String,
    place: Option<T>,
}

impl<S> Cx<S> {
    /// Returns the cursor of a name, at the place that this run or an earlier one has reached. A place is any
    /// value that can be written as JSON: the last row, the last file, and for loops within loops all of
    /// them together, as a tuple.
    ///
    /// ```
    /// # use queue_worker::{BoxError, Cx, testing};
    /// async fn import(cx: &Cx<()>, rows: &[(i64, &str)]) -> Result<(), BoxError> {
    ///     let mut cursor = cx.cursor::<i64>("rows").await?;
    ///     let after = cursor.get().copied().unwrap_or(0);
    ///     for (id, text) in rows.iter().filter(|(id, _)| *id > after) {
    ///         println!("{text}");
    ///         cursor.set(*id).await?;
    ///     }
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// import(&testing::cx(()), &[(1, "one"), (2, "two")]).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns a [`StepError`]: the name is not valid, the place does not fit the type, or the database
    /// failed.
    pub async fn cursor<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Cursor<'_, S, T>, StepError> {
        check_step(name)?;
        let place = match self.inner.steps.place(name) {
            Some(place) => Some(place),
            None => self.stored_progress(name).await?,
        };
        let place = place.map(|json| serde_json::from_str(&json)).transpose();
        let place = place.map_err(|source| StepError::DecodeCursor {
            name: name.to_owned(),
            source: without_values(self.inner.keys.is_some(), source),
        })?;
        Ok(Cursor {
            cx: self,
            name: name.to_owned(),
            place,
        })
    }

    /// Notes how much of the work is done, for `queue jobs show` and the dashboard. Written at most once a
    /// second, and at the end of the run.
    pub fn progress(&self, done: u64, of: u64) {
        self.set_progress(DONE, format!(r#"{{"done":{done},"of":{of}}}"#));
    }

    /// Notes a value that the job has produced, for `queue jobs show` and the dashboard, in place of an
    /// earlier one. Written like [`progress`](Self::progress).
    ///
    /// # Errors
    /// Refuses a value that cannot be written as JSON, or is larger than 256 KiB.
    pub fn output(&self, value: &impl Serialize) -> Result<(), StepError> {
        self.set_progress(OUTPUT, encode("output", value)?);
        Ok(())
    }

    /// Writes what the run has set and is not written yet.
    pub(crate) async fn flush(&self) -> Result<(), StepError> {
        if self.inner.steps.has_progress() {
            let unwritten = &self.inner.steps_shared.unwritten;
            let unwritten = unwritten.take_of(self.job_id()).await;
            // Sent together, they are written together.
            let keeping = unwritten.into_iter().map(|value| self.keep(value.into()));
            try_join_all(keeping).await?;
        }
        Ok(())
    }

    pub(crate) fn set_progress(&self, name: &str, value: String) {
        self.inner.steps.set_place(name, &value);
        if let Some(claim) = self.inner.claim {
            let progress = self.kept(claim, name, value);
            self.inner.steps_shared.unwritten.set(progress);
        }
    }

    /// Returns a value as it is kept: encrypted if the kind is. Other names with `@` than that of the output are
    /// counters and log lines.
    fn kept(&self, claim: Claim, name: &str, mut value: String) -> Progress {
        if let Some(keys) = &self.inner.keys
            && (name == OUTPUT || !name.starts_with('@'))
        {
            let place = Place::Progress(claim.job_id().0, name);
            value = keys.seal(&self.inner.attempt.kind, place, &value);
        }
        Progress {
            claim,
            name: name.to_owned(),
            value,
        }
    }

    /// Returns a number that earlier runs and this one have counted up.
    pub(crate) async fn counter(&self, name: &str) -> Result<u32, StepError> {
        let count = match self.inner.steps.place(name) {
            Some(count) => Some(count),
            None => self.stored_progress(name).await?,
        };
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// Reads a value of an earlier run. A first attempt has none.
    pub(crate) async fn stored_progress(&self, name: &str) -> Result<Option<String>, StepError> {
        let inner = &*self.inner;
        if inner.claim.is_none() || inner.attempt.number == 1 {
            return Ok(None);
        }
        let mut tx = begin_read_committed(inner.queue.pool()).await?;
        let Attempt { kind, job_id, .. } = &inner.attempt;
        let found = read(&mut tx, inner.queue.schema(), kind, *job_id, name).await?;
        tx.commit().await?;
        Ok(found.map(|value| value.get().to_owned()))
    }
}

impl<S, T: Serialize + DeserializeOwned> Cursor<'_, S, T> {
    /// Returns the place, if the job has reached one.
    pub fn get(&self) -> Option<&T> {
        self.place.as_ref()
    }

    /// Notes the place. It is written at most once a second, and at the end of the run: a process that dies
    /// loses the last second.
    ///
    /// # Errors
    /// Returns a [`StepError`]: [`Interrupted`](StepError::Interrupted) if the job should stop; the place is
    /// noted then, too. The job should return it at once.
    pub async fn set(&mut self, place: T) -> Result<(), StepError> {
        let value = encode(&self.name, &place)?;
        self.cx.set_progress(&self.name, value);
        self.place = Some(place);
        self.cx.check_interruption(&self.name)?;
        // A loop that never waits would keep other jobs, and the request to stop, from being seen.
        tokio::task::consume_budget().await;
        Ok(())
    }

    /// Does the next part of the work in a transaction, and moves the cursor in the same one: what it writes
    /// is written exactly once. The work gets the place and returns the next one, or none if nothing is
    /// left. Returns whether the cursor moved.
    ///
    /// # Errors
    /// Returns the error of the work, or a [`StepError`]. The job should return it at once.
    pub async fn advance_tx<E: From<StepError>>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection, Option<&T>) -> Result<Option<T>, E>,
    ) -> Result<bool, E> {
        let cx = self.cx;
        cx.check_interruption(&self.name)?;
        // An older place must not be written after this one.
        cx.flush().await?;
        let begun = begin(cx.queue().pool()).await;
        let mut tx = begun.map_err(StepError::Database)?;
        let Some(place) = work(&mut tx, self.place.as_ref()).await? else {
            tx.commit().await.map_err(StepError::Database)?;
            return Ok(false);
        };
        let value = encode(&self.name, &place)?;
        self.write_in(&mut tx, value.clone()).await?;
        tx.commit().await.map_err(StepError::Database)?;
        cx.inner.steps.set_place(&self.name, &value);
        self.place = Some(place);
        Ok(true)
    }

    async fn write_in(&self, tx: &mut PgConnection, value: String) -> Result<(), StepError> {
        let inner = &*self.cx.inner;
        let Some(claim) = inner.claim else {
            return Ok(());
        };
        let progress = self.cx.kept(claim, &self.name, value);
        let written = write(tx, inner.queue.schema(), inner.process, &[&progress]).await?;
        match written[..] {
            [Recorded::Lost] => Err(StepError::Lost(claim.job_id())),
            _ => Ok(()),
        }
    }
}
