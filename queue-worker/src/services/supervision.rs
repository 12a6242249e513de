//! Supervision: a service that fails is logged and started again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use queue_core::Schema;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::config::Settings;
use crate::connection::{Connection, RetryDelay, logged};
use crate::lookout::Lookout;
use crate::shared_connection::SharedConnection;

/// What a service works with.
pub(crate) struct ServiceContext {
    /// The connection of this service, for those that need one of their own.
    pub(crate) connection: Connection,
    /// The connection of all services.
    pub(crate) shared: Arc<SharedConnection>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) schema: Schema,
    pub(crate) settings: Arc<Settings>,
    pub(crate) stopping: CancellationToken,
}

impl ServiceContext {
    /// Makes a context like this one, with another connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self {
            connection: self.connection.another(),
            shared: Arc::clone(&self.shared),
            lookout: Arc::clone(&self.lookout),
            schema: self.schema.clone(),
            settings: Arc::clone(&self.settings),
            stopping: self.stopping.clone(),
        }
    }

    /// Starts a service, and starts it again after each error or panic, with growing delays, until
    /// it ends by itself or the process stops.
    pub(crate) fn keep<F>(
        &self,
        name: &'static str,
        service: impl Fn(ServiceContext) -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
    {
        tokio::spawn(self.another().supervise(name, service).in_current_span())
    }

    async fn supervise<F>(self, name: &'static str, service: impl Fn(Self) -> F)
    where
        F: Future<Output = Result<(), sqlx::Error>>,
    {
        let mut delay = RetryDelay::default();
        loop {
            let began = Instant::now();
            let run = service(self.another());
            match AssertUnwindSafe(run).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) if self.connection.outage().covers(&error) => {
                    tracing::debug!(error = %logged(&error), "lost a connection");
                    if !self.connection.outage().is_on() {
                        // It is opened again at once. Only if that fails, the delays grow.
                        delay.reset();
                    }
                }
                Ok(Err(error)) => tracing::warn!(
                    service = name,
                    error = %logged(&error),
                    "the service failed; restarting it",
                ),
                Err(_panic) => {
                    tracing::error!(service = name, "the service panicked; restarting it");
                }
            }
            let wait = delay.next();
            if began.elapsed() > wait {
                delay.reset();
            }
            let waited = self.stopping.run_until_cancelled(sleep(wait)).await;
            if waited.is_none() {
                return;
            }
        }
    }
}
