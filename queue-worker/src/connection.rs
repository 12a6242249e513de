//! A connection that is opened again after an error.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue_core::{Queue, redact};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::{sleep, timeout};

use crate::pooler::{Pooling, detect};

/// The longest time that one operation may take.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an operation may take until the heartbeat is asked whether connections were cut, and how long
/// it may go on after that was found.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection that is seldom needed stays open without being used.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(30);

/// The server ends our statements and transactions before we give up on them: a statement must not
/// be committed long after that. Our transactions do not rest, except when their connection was cut. The
/// server notices that within a minute, instead of two hours, and frees the connection.
const SERVER_TIMEOUTS: [(&str, &str); 5] = [
    ("statement_timeout", "25s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_keepalives_idle", "30s"),
    ("tcp_keepalives_interval", "10s"),
    ("tcp_keepalives_count", "3"),
];

/// No statement waits longer for a lock: the outcomes of other runs, or other recurring jobs, would
/// wait too.
const LOCK_TIMEOUT: (&str, &str) = ("lock_timeout", "500ms");

/// For changes that are repeated after a crash of the server: their commits need not wait for the
/// disk.
const NO_SYNC: (&str, &str) = ("synchronous_commit", "off");

/// The database of a process, as its connections reach it.
pub(crate) struct Target {
    queue: Queue,
    /// The name that the connections have at the server.
    application: String,
    pooling: OnceCell<Pooling>,
    outage: Outage,
    cuts: Cuts,
}

impl Target {
    pub(crate) fn new(queue: &Queue, application: String) -> Self {
        Self {
            queue: queue.clone(),
            application,
            pooling: OnceCell::new(),
            outage: Outage::default(),
            cuts: Cuts::default(),
        }
    }

    /// Returns what connections keep between transactions, which is found out once.
    pub(crate) async fn pooling(&self) -> Result<Pooling, sqlx::Error> {
        let found = self
            .pooling
            .get_or_try_init(|| timely(ANSWER_TIMEOUT, self.detect_pooling()));
        found.await.copied()
    }

    async fn detect_pooling(&self) -> Result<Pooling, sqlx::Error> {
        let options = self.options();
        let mut conn = options.connect().await?;
        let found = detect(&mut conn, &options).await?;
        let _closed_or_broken = conn.close().await;
        if found == Pooling::Transaction {
            self.queue.schema().set_pooled();
            tracing::info!("connected through a pooler in transaction mode");
        }
        Ok(found)
    }

    /// Returns how to connect now. The pool has it, because it may change: a password is rotated, or another
    /// server takes over.
    pub(crate) fn options(&self) -> PgConnectOptions {
        let options = (*self.queue.pool().connect_options()).clone();
        // Poolers refuse parameters at the start of a connection that they do not know.
        let options = options.extra_float_digits(None);
        options.application_name(&self.application)
    }

    pub(crate) fn outage(&self) -> &Outage {
        &self.outage
    }

    pub(crate) fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// Gives up on an operation that takes too long, and sooner if its connection was cut: it was opened
    /// after so many cuts.
    async fn answer<T>(
        &self,
        cuts: usize,
        operation: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        tokio::select! {
            answer = timely(ANSWER_TIMEOUT, operation) => answer,
            error = self.cuts.interrupt(cuts) => Err(error),
        }
    }
}

/// The connection of one component. It is thrown away after an error or a timeout, and when its
/// operation is dropped, so that an abandoned statement cannot affect the next one.
pub(crate) struct Connection {
    target: Arc<Target>,
    settings: Vec<(&'static str, &'static str)>,
    open: Option<Open>,
}

/// An open connection.
struct Open {
    conn: PgConnection,
    /// How many cuts there had been when it was opened.
    cuts: usize,
    /// The options of the pool at that time.
    options: Arc<PgConnectOptions>,
}

