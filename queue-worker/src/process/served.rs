//! A queue that a process serves, with what the process knows of it, from its registration to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::counts::append;
use queue_core::operations::processes::ask;
use queue_core::origin::is_original;
use queue_core::process::{Asked, ProcessId, ProcessInfo, deregister, register};
use queue_core::{Queue, migrate};
use serde_json::json;
use sqlx::PgConnection;
use tokio::sync::{OnceCell, watch};

use super::{PLANNER_SETTINGS, host_name, limits, queues};
use crate::app::App;
use crate::app::hooks::Hooks;
use crate::completer::EndCounts;
use crate::config::Settings;
use crate::connection::{Connection, RetryDelay, Target, logged, timely};
use crate::health::Health;
use crate::metrics::Readings;
use crate::services::maintenance::Reported;
use crate::services::scheduler::Declared;
use crate::stop::Stop;

/// How long a process that must end at once still tries to give back its jobs and to remove its
/// row.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Settings that the statements of a process rely on. They replace defaults of the database and the role.
const SESSION_SETTINGS: [(&str, &str); 3] = [
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("search_path", "pg_catalog"),
];

/// A queue that a process serves: that of its application, or one of several shards.
pub(super) struct Served<S> {
    /// The name of the shard, if it is one.
    pub(super) shard: Option<Arc<str>>,
    pub(super) queue: Queue,
    pub(super) app: Arc<App<S>>,
    pub(super) settings: Arc<Settings>,
    pub(super) target: Arc<Target>,
    pub(super) name: String,
    pub(super) declared: Arc<Declared>,
    pub(super) reported: Arc<Reported>,
    pub(super) counts: Arc<EndCounts>,
    pub(super) readings: Readings,
    pub(super) health: Health,
    /// What it was last asked to do. A new life is quiet if the last one was.
    pub(super) asked: Arc<watch::Sender<Asked>>,
    /// Whether the hooks about the start of the process were called.
    pub(super) has_started: Arc<OnceCell<()>>,
}

/// What keeps a process from running jobs in a database.
#[derive(Clone, Copy, PartialEq)]
enum Hindrance {
    /// The tables are missing or older than this program. Newer ones are no hindrance.
    NotMigrated,
    /// It is a restored copy.
    NotAccepted,
}

impl Hindrance {
    /// Says it to those who ask whether the process is ready.
    fn as_str(self) -> &'static str {
        match self {
            Self::NotMigrated => {
                "the tables are missing or older than this program: run `queue migrate`"
            }
            Self::NotAccepted => {
                "the database is a restored copy: to run its jobs, use `queue restored accept`"
            }
        }
    }

    fn report(self) {
        match self {
            Self::NotMigrated => tracing::error!(
                "the tables of the queue are missing or older than this program, so no job is run: run \
                 `queue migrate`"
            ),
            Self::NotAccepted => tracing::error!(
                "this database is a restored copy, so no job is run: to run its jobs here, use \
                 `queue restored accept`"
            ),
        }
    }
}

impl<S: Send + Sync + 'static> Served<S> {
    /// Registers the process, and retries that until the database is there, is migrated, and is not a restored
    /// copy that waits to be accepted. Returns whether this was done before the process was asked to stop.
    pub(super) async fn register(
        &self,
        process: ProcessId,
        stop: &Stop,
        starts_over: bool,
    ) -> bool {
        let mut delay = RetryDelay::default();
        let mut connection = self.connection();
        let info = self.info();
        let mut reported = None;
        loop {
            let registered = tokio::select! {
                () = stop.asked() => {
                    // The row may have been written although the answer is missing.
                    self.deregister(process).await;
                    return false;
                }
                registered = connection.run(async |conn| {
                    self.register_unless(conn, process, &info, starts_over).await
                }) => registered,
            };
            match registered {
                Ok(None) => {
                    connection.close().await;
                    self.health.note_heartbeat(Instant::now());
                    return true;
                }
                Ok(Some(hindrance)) => {
                    self.health.note_waiting(hindrance.as_str());
                    if reported.replace(hindrance) != Some(hindrance) {
                        hindrance.report();
                    }
                }
                Err(error) => self.report_unregistered(&error),
            }
            tokio::select! {
                () = stop.asked() => return false,
                () = tokio::time::sleep(delay.next()) => {}
            }
        }
    }

    /// Registers the process, unless something hinders it.
    ///
    /// The limits are declared before, so that no job exceeds them; but not when the process starts
    /// over, because a newer program may have declared others meanwhile.
    async fn register_unless(
        &self,
        conn: &mut PgConnection,
        process: ProcessId,
        info: &ProcessInfo,
        starts_over: bool,
    ) -> Result<Option<Hindrance>, sqlx::Error> {
        let schema = self.queue.schema();
        if migrate::status(conn, schema).await?.missing() > 0 {
            return Ok(Some(Hindrance::NotMigrated));
        }
        if !is_original(conn, schema).await? {
            return Ok(Some(Hindrance::NotAccepted));
        }
        if !starts_over {
            limits::declare(conn, schema, &self.settings.limits).await?;
            queues::declare(conn, schema, &self.settings.queues).await?;
        }
        register(conn, schema, process, info).await?;
        let Asked { request, by } = self.asked.borrow().clone();
        if request.is_some() {
            ask(conn, schema, process.0, request, by.as_deref()).await?;
        }
        Ok(None)
    }

    fn report_unregistered(&self, error: &sqlx::Error) {
        if !self.target.outage().is_on() {
            tracing::warn!(
                error = %logged(error),
                "could not register with the database; retrying",
            );
        }
    }

    /// Appends what was counted since the last heartbeat.
    pub(super) async fn append_counts(&self) {
        let schema = self.queue.schema();
        let appending = self.counts.append(async |counts| {
            self.try_once(async |conn| append(conn, schema, counts).await)
                .await
        });
        appending.await;
    }

    /// Removes the row of a life that is over.
    pub(super) async fn deregister(&self, process: ProcessId) {
        let left = self
            .try_once(async |conn| deregister(conn, self.queue.schema(), process).await)
            .await;
        if let Err(error) = left {
            tracing::warn!(error = %logged(&error), "could not remove the row of this process");
        }
    }

    /// Runs an operation on a connection of its own, and gives up after [`EXIT_TIMEOUT`].
    pub(super) async fn try_once<T>(
        &self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut connection = self.connection();
        let answer = timely(EXIT_TIMEOUT, connection.run(operation)).await;
        connection.close().await;
        answer
    }

    pub(super) fn connection(&self) -> Connection {
        Connection::new(
            &self.target,
            &[&PLANNER_SETTINGS[..], &SESSION_SETTINGS].concat(),
        )
    }

    /// Returns the hooks of the application, for the jobs of this queue.
    pub(super) fn hooks(&self) -> Hooks {
        Hooks {
            shard: self.shard.clone(),
            ..self.app.hooks.clone()
        }
    }

    fn info(&self) -> ProcessInfo {
        let workers = &self.settings.workers;
        let queues = workers.iter().map(|worker| worker.queues.to_string());
        let concurrency: usize = workers.iter().map(|worker| worker.concurrency).sum();
        ProcessInfo {
            name: self.name.clone(),
            host: host_name(),
            pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            version: self.app.version.to_owned(),
            details: json!({
                "queues": queues.collect::<Vec<_>>(),
                "kinds": self.app.kinds(),
                "concurrency": concurrency,
                "dispatcher": self.settings.dispatcher.enabled,
                "scheduler": self.settings.scheduler.enabled,
                "maintenance": self.settings.maintenance.enabled,
                "source": self.declared.source(),
            }),
        }
    }
}
