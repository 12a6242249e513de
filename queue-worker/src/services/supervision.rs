//! Keeps the services of a process going: one that fails is reported and started again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use queue_core::Schema;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::connection::{Connection, Patience};

/// What a service works with.
pub(crate) struct ServiceContext {
    pub(crate) connection: Connection,
    pub(crate) schema: Schema,
    pub(crate) settings: Arc<Settings>,
    pub(crate) stopping: CancellationToken,
}

impl ServiceContext {
    /// Makes a context like this one, with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self {
            connection: self.connection.another(),
            schema: self.schema.clone(),
            settings: Arc::clone(&self.settings),
            stopping: self.stopping.clone(),
        }
    }

    /// Runs a service again and again until it ends by itself, or the process stops. Errors and
    /// panics are reported, with growing waits in between.
    pub(crate) fn keep<F>(
        &self,
        name: &'static str,
        service: impl Fn(ServiceContext) -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
    {
        let context = self.another();
        let stopping = self.stopping.clone();
        tokio::spawn(supervise(name, stopping, move || {
            service(context.another())
        }))
    }
}

async fn supervise<F>(name: &'static str, stopping: CancellationToken, start: impl Fn() -> F)
where
    F: Future<Output = Result<(), sqlx::Error>>,
{
    let mut patience = Patience::default();
    loop {
        let began = tokio::time::Instant::now();
        match AssertUnwindSafe(start()).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(component = name, %error, "failed; starting it again"),
            Err(_panic) => tracing::error!(component = name, "panicked; starting it again"),
        }
        let wait = patience.next_wait();
        if began.elapsed() > wait {
            patience.reset();
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
