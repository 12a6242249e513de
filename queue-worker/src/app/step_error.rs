//! Why a step, a cursor or a wait did not give a result.

use queue_core::steps::RESULT_BYTES_MAX;
use queue_core::{BatchId, EnqueueError, InvalidName, JobId};

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
    /// The job waits for an event. Once it returns, its slot is free until the event comes.
    #[error("waiting for the event `{0}`")]
    Waiting(String),
    /// The job waits for the end of a batch. Once it returns, its slot is free until then.
    #[error("waiting for the end of batch {0}")]
    Joining(BatchId),
    /// The job is a part of the batch that it is to wait for.
    #[error("the job is a part of batch {0}, which ends after it: it cannot wait for that")]
    OwnBatch(BatchId),
    /// There is no such batch: it was never enqueued, or it has been cleared.
    #[error("there is no batch {0} to wait for")]
    NoBatch(BatchId),
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
    /// The job has taken 32,767 steps of this name.
    #[error(
        "a job has at most 32,767 steps of one name, and `{0}` came once more: use a cursor for a long row of \
         work"
    )]
    TooMany(String),
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
    /// The place of an earlier run does not fit the type that this program expects.
    #[error("the place of the cursor `{name}` does not fit its type")]
    DecodeCursor {
        /// The cursor.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A child job could not be enqueued.
    #[error("could not enqueue a child job")]
    Enqueue(#[from] EnqueueError),
    /// The steps of the job have changed since an earlier attempt, and its kind has
    /// [`strict_steps`](crate::Perform::strict_steps).
    #[error("the steps of the job have changed: {0}")]
    Changed(String),
    /// The database failed.
    #[error("could not read or record steps")]
    Database(#[from] sqlx::Error),
}
