//! A batch before it is enqueued: its jobs, what they wait for, and what starts when all have ended.

use std::sync::Arc;

use serde_json::Value;

use crate::context::Context;
use crate::job::{BatchId, Due, Job};
use crate::new_job::{EnqueueError, NewJob};
use crate::transitions::enqueue::Enqueued;

/// A set of jobs whose end is noticed: then further jobs start, its *callbacks*.
///
/// ```no_run
/// # use queue_core::{Batch, EnqueueError, Job, OnFailure, Queue};
/// # async fn example<Fetch: Job, Merge: Job, Report: Job>(
/// #     queue: Queue, fetches: Vec<Fetch>, merge: Merge, report: Report,
/// # ) -> Result<(), EnqueueError> {
/// let mut batch = Batch::new().name("import");
/// let mut fetched = Vec::new();
/// for fetch in fetches {
///     fetched.push(batch.add(&fetch)?);
/// }
/// let merged = batch.add(&merge)?;
/// batch.after(merged, fetched, OnFailure::Cancel);
/// let enqueued = queue.enqueue_batch(batch.on_completion(&report)?).await?;
/// println!("batch {}", enqueued.id);
/// # Ok(())
/// # }
/// ```
///
/// A batch has ended when no job of it is left to run: each is finished, or has failed. It *succeeded* if
/// none failed or was cancelled, and *failed* otherwise. A discarded job counts as a success.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) name: Option<String>,
    pub(crate) metadata: Option<Value>,
    pub(crate) parent: Option<BatchId>,
    pub(crate) is_open: bool,
    pub(crate) jobs: Vec<NewJob>,
    /// Which job (second) waits for which (first).
    pub(crate) waits: Vec<(usize, usize, OnFailure)>,
    pub(crate) callbacks: Vec<(Event, NewJob)>,
}

/// A job of a batch that is not enqueued yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member(usize);

/// What happens to a job if one that it waits for fails or is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is cancelled, once all others that it waits for have ended.
    #[default]
    Cancel,
    /// It starts all the same.
    Continue,
    /// It goes on waiting: an operator may retry the failed job, or run or cancel this one.
    Hold,
}

/// The end of a batch at which a callback starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Success,
    Failure,
    Completion,
}

/// A batch that was enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnqueuedBatch {
    /// Its id.
    pub id: BatchId,
    /// The answers for its jobs, in their order.
    pub jobs: Vec<Enqueued>,
}

