//! Runs one job. Application code is called only from here, and its panics, timeouts and errors end
//! in this file.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use opentelemetry::context::FutureExt as _;
use queue_core::Queue;
use queue_core::encryption::Unopened;
use queue_core::process::ProcessId;
use queue_core::steps::progress::LOG;
use queue_core::transitions::claim::ClaimedJob;
use queue_core::transitions::end::End;
use queue_core::transitions::{AttemptError, Ending, Run};
use tracing::Instrument as _;

use super::handover::Handover;
use super::in_flight::{InFlightJob, StopReason};
use super::judge::{
    Verdict, cancelled_before_start, dropped, interrupted_too_often, judge, paused, uncommitted,
    unopened, unreadable_context,
};
use super::logged::Logged;
use super::prefetch::Prefetch;
use super::trace;
use crate::app::App;
use crate::app::checkpoints::{Pause, RunSteps, StepService};
use crate::app::context::{Attempt, Cx, RunContext};
use crate::app::handler::{Handler, Slot, Work};
use crate::app::hooks::Hooks;
use crate::app::log_lines::{self, Lines};
use crate::app::panics;
use crate::app::run_error::RunError;
use crate::health::Health;
use crate::metrics::note_start;
use crate::stop::Stop;

/// The share of its timeout that a run may go on at most when it has reached it.
const TIMEOUT_GRACE_SHARE: u32 = 10;

/// The name under which a job counts how often it was interrupted.
const RESUMPTIONS: &str = "@resumptions";

/// A run that is over, and the verdict on it.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) run: Run,
    pub(crate) job: Arc<InFlightJob>,
    pub(crate) verdict: Verdict,
    /// Where the next job waits, if the job hands its slot over.
    pub(crate) prefetch: Weak<Prefetch>,
    /// How long the job was ready before the run began.
    pub(crate) waited: Duration,
    /// The job, for the hooks, if one may be called.
    pub(crate) for_hooks: Option<Box<ClaimedJob>>,
}

impl Completion {
    /// Returns the right to hand the slot of the job over, and where the next job would wait, if that may
    /// happen now.
    pub(crate) fn handover(&self, now: Instant) -> Option<(&Handover, Arc<Prefetch>)> {
        let handover = self.job.handover.as_ref()?;
        let prefetch = self.prefetch.upgrade()?;
        (handover.is_open(now) && !prefetch.is_closed()).then_some((handover, prefetch))
    }

    /// Returns how the run ended, unless the job did its work.
    pub(crate) fn end(&self) -> Option<&End> {
        match &self.verdict {
            Verdict::Finish => None,
            Verdict::End(end) => Some(end),
        }
    }
}

/// Keeps a job for the hooks, if one may be called after this verdict.
pub(crate) fn for_hooks(
    hooks: &Hooks,
    verdict: &Verdict,
    job: ClaimedJob,
) -> Option<Box<ClaimedJob>> {
    let is_told = match verdict {
        Verdict::Finish => !hooks.finished.is_empty(),
        // A job that finished itself in a transaction of its own has an end too.
        Verdict::End(_) => hooks.need_errors() || !hooks.finished.is_empty(),
    };
    is_told.then(|| Box::new(job))
}

/// What every run of a process shares.
pub(crate) struct Runner<S> {
    pub(crate) app: Arc<App<S>>,
    /// The hooks of the application, which know the shard of the jobs.
    pub(crate) hooks: Hooks,
    pub(crate) queue: Queue,
    pub(crate) process: ProcessId,
    /// The time between asking a job to stop and dropping it.
    pub(crate) cancel_grace: Duration,
    pub(crate) stop: Stop,
    pub(crate) health: Health,
    /// Whether the last log lines of all runs are kept.
    pub(crate) keep_logs: bool,
    pub(crate) steps: Arc<StepService>,
}

