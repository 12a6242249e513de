//! A process: its workers and services, from its registration to its end.
//!
//! A process has one id until it stops, is declared dead by others, or must expect to be. In the
//! latter cases it stops its jobs and starts a new life under a new id.

mod life;
mod limits;
mod parts;
mod queues;

use std::mem;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::counts::append;
use queue_core::operations::processes::ask;
use queue_core::origin::is_original;
use queue_core::process::{Asked, ProcessId, ProcessInfo, deregister, register};
use queue_core::{InvalidName, NoKeys, Queue, migrate};
use serde_json::json;
use sqlx::PgConnection;
use tokio::sync::watch;

use crate::app::hooks::{Privacy, call_process_hooks};
use crate::app::panics;
use crate::app::reports::{Reporter, Reporting};
use crate::app::{App, InvalidApp};
use crate::completer::EndCounts;
use crate::config::{InvalidSetting, Settings};
use crate::connection::{Connection, RetryDelay, Target, logged, timely};
use crate::health::Health;
use crate::metrics::Readings;
use crate::services::maintenance::Reported;
use crate::services::scheduler::Declared;
use crate::stop::{Stop, stop_on_signals};

/// How long a process that must end at once still tries to give back its jobs and to remove its
/// row.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything one process runs: workers, a dispatcher, a scheduler, and maintenance.
///
/// Nothing replaces a process that has ended: let a service manager start it again. A stack overflow in a
/// job, or a kill for want of memory, ends the process with all of its jobs, which other processes run again.
///
/// ```no_run
/// # use queue_worker::{App, Process, Queue, Settings};
/// # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let process = Process::new(Queue::new(pool), App::new(()), Settings::load()?)?;
/// process.run_until_signal().await;
/// # Ok(())
/// # }
/// ```
pub struct Process<S> {
    queue: Queue,
    app: Arc<App<S>>,
    settings: Arc<Settings>,
    target: Arc<Target>,
    name: String,
    declared: Arc<Declared>,
    reported: Arc<Reported>,
    counts: Arc<EndCounts>,
    readings: Readings,
    health: Health,
    /// What it was last asked to do. A new life is quiet if the last one was.
    asked: Arc<watch::Sender<Asked>>,
    reporters: Vec<Reporter>,
}

/// Why a process cannot be started: everything that is wrong, at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", listed(problems))]
pub struct InvalidProcess {
    /// Each thing that is wrong.
    pub problems: Vec<ProcessProblem>,
}