impl Batch {
    /// Returns a batch without jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a name, for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets data of the application, which is kept with the batch.
    #[must_use]
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Makes it a part of another batch, which ends after it: it counts like one job.
    #[must_use]
    pub fn within(mut self, parent: BatchId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Leaves it open: it does not end before [`Queue::close_batch`](crate::Queue::close_batch) is called,
    /// because jobs are to be added. A batch that is open for a day and misses no job is closed.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// Adds a job.
    ///
    /// # Errors
    /// Refuses arguments that cannot be written as JSON.
    pub fn add<J: Job>(&mut self, job: &J) -> Result<Member, EnqueueError> {
        Ok(self.add_new(NewJob::of(job)?))
    }

    /// Adds a job of any kind, or one with other options.
    pub fn add_new(&mut self, job: NewJob) -> Member {
        self.jobs.push(job);
        Member(self.jobs.len() - 1)
    }

    /// Lets a job wait until others of the batch have ended. A job that was not enqueued, because its unique
    /// key was taken, is not waited for.
    pub fn after(
        &mut self,
        job: Member,
        others: impl IntoIterator<Item = Member>,
        on_failure: OnFailure,
    ) {
        let waits = others.into_iter().map(|other| (other.0, job.0, on_failure));
        self.waits.extend(waits);
    }

    /// Starts a job when the batch has succeeded, at once or after failed jobs were retried.
    ///
    /// # Errors
    /// Refuses arguments that cannot be written as JSON.
    pub fn on_success<J: Job>(self, job: &J) -> Result<Self, EnqueueError> {
        Ok(self.callback(Event::Success, NewJob::of(job)?))
    }

    /// Starts a job when the batch has failed for the first time.
    ///
    /// # Errors
    /// Refuses arguments that cannot be written as JSON.
    pub fn on_failure<J: Job>(self, job: &J) -> Result<Self, EnqueueError> {
        Ok(self.callback(Event::Failure, NewJob::of(job)?))
    }

    /// Starts a job when the batch has ended for the first time, however it did.
    ///
    /// # Errors
    /// Refuses arguments that cannot be written as JSON.
    pub fn on_completion<J: Job>(self, job: &J) -> Result<Self, EnqueueError> {
        Ok(self.callback(Event::Completion, NewJob::of(job)?))
    }

    /// Starts a job of any kind when the batch has succeeded.
    #[must_use]
    pub fn on_success_new(self, job: NewJob) -> Self {
        self.callback(Event::Success, job)
    }

    /// Starts a job of any kind when the batch has failed for the first time.
    #[must_use]
    pub fn on_failure_new(self, job: NewJob) -> Self {
        self.callback(Event::Failure, job)
    }

    /// Starts a job of any kind when the batch has ended for the first time.
    #[must_use]
    pub fn on_completion_new(self, job: NewJob) -> Self {
        self.callback(Event::Completion, job)
    }

    fn callback(mut self, event: Event, job: NewJob) -> Self {
        self.callbacks.push((event, job));
        self
    }

    /// Gives its jobs and callbacks a context, and the callbacks and the jobs that wait their mark.
    pub(crate) fn prepare(&mut self, context: Option<&Arc<Context>>) {
        for (_, job, _) in &self.waits {
            if let Some(job) = self.jobs.get_mut(*job) {
                job.options.waits = true;
            }
        }
        let callbacks = self.callbacks.iter_mut().map(|(_, job)| job);
        for callback in callbacks {
            callback.options.waits = true;
            callback.inherit(context);
        }
        for job in &mut self.jobs {
            job.inherit(context);
        }
    }

    /// Returns its jobs and callbacks.
    pub(crate) fn all(&self) -> impl Iterator<Item = &NewJob> {
        let callbacks = self.callbacks.iter().map(|(_, job)| job);
        self.jobs.iter().chain(callbacks)
    }

    /// Refuses invalid jobs, jobs that wait for each other in a circle, and jobs that wait and are delayed.
    pub(crate) fn check(&self, args_bytes_max: usize) -> Result<(), EnqueueError> {
        for job in self.all() {
            job.check(args_bytes_max)?;
        }
        if let Some(job) = self
            .all()
            .find(|job| job.options.waits && job.options.due != Due::Now)
        {
            let kind = job.kind.to_string();
            return Err(EnqueueError::WaitsAndDelayed { kind });
        }
        match self.circle() {
            Some(kinds) => Err(EnqueueError::Circle { kinds }),
            None => Ok(()),
        }
    }

    /// Returns the kinds of jobs that wait for each other in a circle, if there are any: those that are left
    /// when jobs that wait for none of the others are taken away, again and again.
    fn circle(&self) -> Option<String> {
        let mut waits_for = vec![0_usize; self.jobs.len()];
        let mut dependents = vec![Vec::new(); self.jobs.len()];
        for (on, job, _) in &self.waits {
            let (Some(count), Some(dependents)) =
                (waits_for.get_mut(*job), dependents.get_mut(*on))
            else {
                return Some("a job of another batch".to_owned());
            };
            *count += 1;
            dependents.push(*job);
        }
        let free = waits_for
            .iter()
            .enumerate()
            .filter(|(_, count)| **count == 0);
        let mut free: Vec<usize> = free.map(|(job, _)| job).collect();
        while let Some(job) = free.pop() {
            for dependent in &dependents[job] {
                waits_for[*dependent] -= 1;
                if waits_for[*dependent] == 0 {
                    free.push(*dependent);
                }
            }
        }
        let left = self
            .jobs
            .iter()
            .zip(waits_for)
            .filter(|(_, count)| *count > 0);
        let kinds: Vec<&str> = left.map(|(job, _)| &*job.kind).take(10).collect();
        (!kinds.is_empty()).then(|| kinds.join(", "))
    }
}

impl OnFailure {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Hold => "hold",
        }
    }
}

impl Event {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Completion => "completion",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::Options;

    fn job(kind: &str) -> NewJob {
        NewJob::untyped(kind, &json!(1), Options::new())
    }

    #[test]
    fn jobs_that_wait_for_each_other_in_a_circle_are_refused() {
        let mut batch = Batch::new();
        let [a, b, c] = ["a", "b", "c"].map(|kind| batch.add_new(job(kind)));
        batch.after(b, [a], OnFailure::Cancel);
        batch.after(c, [a, b], OnFailure::Cancel);
        assert!(batch.check(100).is_ok());
        batch.after(a, [c], OnFailure::Cancel);
        assert!(matches!(batch.check(100), Err(EnqueueError::Circle { .. })));

        let mut alone = Batch::new();
        let member = alone.add_new(job("a"));
        alone.after(member, [member], OnFailure::Hold);
        assert!(matches!(alone.check(100), Err(EnqueueError::Circle { .. })));
    }
}
