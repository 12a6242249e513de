//! A connection that is opened again after an error.

use std::sync::Arc;
use std::time::Duration;

use queue_core::redact;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;

/// The longest time that connecting, or one operation, may take.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The server ends our statements and transactions before we give up on them: a statement must not
/// be committed long after that.
const SERVER_TIMEOUTS: [(&str, &str); 2] = [
    ("statement_timeout", "25s"),
    ("idle_in_transaction_session_timeout", "25s"),
];

/// No statement waits longer for a lock: the outcomes of other runs, or other recurring jobs, would
/// wait too.
const LOCK_TIMEOUT: (&str, &str) = ("lock_timeout", "500ms");

/// For changes that are repeated after a crash of the server: their commits need not wait for the
/// disk.
const NO_SYNC: (&str, &str) = ("synchronous_commit", "off");

/// The connection of one component. It is thrown away after an error or a timeout, and when its
/// operation is dropped, so that an abandoned statement cannot affect the next one.
pub(crate) struct Connection {
    options: Arc<PgConnectOptions>,
    conn: Option<PgConnection>,
}

impl Connection {
    pub(crate) fn new(options: &PgConnectOptions) -> Self {
        Self {
            options: Arc::new(options.clone().options(SERVER_TIMEOUTS)),
            conn: None,
        }
    }

    /// Turns it into one that gives up soon on a lock.
    pub(crate) fn waiting_briefly(self) -> Self {
        self.with(LOCK_TIMEOUT)
    }

    /// Turns it into one whose commits do not wait for the disk.
    pub(crate) fn without_sync(self) -> Self {
        self.with(NO_SYNC)
    }

    fn with(self, option: (&str, &str)) -> Self {
        Self {
            options: Arc::new((*self.options).clone().options([option])),
            conn: None,
        }
    }

    /// Makes another connection like this one.
    pub(crate) fn another(&self) -> Self {
        Self {
            options: Arc::clone(&self.options),
            conn: None,
        }
    }

    /// Connects, unless connected: for callers that treat an error of connecting differently from
    /// an error of the operation.
    pub(crate) async fn connect(&mut self) -> Result<(), sqlx::Error> {
        self.conn = Some(self.open().await?);
        Ok(())
    }

    async fn open(&mut self) -> Result<PgConnection, sqlx::Error> {
        match self.conn.take() {
            Some(conn) => Ok(conn),
            None => timely(ANSWER_TIMEOUT, self.options.connect()).await,
        }
    }

    /// Runs one operation on the connection.
    pub(crate) async fn run<T>(
        &mut self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut conn = self.open().await?;
        let answer = timely(ANSWER_TIMEOUT, operation(&mut conn)).await;
        if answer.is_ok() {
            self.conn = Some(conn);
        }
        answer
    }

    /// Closes the connection, if there is one.
    pub(crate) async fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            let _closed_or_broken = timeout(Duration::from_secs(1), conn.close()).await;
        }
    }
}

/// Gives up on an operation that takes too long.
pub(crate) async fn timely<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, operation).await.unwrap_or_else(|_elapsed| {
        Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("the database did not answer within {limit:?}"),
        )))
    })
}

/// Returns the part of an error that may be logged.
pub(crate) fn logged(error: &sqlx::Error) -> String {
    redact(&error.to_string()).to_owned()
}

/// The delays between attempts to reach the database: short at first, then a few seconds.
#[derive(Debug, Default)]
pub(crate) struct RetryDelay {
    tries: u32,
}

impl RetryDelay {
    /// Returns the next delay, with jitter, so that not all processes come back at once.
    pub(crate) fn next(&mut self) -> Duration {
        let base = Duration::from_millis(50).saturating_mul(2_u32.saturating_pow(self.tries));
        self.tries = (self.tries + 1).min(10);
        base.min(Duration::from_secs(5))
            .mul_f64(0.75 + fastrand::f64() / 2.0)
    }

    /// Starts over, after a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Returns whether one attempt has failed so far.
    pub(crate) fn is_first(&self) -> bool {
        self.tries == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_few_seconds_and_are_reset_by_a_success() {
        let mut delay = RetryDelay::default();
        assert!(delay.next() < Duration::from_millis(100));
        assert!(delay.is_first());
        for _ in 0..50 {
            assert!(delay.next() <= Duration::from_millis(6_250));
        }
        delay.reset();
        assert!(delay.next() < Duration::from_millis(100));
    }
}