impl<S: Send + Sync + 'static> Runner<S> {
    /// Runs a job to its end, and returns the verdict on it.
    pub(crate) async fn run(
        &self,
        mut job: ClaimedJob,
        in_flight: Arc<InFlightJob>,
        slot: Slot,
    ) -> Completion {
        let logged = Logged::of(&in_flight.context, self.hooks.privacy.shows_user);
        let span = tracing::info_span!(
            "job",
            job_id = %job.claim.job_id(),
            kind = job.kind,
            queue = job.queue,
            attempt = job.claim.attempt(),
            tenant = logged.tenant,
            request_id = logged.request_id,
            trace_id = logged.trace_id,
            user = logged.user,
        );
        let started = Instant::now();
        let waited = started.duration_since(in_flight.ready_since);
        let tracing = trace::begin(&job, &in_flight.context);
        let opened = job.open_args(self.queue.schema());
        let deciding = self.decide(&job, opened, &in_flight, slot, started);
        let deciding = deciding.instrument(span);
        let deciding = deciding.with_context(tracing.clone());
        let decided = AssertUnwindSafe(deciding).catch_unwind().await;
        let verdict = decided.unwrap_or_else(|_panic| undecided());
        trace::end(&tracing, &verdict);
        Completion {
            run: Run {
                claim: in_flight.claim,
                ran: started.elapsed(),
            },
            job: in_flight,
            waited,
            for_hooks: for_hooks(&self.hooks, &verdict, job),
            prefetch: Weak::new(),
            verdict,
        }
    }

    async fn decide(
        &self,
        job: &ClaimedJob,
        opened: Result<(), Unopened>,
        in_flight: &InFlightJob,
        slot: Slot,
        started: Instant,
    ) -> Verdict {
        // A process that was suspended notices it here before its heartbeat does: by now another process may
        // have finished the job.
        if self.health.is_silent(started) {
            return Verdict::End(End::Release);
        }
        match (in_flight.stop_reason(), self.app.handlers.get(&job.kind)) {
            (None, Some(handler)) => {
                note_start(&job.queue, &job.kind);
                if let Err(reason) = opened {
                    let (error, policy) = (unopened(&reason), &handler.policy);
                    return Verdict::End(judge(error, &self.facts(job), policy, None));
                }
                self.perform(handler, job, in_flight, slot, started).await
            }
            (Some(StopReason::Cancelled), _) => Verdict::End(cancelled_before_start()),
            // The process stops, or the kind is not registered: another process may run the job.
            _ => Verdict::End(End::Release),
        }
    }

    fn facts(&self, job: &ClaimedJob) -> Attempt {
        Attempt::of(job, self.hooks.shard.as_ref())
    }

    async fn perform(
        &self,
        handler: &Handler<S>,
        job: &ClaimedJob,
        in_flight: &InFlightJob,
        slot: Slot,
        started: Instant,
    ) -> Verdict {
        let Some(state) = self.app.state.clone() else {
            // Not reached: such an application is refused when the process is made.
            return Verdict::End(End::Release);
        };
        let context = match &job.context {
            Ok(context) => Arc::clone(context),
            Err(reason) => {
                let (error, policy) = (unreadable_context(reason), &handler.policy);
                return Verdict::End(judge(error, &self.facts(job), policy, None));
            }
        };
        let run = RunContext {
            state,
            context: Arc::clone(&context),
            queue: self.queue.clone(),
            process: self.process,
            claim: Some(job.claim),
            attempt: self.facts(job),
            keys: handler.policy.keys(&self.queue),
            token: in_flight.token.clone(),
            started,
            has_completed: AtomicBool::new(false),
            steps: RunSteps::new(handler.policy.strict_steps),
            steps_shared: Arc::clone(&self.steps),
        };
        let cx = Cx {
            inner: Arc::new(run),
        };
        if handler.policy.keeps_log || self.keep_logs {
            let lines = Arc::<Lines>::default();
            let running = self.run_within(&cx, handler, job, in_flight, slot);
            let verdict = log_lines::keep(Arc::clone(&lines), running).await;
            if let Some(lines) = lines.written() {
                cx.set_progress(&format!("{LOG}{}", job.claim.attempt()), lines);
            }
            return flushed(&cx, verdict).await;
        }
        let verdict = self.run_within(&cx, handler, job, in_flight, slot).await;
        flushed(&cx, verdict).await
    }

    /// Runs the work of a job within what the application does around it.
    async fn run_within(
        &self,
        cx: &Cx<S>,
        handler: &Handler<S>,
        job: &ClaimedJob,
        in_flight: &InFlightJob,
        slot: Slot,
    ) -> Verdict {
        let arounds = &self.app.arounds;
        let running = async {
            let start = || handler.start_within(arounds, &job.args, cx.clone(), slot);
            let work = panics::catch(start).and_then(|started| started)?;
            self.poll_to_the_end(work, handler, in_flight, cx).await
        };
        let result = Arc::clone(&cx.inner.context).scope_shared(running).await;
        let verdict = conclude(cx, handler, in_flight.stop_reason(), result).await;
        check_resumptions(cx, handler, verdict).await
    }

    /// Polls the work until it ends, reaches its timeout, or is asked to stop. In the latter cases
    /// the work is dropped after a grace period.
    async fn poll_to_the_end(
        &self,
        work: Work,
        handler: &Handler<S>,
        in_flight: &InFlightJob,
        cx: &Cx<S>,
    ) -> Result<(), RunError> {
        let mut work = panics::catch_each_poll(work);
        let limit = handler.policy.timeout;
        let grace = tokio::select! {
            biased;
            result = &mut work => return result,
            () = in_flight.token.cancelled() => self.cancel_grace,
            () = elapsed(limit) => {
                in_flight.stop(StopReason::TimedOut);
                self.cancel_grace.min(limit.unwrap_or_default() / TIMEOUT_GRACE_SHARE)
            }
        };
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep(grace) => {}
            () = self.stop.asked_at_once() => {}
        }
        report_dropped(cx);
        let _panic_in_drop = panics::catch(move || drop(work));
        let reason = in_flight.stop_reason().unwrap_or(StopReason::Interrupted);
        Err(dropped(reason, limit))
    }
}

