//! The listener: receives notifications of new jobs, for idle workers, of events for which jobs wait, and of
//! requests to cancel running jobs. Without it all would be found too, only later.

use std::sync::Arc;
use std::time::Duration;

use queue_core::JobId;
use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use tokio::time::timeout;

use crate::attempt::StopReason;
use crate::config::ServerUrl;
use crate::connection::{Target, timely};
use crate::pooler::Pooling;
use crate::servers::Servers;
use crate::worker::{Shared, Worker};

/// How long no notification may arrive until the connection is tested.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The longest time that an operation may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens until the connection breaks or the process ends. Behind a pooler in transaction mode a
/// connection cannot listen: another client gets the server next.
pub(crate) async fn listen<S: Send + Sync + 'static>(
    target: Arc<Target>,
    server: Option<ServerUrl>,
    shared: Arc<Shared<S>>,
    workers: Vec<Arc<Worker<S>>>,
) -> Result<(), sqlx::Error> {
    let options = match (server, target.pooling().await?) {
        (Some(url), _) => Servers::parse(&url.0)?.find().await?,
        (None, Pooling::Session) => target.options(),
        (None, Pooling::Transaction) => {
            tracing::warn!(
                "no notifications through a pooler in transaction mode, only polls: set \
                 `process.listen_url` to the URL of the server itself",
            );
            return Ok(());
        }
    };
    let cuts = target.cuts().count();
    let wake = shared.schema.wake_channel();
    let cancel = shared.schema.cancel_channel();
    let emitted = shared.schema.emitted_channel();
    let channels = [&*wake, &*cancel, &*emitted];
    let mut listener = timely(ANSWER_TIMEOUT, start(options, channels)).await?;
    // Notifications that were sent before are lost, so every worker looks for jobs now.
    wake_all(&workers, None);
    loop {
        let notification = tokio::select! {
            received = next(&mut listener) => received?,
            error = target.cuts().more_than(cuts) => return Err(error),
        };
        let payload = notification.payload();
        if notification.channel() == wake {
            wake_all(&workers, Some(payload));
        } else if notification.channel() == emitted {
            shared.emitted.notify_one();
        } else if let Ok(job) = payload.parse::<JobId>() {
            shared.in_flight.stop(job, None, StopReason::Cancelled);
        }
    }
}

async fn start(options: PgConnectOptions, channels: [&str; 3]) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen_all(channels).await?;
    Ok(listener)
}

/// Waits for a notification, and tests the connection as long as none arrives: one that was cut would
/// be silent for ever.
async fn next(listener: &mut PgListener) -> Result<PgNotification, sqlx::Error> {
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => return Ok(notification),
            Ok(Ok(None)) => {
                return Err(sqlx::Error::Protocol(
                    "the listening connection broke".into(),
                ));
            }
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => {
                timely(ANSWER_TIMEOUT, listener.execute("select")).await?;
            }
        }
    }
}

/// Wakes all workers of the process, because a queue, or any queue if none is named, may have new jobs.
pub(super) fn wake_all<S: Send + Sync + 'static>(workers: &[Arc<Worker<S>>], queue: Option<&str>) {
    for worker in workers {
        worker.wake(queue);
    }
}
