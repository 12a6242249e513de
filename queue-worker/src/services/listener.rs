//! The listener: receives notifications of new jobs, for idle workers, and of requests to cancel
//! running jobs. Without it both would be found too, only later.

use std::str::FromStr as _;
use std::sync::Arc;

use queue_core::JobId;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::attempt::StopReason;
use crate::config::ServerUrl;
use crate::connection::Target;
use crate::pooler::Pooling;
use crate::worker::{Shared, Worker};

/// Listens until the connection breaks or the process ends. Behind a pooler in transaction mode a
/// connection cannot listen: another client gets the server next.
pub(crate) async fn listen<S: Send + Sync + 'static>(
    target: Arc<Target>,
    server: Option<ServerUrl>,
    shared: Arc<Shared<S>>,
    workers: Vec<Arc<Worker<S>>>,
) -> Result<(), sqlx::Error> {
    let options = match (server, target.pooling().await?) {
        (Some(url), _) => PgConnectOptions::from_str(&url.0)?,
        (None, Pooling::Session) => target.options().clone(),
        (None, Pooling::Transaction) => {
            tracing::warn!(
                "no notifications through a pooler in transaction mode, only polls: set \
                 `process.listen_url` to the URL of the server itself",
            );
            return Ok(());
        }
    };
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    let wake = shared.schema.wake_channel();
    let cancel = shared.schema.cancel_channel();
    listener
        .listen_all([wake.as_str(), cancel.as_str()])
        .await?;
    // Notifications that were sent before are lost, so every worker looks for jobs now.
    wake_all(&workers, None);
    while let Some(notification) = listener.try_recv().await? {
        let payload = notification.payload();
        if notification.channel() == wake {
            wake_all(&workers, Some(payload));
        } else if let Ok(job) = payload.parse::<JobId>() {
            shared.in_flight.stop(job, None, StopReason::Cancelled);
        }
    }
    Err(sqlx::Error::Protocol(
        "the listening connection broke".into(),
    ))
}

fn wake_all<S: Send + Sync + 'static>(workers: &[Arc<Worker<S>>], queue: Option<&str>) {
    for worker in workers {
        worker.wake(queue);
    }
}
