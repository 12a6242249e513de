//! The handle with which applications enqueue jobs.

use sqlx::PgPool;

use crate::migrate::{MigrateError, migrate};
use crate::names::InvalidName;
use crate::new_job::ARGS_BYTES_MAX;
use crate::sql::Schema;

/// A handle to the queue in one database, cheap to clone.
///
/// ```no_run
/// # use queue_core::{Job, Queue};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct SendWelcome { user_id: i64 }
/// # impl Job for SendWelcome { const KIND: &'static str = "send_welcome"; }
/// # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let queue = Queue::new(pool.clone());
///
/// let mut tx = pool.begin().await?;
/// sqlx::query("insert into users (id) values (7)").execute(&mut *tx).await?;
/// queue.enqueue(SendWelcome { user_id: 7 }).tx(&mut tx).await?;
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    pub(crate) pool: PgPool,
    pub(crate) schema: Schema,
    pub(crate) args_bytes_max: usize,
}

impl Queue {
    /// Uses the queue in the schema `queue` of a database.
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            schema: Schema::default(),
            args_bytes_max: ARGS_BYTES_MAX,
        }
    }

    /// Uses another schema.
    ///
    /// # Errors
    /// Refuses a name that [`Schema::named`] refuses.
    pub fn in_schema(mut self, name: &str) -> Result<Self, InvalidName> {
        self.schema = Schema::named(name)?;
        Ok(self)
    }

    /// Applies the missing migrations. Any number of processes may call it at once.
    ///
    /// # Errors
    /// Refuses a database that is newer than this program.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let mut conn = self.pool.acquire().await?;
        migrate(&mut conn, &self.schema).await.map(drop)
    }

    /// Sets the most bytes of JSON that the arguments of a job may have; 1 MiB by default.
    #[must_use]
    pub fn args_bytes_max(mut self, bytes: usize) -> Self {
        self.args_bytes_max = bytes;
        self
    }

    /// Returns the pool.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Returns the schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}
