//! The task that works on acts on many jobs.
//!
//! It belongs to the dashboard and not to the processes that run jobs: people discard and cancel jobs just
//! when no process is alive, and processes pay nothing for it. Every dashboard of a queue that somebody looks
//! at has one. Each takes an operation that no other works on, so when one dies the next goes on.

use std::sync::{Arc, Weak};
use std::time::Duration;

use queue_core::operations::jobs::BulkError;
use queue_core::operations::many::{batch, fail, next};
use queue_core::{begin_read_committed, is_transient};

use crate::site::Site;

/// How often it looks for operations of dashboards that have died.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Starts the task, once for each dashboard that may change something.
pub(crate) fn start(site: &Arc<Site>) {
    if site.works.set(()).is_ok() {
        tokio::spawn(work(Arc::downgrade(site)));
    }
}

/// Works on operations as long as the dashboard is there.
async fn work(site: Weak<Site>) {
    while let Some(there) = site.upgrade() {
        let mut closing = there.settings.closing.subscribe();
        let (begun, looked) = (Arc::clone(&there.begun), step(&there).await);
        drop(there);
        match looked {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "could not work on an operation; trying again"),
        }
        tokio::select! {
            () = begun.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = closing.wait_for(|is_closing| *is_closing) => return,
        }
    }
}

/// Does one batch, and returns whether there was one to do.
async fn step(site: &Site) -> Result<bool, sqlx::Error> {
    let schema = site.queue.schema();
    let mut tx = begin_read_committed(site.queue.pool()).await?;
    let Some(operation) = next(&mut tx, schema).await? else {
        return Ok(false);
    };
    let id = operation.id;
    let error = match batch(&mut tx, schema, operation).await {
        Ok(()) => return tx.commit().await.map(|()| true),
        Err(BulkError::Database(error)) if is_transient(&error) => return Err(error),
        Err(error) => error,
    };
    drop(tx);
    tracing::error!(operation = id, %error, "an operation cannot go on");
    let mut conn = site.queue.pool().acquire().await?;
    fail(&mut conn, schema, id, &error.to_string()).await?;
    Ok(true)
}
