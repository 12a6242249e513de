//! The connection that the services of a process share.
//!
//! Their operations are short and rare, so one connection is enough almost always. Operations that would
//! wait for it use a second one, which is closed when it has not been needed for a while.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::connection::{Connection, IDLE_MAX};

/// How long an operation waits for the first connection.
const WAIT_MAX: Duration = Duration::from_millis(20);

pub(crate) struct SharedConnection {
    first: Mutex<Connection>,
    second: Mutex<Second>,
}

struct Second {
    connection: Connection,
    used_at: Instant,
}

impl SharedConnection {
    /// Makes connections like this one.
    pub(crate) fn like(connection: &Connection) -> Self {
        Self {
            first: Mutex::new(connection.another()),
            second: Mutex::new(Second {
                connection: connection.another(),
                used_at: Instant::now(),
            }),
        }
    }

    /// Runs one operation on a connection that is free.
    pub(crate) async fn run<T>(
        &self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        if let Ok(mut first) = timeout(WAIT_MAX, self.first.lock()).await {
            let answer = first.run(operation).await;
            self.close_unused().await;
            return answer;
        }
        let mut second = self.second.lock().await;
        second.used_at = Instant::now();
        second.connection.run(operation).await
    }

    async fn close_unused(&self) {
        if let Ok(mut second) = self.second.try_lock()
            && second.used_at.elapsed() > IDLE_MAX
        {
            second.connection.close().await;
        }
    }

    /// Closes the connections that are not in use.
    pub(crate) async fn close(&self) {
        if let Ok(mut first) = self.first.try_lock() {
            first.close().await;
        }
        if let Ok(mut second) = self.second.try_lock() {
            second.connection.close().await;
        }
    }
}
