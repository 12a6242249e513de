//! A process: its workers and services, from its registration to its end.
//!
//! A process has one id until it stops, is declared dead by others, or must expect to be. In the
//! latter cases it stops its jobs and starts a new life under a new id.

mod lives;

mod life;
mod parts;

mod served;

mod limits;
mod queues;

use std::collections::BTreeSet;
use std::mem;
use std::panic::resume_unwind;
use std::sync::Arc;

use futures_util::future::join_all;
use queue_core::recurring::RecurringJob;
use queue_core::{InvalidName, NoKeys, Queue, Shards};
use tokio::sync::OnceCell;
use tokio::task::JoinError;
use tracing::Instrument as _;

use crate::app::hooks::{Privacy, call_process_hooks};
use crate::app::panics;
use crate::app::reports::{Reporter, Reporting};
use crate::app::{App, InvalidApp};
use crate::config::{InvalidSetting, Settings};
use crate::connection::Target;
use crate::health::Health;
#[cfg(feature = "cli")]
use crate::health::HealthOfShards;
use crate::metrics::Readings;
use crate::services::scheduler::Declared;
use crate::spans::of_shard;
use crate::stop::{Stop, stop_on_signals};
use served::Served;

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
    name: String,
    app: Arc<App<S>>,
    /// One for each shard that it serves, or one.
    served: Vec<Served<S>>,
    reporters: Vec<Reporter>,
    /// Whether the hooks about its start were called.
    has_started: Arc<OnceCell<()>>,
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
    /// It is to serve a shard that does not exist.
    #[error("there is no shard `{0}`")]
    NoShard(String),
    /// It is to serve no shard.
    #[error("the process serves no shard: name at least one")]
    NoShards,
    /// It is to serve so many shards that it would need too many connections.
    #[error(
        "the process serves {0} shards: name at most {SHARDS_MAX} (`--shards`), and let others serve the rest"
    )]
    TooManyShards(usize),
}

/// The most shards that a process serves, because it has connections of its own on each.
pub const SHARDS_MAX: usize = 16;

fn listed(problems: &[ProcessProblem]) -> String {
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let is_setting = |problem: &ProcessProblem| matches!(problem, ProcessProblem::Setting(_));
    if problems.iter().any(is_setting) {
        lines.push("(`Settings::load()` reads settings from queue.toml and QUEUE_…)".to_owned());
    }
    lines.join("\n")
}

