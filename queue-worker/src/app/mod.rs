//! An application: its state, its kinds of jobs, and its hooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use queue_core::recurring::{Kinds, NewJobOf, RecurringJob};
use queue_core::{EnqueueError, InvalidName, NewJob, Options, check_kind};
use serde_json::value::RawValue;

use self::context::Cx;
use self::handler::{Around, Handler, Work};
use self::hooks::{Hooks, JobEvent, ProcessEvent};
use self::perform::{Perform, PerformBlocking};
use self::reports::{ErrorReport, ReportOn, Reporter};
use self::run_error::RunError;

pub(crate) mod handler;
#[cfg(feature = "sentry")]
pub(crate) mod sentry;

pub(crate) mod reports;

pub(crate) mod hooks;
pub(crate) mod panics;
pub(crate) mod run_error;

pub(crate) mod perform;

pub(crate) mod children;
pub(crate) mod cursor;
pub(crate) mod join;
pub(crate) mod waits;

pub(crate) mod steps;

pub(crate) mod step;
pub(crate) mod step_error;

pub(crate) mod backoff;
pub(crate) mod context;

pub(crate) mod checkpoints;

pub(crate) mod unwritten;

pub(crate) mod log_lines;

/// The kinds of jobs that an application can run, and the state they share.
///
/// ```
/// # use queue_worker::{App, Cx, Job, Perform};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct SendWelcome { user_id: i64 }
/// # impl Job for SendWelcome { const KIND: &'static str = "send_welcome"; }
/// # struct Mailer;
/// # impl Perform<Mailer> for SendWelcome {
/// #     type Error = std::io::Error;
/// #     async fn perform(self, _cx: Cx<Mailer>) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// let app = App::new(Mailer)
///     .register::<SendWelcome>()
///     .on_failed(|job| eprintln!("{} {} failed", job.kind, job.job_id));
/// ```
pub struct App<S> {
    /// None until the command line has built it.
    pub(crate) state: Option<Arc<S>>,
    pub(crate) handlers: BTreeMap<String, Handler<S>>,
    pub(crate) hooks: Hooks,
    pub(crate) reporters: Vec<Reporter>,
    types: BTreeMap<&'static str, NewJobOf>,
    pub(crate) arounds: Vec<Box<Around<S>>>,
    recurring_jobs: Vec<RecurringJob>,
    pub(crate) version: &'static str,
    problems: Vec<InvalidApp>,
}

/// The state of an application, which all of its jobs share. Public functions write these bounds out.
pub(crate) trait State: Send + Sync + 'static {}

impl<S: Send + Sync + 'static> State for S {}

/// Why an application cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidApp {
    /// The name of a kind is invalid.
    #[error(transparent)]
    Kind(#[from] InvalidName),
    /// Two jobs have the same kind.
    #[error("the kind `{0}` is registered twice: give each job a kind of its own")]
    Duplicate(String),
    /// Two recurring jobs have the same name.
    #[error("the recurring job `{0}` is declared twice: give each a name of its own")]
    DuplicateRecurringJob(String),
    /// It is the one of a command line, which has not built the state yet.
    #[error("the application has no state yet: only its command line can run it")]
    NoState,
}

