//! The handle with which applications enqueue jobs.

use std::borrow::Cow;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::context::Context;
use crate::db::{begin, begin_read_committed};
use crate::encryption::Keys;
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
    tenant_setting: Option<Cow<'static, str>>,
}

impl Queue {
    /// Uses the queue in the schema `queue` of a database.
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            schema: Schema::default(),
            args_bytes_max: ARGS_BYTES_MAX,
            tenant_setting: None,
        }
    }

    /// For a pool whose connections lead to a pooler in transaction mode, such as PgBouncer's: everything is
    /// done in transactions, by statements without names, because another client may get the server next.
    /// Make the application's own queries on it with `persistent(false)`, for the same reason.
    /// The options of the pool need `extra_float_digits(None)`, a parameter that PgBouncer refuses. A
    /// process finds out by itself, for its copies of the handle too.
    ///
    /// ```no_run
    /// # use queue_core::Queue;
    /// # use sqlx::PgPool;
    /// # use sqlx::postgres::PgConnectOptions;
    /// # async fn example(url: &str) -> Result<(), sqlx::Error> {
    /// let options: PgConnectOptions = url.parse()?;
    /// let pool = PgPool::connect_with(options.extra_float_digits(None)).await?;
    /// let queue = Queue::new(pool).transaction_pooler();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn transaction_pooler(self) -> Self {
        self.schema.set_pooled();
        self
    }

    /// Uses another schema.
    ///
    /// # Errors
    /// Refuses a name that [`Schema::named`] refuses.
    pub fn in_schema(mut self, name: &str) -> Result<Self, InvalidName> {
        let is_pooled = self.schema.is_pooled();
        self.schema = Schema::named(name)?.with_keys(self.schema.keys().cloned());
        if is_pooled {
            self.schema.set_pooled();
        }
        Ok(self)
    }

    /// Applies the missing migrations. Any number of processes may call it at once.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let migrating = async |conn: &mut _| migrate(conn, &self.schema).await.map(drop);
        match self.schema.is_pooled() {
            true => self.in_transaction(migrating).await,
            false => migrating(&mut *self.pool.acquire().await?).await,
        }
    }

    /// Sets the keys for kinds that are encrypted ([`Job::ENCRYPTED`](crate::Job::ENCRYPTED)).
    #[must_use]
    pub fn encryption_keys(mut self, keys: Keys) -> Self {
        self.schema = self.schema.with_keys(Some(keys));
        self
    }

    /// Sets the most bytes of JSON that the arguments of a job may have; 1 MiB by default.
    #[must_use]
    pub fn args_bytes_max(mut self, bytes: usize) -> Self {
        self.args_bytes_max = bytes;
        self
    }

    /// Sets the tenant of the context in this setting, such as `app.tenant`, for each transaction that is
    /// begun by [`begin`](Self::begin), or by a job through its own context: policies of row-level security
    /// can compare it. It is an empty text without a tenant.
    #[must_use]
    pub fn tenant_setting(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.tenant_setting = Some(name.into());
        self
    }

    /// Begins a transaction for the tenant of the current [`Context`], if
    /// [`tenant_setting`](Self::tenant_setting) was called. Nothing of it stays on the connection.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.begin_for(&Context::current()).await
    }

    /// Begins a transaction for the tenant of a context.
    #[doc(hidden)]
    pub async fn begin_for(
        &self,
        context: &Context,
    ) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut tx = begin(&self.pool).await?;
        if let Some(setting) = &self.tenant_setting {
            self.schema
                .query("select set_config($1, $2, true)")
                .bind(&**setting)
                .bind(context.tenant.as_deref().unwrap_or_default())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx)
    }

    /// Runs an operation in a transaction on the pool.
    pub(crate) async fn in_transaction<T, E: From<sqlx::Error>>(
        &self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tx = begin_read_committed(&self.pool).await?;
        let answer = operation(&mut tx).await?;
        tx.commit().await?;
        Ok(answer)
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