impl<S: Send + Sync + 'static> Process<S> {
    /// Makes a process for an application.
    ///
    /// # Errors
    /// Returns everything that is wrong with the application and the settings.
    pub fn new(queue: Queue, app: App<S>, settings: Settings) -> Result<Self, InvalidProcess> {
        let queues = vec![(None, queue)];
        let problems = problems(&app, &settings, &queues);
        Self::serving(None, queues, problems, app, settings)
    }

    /// Makes a process that serves one, several or all of the shards, given their names: at most [`SHARDS_MAX`],
    /// because it has up to ten connections of its own on each. It goes on with the others while one is away. The concurrency of each worker is divided among them, with at least one job at once on
    /// each. A recurring job that it declares is on one shard, which its name decides.
    ///
    /// # Errors
    /// Returns everything that is wrong with the application and the settings, and names that no shard has.
    pub fn of_shards<'a>(
        shards: &Shards,
        served: impl IntoIterator<Item = &'a str>,
        app: App<S>,
        settings: Settings,
    ) -> Result<Self, InvalidProcess> {
        let (mut queues, mut unknown) = (Vec::new(), Vec::new());
        for name in BTreeSet::from_iter(served) {
            match shards.get(name) {
                Some(queue) => queues.push((Some(Arc::from(name)), queue.clone())),
                None => unknown.push(ProcessProblem::NoShard(name.to_owned())),
            }
        }
        for recurring in app.recurring_jobs() {
            if let Some(warning) = others_elsewhere(shards, recurring) {
                tracing::warn!("{warning}");
            }
        }
        let mut problems = problems(&app, &settings, &queues);
        problems.extend(unknown);
        match queues.len() {
            0 if problems.is_empty() => problems.push(ProcessProblem::NoShards),
            count if count > SHARDS_MAX => problems.push(ProcessProblem::TooManyShards(count)),
            _ => {}
        }
        Self::serving(Some(shards), queues, problems, app, settings)
    }

    fn serving(
        shards: Option<&Shards>,
        queues: Vec<(Option<Arc<str>>, Queue)>,
        problems: Vec<ProcessProblem>,
        mut app: App<S>,
        mut settings: Settings,
    ) -> Result<Self, InvalidProcess> {
        if !problems.is_empty() {
            return Err(InvalidProcess { problems });
        }
        let name = settings.process.name.clone().unwrap_or_else(default_name);
        app.hooks.privacy = Arc::new(Privacy::of(&settings));
        for worker in &mut settings.workers {
            worker.concurrency = worker.concurrency.div_ceil(queues.len());
        }
        let reporters = mem::take(&mut app.reporters);
        let (app, settings) = (Arc::new(app), Arc::new(settings));
        let has_started = Arc::default();
        let served = queues.into_iter().map(|(shard, queue)| Served {
            declared: Arc::new(declared(&app, &settings, shards, shard.as_deref())),
            readings: Readings::new(queue.pool(), shard.as_deref()),
            target: Arc::new(target(&queue, &name)),
            health: Health::new(settings.process.silent_after()),
            name: name.clone(),
            app: Arc::clone(&app),
            settings: Arc::clone(&settings),
            reported: Arc::default(),
            counts: Arc::default(),
            asked: Arc::default(),
            has_started: Arc::clone(&has_started),
            shard,
            queue,
        });
        Ok(Self {
            served: served.collect(),
            name,
            app,
            reporters,
            has_started,
        })
    }

    #[cfg(feature = "cli")]
    pub(crate) fn health(&self) -> HealthOfShards {
        let served = self.served.iter();
        HealthOfShards::new(served.map(|served| (served.shard.clone(), served.health.clone())))
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

    async fn run_lives(self, stop: Stop) {
        panics::install_hook();
        let reporting = Reporting::start(self.reporters);
        tracing::info!(process = self.name, kinds = ?self.app.kinds(), "starting");
        let lives = self.served.into_iter().map(|served| {
            let span = of_shard(served.shard.as_deref());
            tokio::spawn(lives::run(served, stop.clone()).instrument(span))
        });
        let mut deadline = None;
        for ended in join_all(lives).await {
            match ended.map_err(JoinError::try_into_panic) {
                Ok(of_shard) => deadline = deadline.max(of_shard),
                Err(Ok(panic)) => resume_unwind(panic),
                Err(Err(_shutting_down)) => {}
            }
        }
        let given_up = life::stopped_for_long(&stop, deadline);
        reporting.finish(given_up).await;
        if self.has_started.initialized() {
            let given_up = life::stopped_for_long(&stop, deadline);
            let hooks = &self.app.hooks.stopped;
            call_process_hooks("on_stop", hooks, &self.name, given_up).await;
        }
        tracing::info!(process = self.name, "stopped");
    }
}

/// Returns what is wrong with an application and its settings.
fn problems<S>(
    app: &App<S>,
    settings: &Settings,
    queues: &[(Option<Arc<str>>, Queue)],
) -> Vec<ProcessProblem> {
    let of_app = app.problems().iter().cloned();
    let mut problems: Vec<ProcessProblem> = of_app.map(Into::into).collect();
    if app.state.is_none() {
        problems.push(InvalidApp::NoState.into());
    }
    problems.extend(settings.problems().into_iter().map(Into::into));
    let mut queues = queues.iter();
    if queues.any(|(_, queue)| queue.schema().keys().is_none()) {
        let handlers = app.handlers.iter();
        let encrypted = handlers.filter(|(_, handler)| handler.policy.is_encrypted);
        problems.extend(encrypted.map(|(kind, _)| NoKeys(kind.clone()).into()));
    }
    problems
}

/// Returns a warning if the jobs of a recurring job are not on the shard of other jobs with their limit or unique key.
pub(crate) fn others_elsewhere(shards: &Shards, recurring: &RecurringJob) -> Option<String> {
    let (others, name) = (shards.shard_of_others(recurring)?, recurring.name());
    let (own, _) = shards.shard_of_recurring(name);
    Some(format!(
        "the jobs of the recurring job `{name}` are on {own}, and other jobs with their limit or unique key are on \
         {others}: they do not count together"
    ))
}

/// Returns the recurring jobs that the process declares; on a shard, those that belong to it.
fn declared<S>(
    app: &App<S>,
    settings: &Settings,
    shards: Option<&Shards>,
    shard: Option<&str>,
) -> Declared {
    let all = app.recurring_jobs().iter().cloned();
    let (here, elsewhere) = all.partition(|recurring: &RecurringJob| {
        shards.is_none_or(|shards| Some(shards.shard_of_recurring(recurring.name()).0) == shard)
    });
    let source = settings.scheduler.source.clone();
    Declared::new(source, program_name(), here, elsewhere)
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