impl Connection {
    /// Makes a connection on which these settings hold.
    pub(crate) fn new(target: &Arc<Target>, settings: &[(&'static str, &'static str)]) -> Self {
        Self {
            target: Arc::clone(target),
            settings: [settings, &SERVER_TIMEOUTS].concat(),
            open: None,
        }
    }

    /// Returns the outage that this connection notices, with the others of the process.
    pub(crate) fn outage(&self) -> &Outage {
        &self.target.outage
    }

    /// Returns the cuts that end this connection, with the others of the process.
    pub(crate) fn cuts(&self) -> &Cuts {
        &self.target.cuts
    }

    /// Notes that the connections opened before this one were cut.
    pub(crate) fn note_cut(&mut self) {
        if let Some(open) = &mut self.open {
            open.cuts = self.target.cuts.add();
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

    fn with(mut self, setting: (&'static str, &'static str)) -> Self {
        self.settings.push(setting);
        self.open = None;
        self
    }

    /// Makes another connection like this one.
    pub(crate) fn another(&self) -> Self {
        Self {
            target: Arc::clone(&self.target),
            settings: self.settings.clone(),
            open: None,
        }
    }

    /// Connects, unless connected: for callers that treat an error of connecting differently from
    /// an error of the operation.
    pub(crate) async fn connect(&mut self) -> Result<(), sqlx::Error> {
        self.open = Some(self.open().await?);
        Ok(())
    }

    async fn open(&mut self) -> Result<Open, sqlx::Error> {
        let cuts = self.target.cuts.count();
        let options = self.target.queue.pool().connect_options();
        let is_current =
            |open: &mut Open| open.cuts == cuts && is_same_server(&open.options, &options);
        if let Some(open) = self.open.take_if(is_current) {
            return Ok(open);
        }
        // One that was cut, or leads to a server that is not used any more, is not worth a message.
        self.open = None;
        // In a box: every future that uses a connection would contain it.
        let connecting = timely(CONNECT_TIMEOUT, Box::pin(self.connect_anew()));
        let opened = self.target.answer(cuts, connecting).await;
        let conn = opened.inspect_err(|error| self.outage().begin(error))?;
        Ok(Open {
            conn,
            cuts,
            options,
        })
    }

    async fn connect_anew(&self) -> Result<PgConnection, sqlx::Error> {
        let pooling = self.target.pooling().await?;
        let mut conn = self.target.options().connect().await?;
        if pooling == Pooling::Session {
            conn.execute(self.settings("set")).await?;
        }
        Ok(conn)
    }

    /// Runs one operation on the connection.
    pub(crate) async fn run<T>(
        &mut self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let asked_at = Instant::now();
        let mut open = self.open().await?;
        let pooling = self.target.pooling().await?;
        let answer = self.target.answer(open.cuts, async {
            match pooling {
                Pooling::Session => operation(&mut open.conn).await,
                Pooling::Transaction => self.run_in_transaction(&mut open.conn, operation).await,
            }
        });
        let answer = answer.await;
        if answer.is_ok() {
            self.open = Some(open);
            self.outage().end(asked_at);
        }
        answer
    }

    /// Keeps a server, with the settings, until the operation is over.
    async fn run_in_transaction<T>(
        &self,
        conn: &mut PgConnection,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let begin = "begin isolation level read committed read write; ".to_owned();
        let begin = begin + &self.settings("set local").0;
        let mut tx = conn.begin_with(AssertSqlSafe(begin)).await?;
        let answer = operation(&mut tx).await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// Writes the settings as statements.
    fn settings(&self, set: &str) -> AssertSqlSafe<String> {
        let statements = self.settings.iter();
        AssertSqlSafe(
            statements
                .map(|(name, value)| format!("{set} {name} = '{value}'; "))
                .collect(),
        )
    }

    /// Waits for something, and closes the connection if that takes long.
    pub(crate) async fn idle_until<T>(&mut self, something: impl Future<Output = T>) -> T {
        let mut something = pin!(something);
        match timeout(IDLE_MAX, &mut something).await {
            Ok(done) => done,
            Err(_elapsed) => {
                self.close().await;
                something.await
            }
        }
    }

    /// Closes the connection, if there is one.
    pub(crate) async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _closed_or_broken = timeout(Duration::from_secs(1), open.conn.close()).await;
        }
    }
}

/// Returns whether connections with these options lead to the same server.
pub(crate) fn is_same_server(one: &PgConnectOptions, other: &PgConnectOptions) -> bool {
    one.get_socket() == other.get_socket()
        && one.get_host() == other.get_host()
        && one.get_port() == other.get_port()
}

/// Since when the database is out of reach, as the connections of a process notice together: one of them
/// reports the beginning, and one the end. Until then, errors of other components are not worth a line.
#[derive(Default)]
pub(crate) struct Outage {
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// Returns whether the database is out of reach.
    pub(crate) fn is_on(&self) -> bool {
        self.since().is_some()
    }

