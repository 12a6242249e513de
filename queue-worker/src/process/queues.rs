//! The settings of queues that a process declares.

use std::collections::BTreeMap;

use queue_core::Schema;
use queue_core::operations::queues::{QueueError, set_fair};
use sqlx::PgConnection;

use crate::config::QueueSettings;

/// Declares the queues of the configuration. Others stay as they are.
pub(super) async fn declare(
    conn: &mut PgConnection,
    schema: &Schema,
    queues: &BTreeMap<String, QueueSettings>,
) -> Result<(), sqlx::Error> {
    for (queue, settings) in queues {
        match set_fair(conn, schema, queue, settings.fair).await {
            Ok(true) => tracing::info!(queue, fair = settings.fair, "changed a queue"),
            Ok(false) => {}
            Err(QueueError::Database(error)) => return Err(error),
            Err(error) => tracing::error!(queue, %error, "the queue is invalid"),
        }
    }
    Ok(())
}
