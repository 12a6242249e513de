//! Error reports: failed runs, given to a function that may take its time, such as one that sends them to a
//! service for errors.
//!
//! Hooks of the job make the reports, because they know how each run ended. A thread calls the function: the
//! completer does not wait for it.

use std::sync::Arc;
use std::thread;

use futures_util::future::join_all;
use queue_core::JobId;
use queue_core::inspect::cause_of;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::hooks::{Hooks, JobEvent, JobHook, panics};

/// How many reports wait for the function at most: with their arguments, they may be large.
const WAITING_MAX: usize = 100;

/// Which failed runs are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOn {
    /// Each run that ended in an error, or with the death of its process.
    EachFailure,
    /// Only the run after which the job failed for good.
    LastAttempt,
}

/// A failed run and its job, without what people must not see.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorReport {
    /// The job. Jobs of other shards have the same ids.
    pub job_id: JobId,
    /// The shard it is on, if the queue has shards.
    pub shard: Option<String>,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its labels.
    pub tags: Vec<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// The request in which it was enqueued.
    pub request_id: Option<String>,
    /// The trace in which it was enqueued, as 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The user for whom it was enqueued, if the setting `log.user` allows to name users.
    pub user: Option<String>,
    /// Its arguments, as redacted JSON.
    pub args: Box<RawValue>,
    /// The number of the run.
    pub attempt: i32,
    /// The runs that ended in an error.
    pub failures: i16,
    /// The runs that may end in an error before the job fails.
    pub attempts_max: i16,
    /// Whether the job failed for good.
    pub is_last: bool,
    /// The error with its causes, redacted.
    pub error: String,
    /// The first line of the error without what differs from job to job, such as ids and hosts.
    pub cause: String,
    /// The backtrace, if there is one.
    pub backtrace: Option<String>,
}

impl ErrorReport {
    fn of(event: &JobEvent<'_>, is_last: bool) -> Self {
        let (context, privacy) = (event.context, event.privacy);
        let error = event.error.unwrap_or_default();
        let error = privacy.redaction.error(event.kind, error).into_owned();
        let user = context.user.clone();
        Self {
            job_id: event.job_id,
            shard: event.shard.map(str::to_owned),
            kind: event.kind.to_owned(),
            queue: event.queue.to_owned(),
            tags: event.tags.to_vec(),
            tenant: context.tenant.clone(),
            request_id: context.request_id.clone(),
            trace_id: context.trace_id().map(str::to_owned),
            user: user.filter(|_| privacy.shows_user),
            args: privacy.redaction.args(event.kind, event.args),
            attempt: event.attempt,
            failures: event.failures,
            attempts_max: event.attempts_max,
            is_last,
            cause: cause_of(&error),
            error,
            backtrace: event.backtrace.map(str::to_owned),
        }
    }
}

/// A function that is called about errors, and the reports that wait for it.
pub(crate) struct Reporter {
    reports: mpsc::Receiver<ErrorReport>,
    report: Box<dyn Fn(&ErrorReport) + Send + Sync>,
}

impl Reporter {
    /// Makes a reporter, and adds the hooks that make its reports.
    pub(super) fn new(
        on: ReportOn,
        report: impl Fn(&ErrorReport) + Send + Sync + 'static,
        hooks: &mut Hooks,
    ) -> Self {
        let (sender, reports) = mpsc::channel(WAITING_MAX);
        if on == ReportOn::EachFailure {
            hooks.retried.push(sends(sender.clone(), false));
        }
        hooks.failed.push(sends(sender, true));
        Self {
            reports,
            report: Box::new(report),
        }
    }

    /// Calls the function about each report, until the process has stopped and none is left.
    fn run(mut self, runtime: &Handle, stopped: &CancellationToken) {
        while let Some(report) = runtime.block_on(self.next(stopped)) {
            if panics(|| (self.report)(&report)) {
                tracing::error!(
                    job_id = %report.job_id,
                    kind = report.kind,
                    queue = report.queue,
                    attempt = report.attempt,
                    "a function that reports errors panicked",
                );
            }
        }
    }

    async fn next(&mut self, stopped: &CancellationToken) -> Option<ErrorReport> {
        tokio::select! {
            biased;
            report = self.reports.recv() => return report,
            () = stopped.cancelled() => self.reports.close(),
        }
        self.reports.recv().await
    }
}

/// Returns a hook that makes a report. If too many wait, it is left out: the error is in the log, too.
fn sends(sender: mpsc::Sender<ErrorReport>, is_last: bool) -> JobHook {
    Arc::new(move |event| match sender.try_reserve() {
        Ok(place) => place.send(ErrorReport::of(event, is_last)),
        Err(_) => tracing::warn!(
            job_id = %event.job_id,
            kind = event.kind,
            queue = event.queue,
            attempt = event.attempt,
            "the error is not reported: {WAITING_MAX} reports wait already",
        ),
    })
}

/// The threads on which reporters run. They end when the application is dropped, at the latest.
pub(crate) struct Reporting {
    stopped: CancellationToken,
    threads: Vec<oneshot::Receiver<()>>,
}

impl Reporting {
    /// Starts a thread for each reporter: one that never returns keeps no runtime from ending.
    pub(crate) fn start(reporters: Vec<Reporter>) -> Self {
        let stopped = CancellationToken::new();
        let start = |reporter: Reporter| {
            let (ended, has_ended) = oneshot::channel();
            let (runtime, stopped) = (Handle::current(), stopped.clone());
            thread::spawn(move || {
                let _runtime = runtime.enter();
                reporter.run(&runtime, &stopped);
                let _given_up = ended.send(());
            });
            has_ended
        };
        Self {
            threads: reporters.into_iter().map(start).collect(),
            stopped,
        }
    }

    /// Waits until the last reports are out, or until `given_up` is ready.
    pub(crate) async fn finish(self, given_up: impl Future<Output = ()>) {
        self.stopped.cancel();
        tokio::select! {
            _ended = join_all(self.threads) => {}
            () = given_up => tracing::warn!("the last errors could not be reported in time"),
        }
    }
}