    /// Returns whether an error needs no line of its own: it is part of the outage, or broke a connection.
    /// If that cannot be opened again, an outage begins.
    pub(crate) fn covers(&self, error: &sqlx::Error) -> bool {
        self.is_on() || is_broken(error)
    }

    fn begin(&self, error: &sqlx::Error) {
        let mut since = self.since();
        if since.is_none() {
            *since = Some(Instant::now());
            tracing::warn!(error = %logged(error), "could not reach the database; retrying");
        }
    }

    /// Ends the outage after an answer, unless the question was asked before it.
    fn end(&self, asked_at: Instant) {
        let mut since = self.since();
        if let Some(began) = since.take_if(|began| *began < asked_at) {
            let seconds = began.elapsed().as_secs();
            tracing::info!(seconds, "the database answers again");
        }
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often the open connections were cut: a firewall or a router between us and the server has lost
/// them, so that nothing passes and neither side is told, while new connections work. The heartbeat finds
/// that out for all of them.
#[derive(Default)]
pub(crate) struct Cuts {
    count: watch::Sender<usize>,
    doubts: Notify,
}

impl Cuts {
    /// Returns how many there have been.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Counts one more, and returns the new count.
    pub(crate) fn add(&self) -> usize {
        self.count.send_modify(|count| *count += 1);
        self.count()
    }

    /// Waits until an operation takes long.
    pub(crate) async fn doubted(&self) {
        self.doubts.notified().await;
    }

    /// Waits until there were more cuts than these.
    pub(crate) async fn more_than(&self, count: usize) -> sqlx::Error {
        let mut counts = self.count.subscribe();
        // The sender is a field of `self`.
        let _cut = counts.wait_for(|now| *now > count).await;
        timed_out("the connection to the database was cut".to_owned())
    }

    /// Waits until an operation takes long, and there were more cuts than when its connection was opened.
    async fn interrupt(&self, count: usize) -> sqlx::Error {
        sleep(PATIENCE).await;
        self.doubts.notify_one();
        self.more_than(count).await
    }
}

/// Returns whether an error broke the connection or ended it.
fn is_broken(error: &sqlx::Error) -> bool {
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) => code.starts_with("08") || code.starts_with("57P"),
        None => queue_core::is_transient(error),
    }
}

/// Gives up on an operation that takes too long.
pub(crate) async fn timely<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, operation).await.unwrap_or_else(|_elapsed| {
        Err(timed_out(format!(
            "the database did not answer within {limit:?}"
        )))
    })
}

fn timed_out(message: String) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
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
    fn an_answer_to_an_earlier_question_does_not_end_an_outage() {
        let outage = Outage::default();
        let asked_before = Instant::now();
        outage.begin(&sqlx::Error::WorkerCrashed);
        outage.end(asked_before);
        assert!(outage.is_on());
        std::thread::sleep(Duration::from_millis(1));
        outage.end(Instant::now());
        assert!(!outage.is_on());
    }

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