impl<S: Send + Sync + 'static> App<S> {
    /// Makes an application without any kinds of jobs.
    pub fn new(state: S) -> Self {
        Self::without_state().with_state(state)
    }

    pub(crate) fn without_state() -> Self {
        Self {
            state: None,
            handlers: BTreeMap::new(),
            hooks: Hooks::default(),
            reporters: Vec::new(),
            types: BTreeMap::new(),
            arounds: Vec::new(),
            recurring_jobs: Vec::new(),
            version: env!("CARGO_PKG_VERSION"),
            problems: Vec::new(),
        }
    }

    pub(crate) fn with_state(mut self, state: S) -> Self {
        self.state = Some(Arc::new(state));
        self
    }

    /// Sets the version of the program, such as `env!("CARGO_PKG_VERSION")`, which `--version` prints and pages
    /// show; otherwise it is that of the queue.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Adds a kind of job. Mistakes are reported together when the process is made.
    #[must_use]
    pub fn register<J: Perform<S>>(mut self) -> Self {
        self.types.insert(J::KIND, NewJob::of_json::<J>);
        self.add(J::KIND, Handler::of::<J>())
    }

    /// Adds a kind of job that blocks its thread.
    #[must_use]
    pub fn register_blocking<J: PerformBlocking<S>>(mut self) -> Self {
        self.types.insert(J::KIND, NewJob::of_json::<J>);
        self.add(J::KIND, Handler::of_blocking::<J>())
    }

    pub(crate) fn add(mut self, kind: &str, handler: Handler<S>) -> Self {
        if let Err(problem) = check_kind(kind) {
            self.problems.push(problem.into());
        } else if self.handlers.insert(kind.to_owned(), handler).is_some() {
            self.problems.push(InvalidApp::Duplicate(kind.to_owned()));
        }
        self
    }

    /// Declares a recurring job. It is stored when a process with a scheduler starts. If
    /// `scheduler.source` is set, it is removed when a process of that source starts without it; else
    /// such a process warns that it is still enqueued. Several programs may declare the same recurring
    /// job; one that differs is reported.
    ///
    /// ```
    /// # use queue_worker::{App, Cx, Job, Perform, RecurringJob};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Rescan { folder: String }
    /// # impl Job for Rescan { const KIND: &'static str = "rescan"; }
    /// # impl Perform<()> for Rescan {
    /// #     type Error = std::io::Error;
    /// #     async fn perform(self, _cx: Cx<()>) -> Result<(), std::io::Error> { Ok(()) }
    /// # }
    /// # fn app() -> Result<App<()>, queue_worker::InvalidRecurringJob> {
    /// let rescan = Rescan { folder: "/srv".to_owned() };
    /// let app = App::new(())
    ///     .register::<Rescan>()
    ///     .recurring(RecurringJob::new("rescan", "every 5 minutes", rescan)?);
    /// # Ok(app)
    /// # }
    /// # app().unwrap();
    /// ```
    #[must_use]
    pub fn recurring(mut self, recurring: RecurringJob) -> Self {
        let name = recurring.name();
        if self.recurring_jobs.iter().any(|other| other.name() == name) {
            let problem = InvalidApp::DuplicateRecurringJob(name.to_owned());
            self.problems.push(problem);
        } else {
            self.recurring_jobs.push(recurring);
        }
        self
    }

    /// Does something around each run of a job: gives it a transaction, a tenant or a span, or measures
    /// it. The function gets the context and the work, and awaits the work. What it returns is how the
    /// run ended, and the timeout of the job covers all of it. The function that was added first is the
    /// outermost. Arguments that do not fit their type are an error before it. Work that ended at a step,
    /// because the job was interrupted or sleeps, ends with `Ok`; see [`Cx::is_paused`].
    ///
    /// A job that blocks runs on a thread of its own, which does not see task-local values.
    ///
    /// ```
    /// # use queue_worker::App;
    /// let app = App::new(()).around(|cx, work| async move {
    ///     let began = std::time::Instant::now();
    ///     let ended = work.await;
    ///     println!("{} took {:?}", cx.attempt().kind, began.elapsed());
    ///     ended
    /// });
    /// ```
    #[must_use]
    pub fn around<F, R>(mut self, around: F) -> Self
    where
        F: Fn(Cx<S>, Work) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        let around = move |cx, work| around(cx, work).boxed();
        self.arounds.push(Box::new(around));
        self
    }

    /// Calls a function after a job was finished. Hooks are called in the order in which they were
    /// added, once the outcome is committed, by the process that has recorded it. A panic in a hook is
    /// logged.
    ///
    /// A hook must not block: no further outcomes are recorded until it returns. Hand longer work
    /// to a task or a channel.
    #[must_use]
    pub fn on_finished(mut self, hook: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.finished.push(Arc::new(hook));
        self
    }

    /// Calls a function after a run ended in an error, or with the death of its process, and the job
    /// will be retried. It must not block, as with [`on_finished`](Self::on_finished).
    #[must_use]
    pub fn on_retried(mut self, hook: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.retried.push(Arc::new(hook));
        self
    }

    /// Calls a function after a job failed for good. It must not block, as with
    /// [`on_finished`](Self::on_finished).
    #[must_use]
    pub fn on_failed(mut self, hook: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.failed.push(Arc::new(hook));
        self
    }

    /// Calls a function after a job was discarded or cancelled, by its run or because its limit had no
    /// room. It must not block, as with [`on_finished`](Self::on_finished). No hook is called about a job
    /// that an operator discards or cancels before it runs.
    #[must_use]
    pub fn on_discarded(mut self, hook: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.discarded.push(Arc::new(hook));
        self
    }

    /// Calls a function about failed runs, to report them to a service for errors. It is called on a thread
    /// of its own, about one run after the other, and may block. If it is so slow that a hundred
    /// reports wait, further ones are left out and logged. A panic is logged. A stop waits for the
    /// last reports, for as long as for [`on_stop`](Self::on_stop).
    ///
    /// ```
    /// # use queue_worker::{App, ReportOn};
    /// let app = App::new(()).report_errors(ReportOn::LastAttempt, |report| {
    ///     eprintln!("{} {}: {}", report.kind, report.job_id, report.error);
    /// });
    /// ```
    #[must_use]
    pub fn report_errors(
        mut self,
        on: ReportOn,
        report: impl Fn(&ErrorReport) + Send + Sync + 'static,
    ) -> Self {
        let reporter = Reporter::new(on, report, &mut self.hooks);
        self.reporters.push(reporter);
        self
    }

    /// Calls a function once the process has registered with the database, on a thread of its own. The
    /// process claims jobs when the function has returned, unless it was asked to stop meanwhile. A
    /// panic is logged. A stop waits two seconds for the function.
    #[must_use]
    pub fn on_start(mut self, hook: impl Fn(&ProcessEvent<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.started.push(Arc::new(hook));
        self
    }

    /// Calls a function once the process has stopped and holds no more jobs, like
    /// [`on_start`](Self::on_start). It may take what is left of the shutdown timeout, or two seconds if
    /// that is less.
    #[must_use]
    pub fn on_stop(mut self, hook: impl Fn(&ProcessEvent<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.stopped.push(Arc::new(hook));
        self
    }
}

impl<S> App<S> {
    /// Returns the kinds this application can run, sorted.
    pub fn kinds(&self) -> Vec<String> {
        self.handlers.keys().cloned().collect()
    }

    /// Returns the recurring jobs of this application.
    pub fn recurring_jobs(&self) -> &[RecurringJob] {
        &self.recurring_jobs
    }

    /// Makes a job by its kind and its arguments as JSON, for forms and commands. It has the options, the
    /// limits and the unique key of its type; a kind that is not registered has default options.
    ///
    /// # Errors
    /// Refuses arguments that do not fit the type of the kind.
    pub fn new_job(&self, kind: &str, args: &RawValue) -> Result<NewJob, EnqueueError> {
        match self.types.get(kind) {
            Some(new_job) => new_job(args),
            None => Ok(NewJob::untyped(kind, args, Options::new())),
        }
    }

    /// Returns the kinds and their types, for a scheduler or a dashboard that enqueues recurring jobs by hand:
    /// the jobs follow the limits and the unique keys of their types.
    pub fn known_kinds(&self) -> Kinds {
        Kinds {
            known: Some(self.kinds()),
            types: self.types.clone(),
        }
    }

    /// Returns everything that is wrong with the application.
    pub fn problems(&self) -> &[InvalidApp] {
        &self.problems
    }
}

impl<S> std::fmt::Debug for App<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("kinds", &self.handlers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
