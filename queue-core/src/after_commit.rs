//! Enqueueing after the commit of a transaction in another database.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::context::Context;
use crate::db;
use crate::job::Job;
use crate::new_job::{EnqueueError, NewJob};
use crate::queue::Queue;
use crate::request::EnqueueMany;
use crate::transitions::enqueue::Enqueued;

impl Queue {
    /// Begins a transaction on a pool of the application. Its jobs are enqueued once it is committed, in a
    /// queue that is in another database.
    ///
    /// # Errors
    /// Returns the error of the application's pool or server.
    pub async fn after_commit(&self, app: &PgPool) -> Result<AfterCommit, sqlx::Error> {
        Ok(AfterCommit {
            queue: self.clone(),
            tx: db::begin(app).await?,
            jobs: Vec::new(),
        })
    }
}

/// A transaction of the application, and the jobs that are enqueued once it is committed.
///
/// For a queue in another database than the application's. A crash between the two commits loses the
/// jobs: if both are in one database, enqueue with [`Enqueue::tx`](crate::Enqueue::tx) instead.
///
/// ```no_run
/// # use queue_core::{Job, Queue};
/// # async fn example<J: Job>(app: sqlx::PgPool, queue: Queue, job: J) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = queue.after_commit(&app).await?;
/// sqlx::query("update accounts set plan = 'gold'").execute(&mut *tx).await?;
/// tx.enqueue(job)?;
/// let enqueued = tx.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct AfterCommit {
    queue: Queue,
    tx: Transaction<'static, Postgres>,
    jobs: Vec<NewJob>,
}

/// Why the commit, or enqueueing after it, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AfterCommitError {
    /// The transaction was not committed, and nothing was enqueued.
    #[error("could not commit the transaction; its jobs were not enqueued")]
    NotCommitted(#[source] sqlx::Error),
    /// The transaction was committed, but its jobs were not enqueued.
    #[error("the transaction was committed, but its jobs were not enqueued")]
    NotEnqueued(#[source] EnqueueError),
}

impl AfterCommit {
    /// Adds a job to enqueue after the commit.
    ///
    /// # Errors
    /// Refuses an invalid job, while the transaction can still be rolled back.
    pub fn enqueue<J: Job>(&mut self, job: J) -> Result<(), EnqueueError> {
        self.enqueue_new(NewJob::of(&job)?)
    }

    /// Adds a job of any kind to enqueue after the commit, or one with other options:
    /// `NewJob::of(&job)?.with(|options| options.queue("mail"))`.
    ///
    /// # Errors
    /// Refuses an invalid job, while the transaction can still be rolled back.
    pub fn enqueue_new(&mut self, mut job: NewJob) -> Result<(), EnqueueError> {
        job.inherit(Context::ambient().as_ref());
        self.queue.check(&job)?;
        self.jobs.push(job);
        Ok(())
    }

    /// Commits, then enqueues.
    ///
    /// # Errors
    /// Returns which of the two failed.
    pub async fn commit(self) -> Result<Vec<Enqueued>, AfterCommitError> {
        self.tx
            .commit()
            .await
            .map_err(AfterCommitError::NotCommitted)?;
        EnqueueMany::new(&self.queue, Ok(self.jobs))
            .await
            .map_err(AfterCommitError::NotEnqueued)
    }

    /// Rolls back and drops the jobs. Dropping the value does the same.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.tx.rollback().await
    }
}

impl Deref for AfterCommit {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for AfterCommit {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}
