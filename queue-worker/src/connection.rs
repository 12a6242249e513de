//! A connection that is made anew when it breaks.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;

/// The longest that connecting, or one of our operations, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the server ends by itself, sooner than our patience does: a statement whose client has
/// given up, or is gone, must not be committed long after.
const LIMITS: [(&str, &str); 2] = [
    ("statement_timeout", "25s"),
    ("idle_in_transaction_session_timeout", "25s"),
];

/// A lock is not waited for any longer: behind the end of one run wait those of others, and behind one
/// schedule the others.
const BRIEFLY: (&str, &str) = ("lock_timeout", "500ms");

/// What may be forgotten by a server that crashes, because it is done again then: it need not wait
/// for the disk.
const RELAXED: (&str, &str) = ("synchronous_commit", "off");

/// A connection of one component's own. After an error, when it takes too long, or when the
/// operation is dropped, it is thrown away: a statement that was abandoned half-way leaves
/// nothing behind for the next.
pub(crate) struct Connection {
    options: Arc<PgConnectOptions>,
    conn: Option<PgConnection>,
}

impl Connection {
    pub(crate) fn new(options: &PgConnectOptions) -> Self {
        Self {
            options: Arc::new(options.clone().options(LIMITS)),
            conn: None,
        }
    }

    /// Turns it into one that waits for nobody's lock for long.
    pub(crate) fn waiting_briefly(self) -> Self {
        self.with(BRIEFLY)
    }

    /// Turns it into one for what may be forgotten, and is done again then.
    pub(crate) fn relaxed(self) -> Self {
        self.with(RELAXED)
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

    /// Connects, unless it is connected: for those to whom an error of connecting is another
    /// thing than an error of what they then ask.
    pub(crate) async fn connect(&mut self) -> Result<(), sqlx::Error> {
        self.conn = Some(self.open().await?);
        Ok(())
    }

    async fn open(&mut self) -> Result<PgConnection, sqlx::Error> {
        match self.conn.take() {
            Some(conn) => Ok(conn),
            None => timely(PATIENCE, self.options.connect()).await,
        }
    }

    /// Hands the connection to one operation.
    pub(crate) async fn run<T>(
        &mut self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut conn = self.open().await?;
        let answer = timely(PATIENCE, operation(&mut conn)).await;
        if answer.is_ok() {
            self.conn = Some(conn);
        }
        answer
    }

    /// Closes the connection, if there is one.
    pub(crate) async fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            let _whatever_it_says = timeout(Duration::from_secs(1), conn.close()).await;
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

/// The waits between tries to reach a database: quick at first, then every few seconds.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    tries: u32,
}

impl Patience {
    /// Returns the next wait, with some jitter, so that a fleet does not come back as one.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let base = Duration::from_millis(50).saturating_mul(2_u32.saturating_pow(self.tries));
        self.tries = (self.tries + 1).min(10);
        base.min(Duration::from_secs(5))
            .mul_f64(0.75 + fastrand::f64() / 2.0)
    }

    /// Starts over, after a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Tells whether the last try was the first that failed.
    pub(crate) fn is_first(&self) -> bool {
        self.tries == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_few_seconds_and_start_over_after_a_success() {
        let mut patience = Patience::default();
        assert!(patience.next_wait() < Duration::from_millis(100));
        assert!(patience.is_first());
        for _ in 0..50 {
            assert!(patience.next_wait() <= Duration::from_millis(6_250));
        }
        patience.reset();
        assert!(patience.next_wait() < Duration::from_millis(100));
    }
}