/// Writes what a run has set, before it is recorded that the run has ended.
async fn flushed<S>(cx: &Cx<S>, verdict: Verdict) -> Verdict {
    if let Err(error) = cx.flush().await {
        tracing::warn!(%error, "could not write the progress of the job");
    }
    verdict
}

/// Returns the verdict on a run that has ended.
async fn conclude<S>(
    cx: &Cx<S>,
    handler: &Handler<S>,
    stopped: Option<StopReason>,
    mut result: Result<(), RunError>,
) -> Verdict {
    let policy = &handler.policy;
    if let Some(pause) = cx.pause() {
        return Verdict::End(
            paused(pause, stopped, result.err()).unwrap_or_else(|reason| {
                let error = dropped(reason, policy.timeout);
                judge(error, cx.attempt(), policy, Some(reason))
            }),
        );
    }
    // If the transaction was committed, the completer finds the job finished, and ignores this.
    if result.is_ok() && cx.has_completed() {
        return Verdict::End(judge(uncommitted(), cx.attempt(), policy, None));
    }
    if result.is_ok() && policy.strict_steps {
        result = cx.check_all_came().await.map_err(RunError::from);
    }
    match result {
        Ok(()) => Verdict::Finish,
        Err(error) => Verdict::End(judge(error, cx.attempt(), policy, stopped)),
    }
}

/// Counts an interruption by the end of the process, and fails the job if its kind does not allow as many.
async fn check_resumptions<S>(cx: &Cx<S>, handler: &Handler<S>, verdict: Verdict) -> Verdict {
    let Some(max) = handler.policy.resumptions_max else {
        return verdict;
    };
    if !matches!(verdict, Verdict::End(End::Release)) || cx.pause() == Some(Pause::Isolated) {
        return verdict;
    }
    let Ok(before) = cx.counter(RESUMPTIONS).await else {
        return verdict;
    };
    if before < max {
        cx.set_progress(RESUMPTIONS, (before + 1).to_string());
        return verdict;
    }
    // If an operator retries the job, it may be interrupted as often again.
    cx.set_progress(RESUMPTIONS, "0".to_owned());
    Verdict::End(interrupted_too_often(before + 1))
}

/// Logs that a job had to be dropped. The work of one with steps goes on after the last of them, so a job
/// that comes to no step in time may never end.
fn report_dropped<S>(cx: &Cx<S>) {
    let step = cx.inner.steps.last();
    match step {
        Some(step) => tracing::warn!(
            step,
            "the job came to no next step in time after it was asked to stop, and was dropped: what it did \
             since this one is repeated",
        ),
        None => tracing::warn!("the job did not stop when asked to, and was dropped"),
    }
}

/// Returns the verdict on a run whose judging panicked: without one the job would stay claimed.
fn undecided() -> Verdict {
    let message = "panicked outside of the job, while its run was judged";
    Verdict::End(End::Fail {
        error: AttemptError::new(Ending::Panic, message),
    })
}

async fn elapsed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