/// One reason why a process cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessProblem {
    /// The application is invalid.
    #[error(transparent)]
    App(#[from] InvalidApp),
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// A name is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A kind is encrypted, and there are no keys.
    #[error(transparent)]
    NoKeys(#[from] NoKeys),
}

fn listed(problems: &[ProcessProblem]) -> String {
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let is_setting = |problem: &ProcessProblem| matches!(problem, ProcessProblem::Setting(_));
    if problems.iter().any(is_setting) {
        lines.push("(`Settings::load()` reads settings from queue.toml and QUEUE_…)".to_owned());
    }
    lines.join("\n")
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

impl<S: Send + Sync + 'static> Process<S> {
    /// Makes a process for an application.
    ///
    /// # Errors
    /// Returns everything that is wrong with the application and the settings.
    pub fn new(queue: Queue, mut app: App<S>, settings: Settings) -> Result<Self, InvalidProcess> {
        let mut problems: Vec<ProcessProblem> =
            app.problems().iter().cloned().map(Into::into).collect();
        if app.state.is_none() {
            problems.push(InvalidApp::NoState.into());
        }
        problems.extend(settings.problems().into_iter().map(Into::into));
        if queue.schema().keys().is_none() {
            let handlers = app.handlers.iter();
            let encrypted = handlers.filter(|(_, handler)| handler.policy.is_encrypted);
            problems.extend(encrypted.map(|(kind, _)| NoKeys(kind.clone()).into()));
        }
        if !problems.is_empty() {
            return Err(InvalidProcess { problems });
        }
        let name = settings.process.name.clone().unwrap_or_else(default_name);
        let recurring_jobs = app.recurring_jobs().to_vec();
        let source = settings.scheduler.source.clone();
        let declared = Declared::new(source, program_name(), recurring_jobs);
        let target = Arc::new(target(&queue, &name));
        let silent_after = settings.process.silent_after();
        app.hooks.privacy = Arc::new(Privacy::of(&settings));
        Ok(Self {
            readings: Readings::new(queue.pool()),
            queue,
            reporters: mem::take(&mut app.reporters),
            app: Arc::new(app),
            settings: Arc::new(settings),
            target,
            name,
            declared: Arc::new(declared),
            reported: Arc::default(),
            counts: Arc::default(),
            health: Health::new(silent_after),
            asked: Arc::default(),
        })
    }

    #[cfg(feature = "cli")]
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Runs until a signal. TERM and INT let running jobs finish within the shutdown timeout. QUIT, or
    /// another signal after more than a second, ends the process at once.
    pub async fn run_until_signal(self) {
        let stop = Stop::new();
        let signals = tokio::spawn(stop_on_signals(stop.clone()));
        self.run(stop).await;
        signals.abort();
    }

    /// Runs until a future is ready, then stops as on TERM. A web service can run its workers
    /// inside its own process this way, with the shutdown signal that it already has.
    pub async fn run_until(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let stop = Stop::new();
        let asked = stop.clone();
        let waiting = tokio::spawn(async move {
            shutdown.await;
            asked.gracefully();
        });
        self.run(stop).await;
        waiting.abort();
    }

    /// Runs until `stop` is used. If the returned future is dropped before that, the process stops
    /// as on TERM, in the background.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn run(self, stop: Stop) {
        let _stops_when_dropped = stop.guard();
        // A request to stop this process does not stop others with the same handle.
        if let Err(ended) = tokio::spawn(self.run_lives(stop.child())).await
            && let Ok(panic) = ended.try_into_panic()
        {
            resume_unwind(panic);
        }
    }

    async fn run_lives(mut self, stop: Stop) {
        panics::install_hook();
        let reporting = Reporting::start(mem::take(&mut self.reporters));
        tracing::info!(process = self.name, kinds = ?self.app.kinds(), "starting");
        let hooks = &self.app.hooks;
        let mut has_started = false;
        let mut deadline = None;
        while !stop.is_asked() {
            let id = ProcessId::new();
            if !self.register(id, &stop, has_started).await {
                break;
            }
            if !mem::replace(&mut has_started, true) {
                let given_up = life::stopped_for_long(&stop, None);
                call_process_hooks("on_start", &hooks.started, &self.name, given_up).await;
                if stop.is_asked() {
                    self.deregister(id).await;
                    break;
                }
            }
            deadline = life::live(&self, id, &stop).await;
        }
        let given_up = life::stopped_for_long(&stop, deadline);
        reporting.finish(given_up).await;
        if has_started {
            let given_up = life::stopped_for_long(&stop, deadline);
            call_process_hooks("on_stop", &hooks.stopped, &self.name, given_up).await;
        }
        tracing::info!(process = self.name, "stopped");
    }

    /// Registers the process, and retries that until the database is there, is migrated, and is not a restored
    /// copy that waits to be accepted. Returns whether this was done before the process was asked to stop.
    async fn register(&self, process: ProcessId, stop: &Stop, starts_over: bool) -> bool {
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
    async fn append_counts(&self) {
        let schema = self.queue.schema();
        let appending = self.counts.append(async |counts| {
            self.try_once(async |conn| append(conn, schema, counts).await)
                .await
        });
        appending.await;
    }

    /// Removes the row of a life that is over.
    async fn deregister(&self, process: ProcessId) {
        let left = self
            .try_once(async |conn| deregister(conn, self.queue.schema(), process).await)
            .await;
        if let Err(error) = left {
            tracing::warn!(error = %logged(&error), "could not remove the row of this process");
        }
    }

    /// Runs an operation on a connection of its own, and gives up after [`EXIT_TIMEOUT`].
    async fn try_once<T>(
        &self,
        operation: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut connection = self.connection();
        let answer = timely(EXIT_TIMEOUT, connection.run(operation)).await;
        connection.close().await;
        answer
    }

    fn connection(&self) -> Connection {
        Connection::new(
            &self.target,
            &[&PLANNER_SETTINGS[..], &SESSION_SETTINGS].concat(),
        )
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

/// Makes our connections use indexes wherever there is one: plans must not depend on statistics
/// that were taken while a table was empty.
#[doc(hidden)]
pub const PLANNER_SETTINGS: [(&str, &str); 6] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

/// Settings that the statements of a process rely on. They replace defaults of the database and the role.
const SESSION_SETTINGS: [(&str, &str); 3] = [
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("search_path", "pg_catalog"),
];

fn target(queue: &Queue, name: &str) -> Target {
    let name: String = name.chars().take(50).collect();
    Target::new(queue, format!("queue {name}"))
}

fn default_name() -> String {
    format!("{}.{}", host_name(), std::process::id())
}

/// What schedules are declared by unless the settings say otherwise. It is the same for every
/// process of a program, wherever it runs, but perhaps for those of another deployment, too.
fn program_name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_stem();
    let name = name.unwrap_or("program".as_ref());
    name.to_string_lossy().into_owned()
}

pub(crate) fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}
