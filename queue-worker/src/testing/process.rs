//! Runs jobs when a test says so.

use std::future::pending;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use queue_core::batches::settle_all;
use queue_core::inspect::JobDetails;
use queue_core::inspect::jobs::show;
use queue_core::process::{ProcessId, ProcessInfo, register};
use queue_core::transitions::Became;
use queue_core::transitions::claim::{ClaimedJob, Lane, lanes};
use queue_core::transitions::claim_limited::{after_claim, claim_limited};
use queue_core::transitions::end::End;
use queue_core::transitions::promote::promote;
use queue_core::transitions::unblock::unblock;
use queue_core::{Job, JobId, Outcome, Queue};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::app::checkpoints::StepService;
use crate::app::reports::Reporting;
use crate::app::{App, panics};
use crate::attempt::{Completion, InFlight, Runner, StopReason};
use crate::completer::{Checkpoints, EndedJob, FreedKeys, Recorder, STEPS_MAX, announce};
use crate::connection::{Connection, Target};
use crate::health::Health;
use crate::metrics::Share;
use crate::stop::Stop;

/// How long a job may go on after it was asked to stop.
const CANCEL_GRACE: Duration = Duration::from_millis(200);

/// A queue that has more jobs never becomes empty.
const DRAINED_MAX: usize = 10_000;

const DATABASE: &str = "the database of the test should work";

/// Runs jobs as a process would, with limits, timeouts, retries and hooks: one at a time, and only when
/// the test says so. It never looks at the clock, so that a job which waits for a retry waits until
/// [`make_next_due`](Self::make_next_due).
pub struct TestProcess<S> {
    runner: Runner<S>,
    recorder: Recorder,
    connection: Connection,
}

/// What a run has led to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Performed {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// What the job is after the run.
    pub became: Became,
    /// The error of the run with its causes.
    pub error: Option<String>,
    /// How long the job waits for its next run.
    pub retry_after: Option<Duration>,
}

impl Performed {
    /// Checks that the job did its work.
    ///
    /// # Panics
    /// Panics with the error of the run.
    #[track_caller]
    pub fn assert_done(&self) {
        let is_done = self.became == Became::Finished(Outcome::Done);
        assert!(is_done, "the job is not done: {self:?}");
    }
}

impl<S: Send + Sync + 'static> TestProcess<S> {
    /// Makes a process that can run the jobs of an application.
    ///
    /// # Panics
    /// Panics when the application is invalid or the database fails.
    pub async fn new(queue: &Queue, mut app: App<S>) -> Self {
        assert_eq!(app.problems(), [], "the application should be valid");
        panics::install_hook();
        // They end when the application is dropped.
        let _reporting = Reporting::start(mem::take(&mut app.reporters));
        let process = ProcessId::new();
        let recorder = Recorder {
            schema: queue.schema().clone(),
            process,
            process_name: "test".to_owned(),
            in_flight: Arc::new(InFlight::new(Instant::now())),
            hooks: app.hooks.clone(),
            freed_keys: Arc::new(FreedKeys::default()),
            ended_in_batches: Arc::default(),
            counts: Arc::default(),
        };
        let (checkpoints, finished) = mpsc::channel(STEPS_MAX);
        let unwritten = Arc::default();
        let runner = Runner {
            hooks: app.hooks.clone(),
            app: Arc::new(app),
            queue: queue.clone(),
            process,
            cancel_grace: CANCEL_GRACE,
            keep_logs: false,
            stop: Stop::new(),
            health: Health::new(Duration::MAX),
            steps: Arc::new(StepService {
                checkpoints,
                unwritten: Arc::clone(&unwritten),
                stop: Stop::new(),
                is_sleep_short: true,
            }),
        };
        let target = Arc::new(Target::new(queue, "queue test".to_owned()));
        let mut connection = Connection::new(&target, &[]);
        let recording = Checkpoints {
            schema: queue.schema().clone(),
            process,
            unwritten,
            connection: connection.another(),
        };
        // Ends when this value is dropped, and with it the only sender.
        tokio::spawn(recording.run(finished, CancellationToken::new()));
        let info = ProcessInfo {
            name: "test".to_owned(),
            ..ProcessInfo::default()
        };
        connection
            .run(async |conn| register(conn, queue.schema(), process, &info).await)
            .await
            .expect(DATABASE);
        Self {
            runner,
            recorder,
            connection,
        }
    }

    /// Enqueues a job and runs it once.
    ///
    /// # Panics
    /// Panics when the job cannot run now, for example because it is delayed or its limit has no room.
    pub async fn perform<J: Job>(&mut self, job: J) -> Performed {
        self.perform_interrupted(job, pending()).await
    }

    /// Enqueues a job and runs it once, and asks it to stop when a future is ready, as a process that
    /// ends does.
    ///
    /// # Panics
    /// Panics like [`perform`](Self::perform).
    pub async fn perform_interrupted<J: Job>(
        &mut self,
        job: J,
        interrupt: impl Future<Output = ()>,
    ) -> Performed {
        let enqueued = self.runner.queue.enqueue(job).await;
        let id = enqueued.expect("the job should be enqueued").id();
        let queue = self.show(id).await.queue;
        match self.claim(&queue, id.0 - 1, id.0).await {
            Claimed::Job(job) => self.run(*job, interrupt).await,
            _ => panic!(
                "job {id} did not run: it is {} (is `{}` registered, and is it neither delayed nor \
                 limited?)",
                self.show(id).await.state,
                J::KIND,
            ),
        }
    }

    /// Runs the ready jobs of a queue and those that they enqueue there, the most urgent first, until
    /// none is left.
    ///
    /// # Panics
    /// Panics when the queue does not become empty.
    pub async fn drain(&mut self, queue: &str) -> Vec<Performed> {
        let mut performed = Vec::new();
        while performed.len() < DRAINED_MAX {
            match self.claim(queue, 0, i64::MAX).await {
                Claimed::Job(job) => performed.push(self.run(*job, pending()).await),
                Claimed::None => return performed,
                Claimed::Parked => {}
            }
        }
        panic!("the queue `{queue}` has still jobs after {DRAINED_MAX} runs");
    }

    /// Makes up to `limit` scheduled jobs ready, the earliest first, and returns how many.
    pub async fn make_next_due(&mut self, limit: u32) -> u64 {
        let schema = &self.recorder.schema;
        let late = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000 * 365);
        self.connection
            .run(async |conn| promote(conn, schema, Some(late), limit).await)
            .await
            .expect(DATABASE)
    }

    /// Claims one job between two places in line, or parks some for which there is no room.
    async fn claim(&mut self, queue: &str, above: i64, up_to: i64) -> Claimed {
        let Recorder {
            schema, process, ..
        } = &self.recorder;
        let kinds = self.runner.app.kinds();
        let claiming = self.connection.run(async |conn| {
            let mut found = lanes(conn, schema, &[]).await?;
            found.retain(|lane| lane.queue == queue);
            found.sort_by_key(|lane| lane.priority);
            let lanes: Vec<Lane> = found
                .into_iter()
                .map(|lane| Lane {
                    queue: lane.queue,
                    priority: lane.priority,
                    track: lane.track,
                    above,
                    up_to,
                })
                .collect();
            claim_limited(conn, schema, *process, &lanes, &kinds, 1, 1).await
        });
        let claim = claiming.await.expect(DATABASE);
        let following = self
            .connection
            .run(async |conn| after_claim(conn, schema, *process, &claim).await);
        following.await.expect(DATABASE);
        let dropped = EndedJob::dropped(&claim, &self.recorder.counts);
        announce(&self.recorder.hooks, &mut self.connection, schema, &dropped).await;
        match claim.jobs.into_iter().next() {
            Some(job) => Claimed::Job(Box::new(job)),
            None if claim.parked.is_empty() => Claimed::None,
            None => Claimed::Parked,
        }
    }

    async fn run(&mut self, job: ClaimedJob, interrupt: impl Future<Output = ()>) -> Performed {
        let (job_id, kind) = (job.claim.job_id(), job.kind.clone());
        let group = [self.complete(job, interrupt).await];
        let written = self.recorder.try_write(&mut self.connection, &group).await;
        let written = written.expect(DATABASE);
        self.recorder.settle(&group, &written);
        self.unblock().await;
        self.settle_batches().await;
        let end = group[0].end();
        Performed {
            job_id,
            kind,
            became: written.became[&job_id],
            error: end.and_then(End::error).map(|error| error.message.clone()),
            retry_after: end.and_then(End::delay),
        }
    }

    async fn complete(&self, job: ClaimedJob, interrupt: impl Future<Output = ()>) -> Completion {
        let mut in_flight = self.recorder.in_flight.add(std::slice::from_ref(&job));
        let in_flight = in_flight.remove(0);
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned();
        let slot = Arc::new((slot.expect("a new semaphore"), Share::slot_used()));
        let mut running = pin!(self.runner.run(job, Arc::clone(&in_flight), slot));
        tokio::select! {
            biased;
            completion = &mut running => completion,
            () = interrupt => {
                in_flight.stop(StopReason::Interrupted);
                running.await
            }
        }
    }

    async fn unblock(&mut self) {
        let schema = &self.recorder.schema;
        let mut freed = self.recorder.freed_keys.take();
        let keys = freed.rest().to_vec();
        freed.note_checked(keys.len());
        self.connection
            .run(async |conn| unblock(conn, schema, &keys).await)
            .await
            .expect(DATABASE);
    }

    async fn settle_batches(&mut self) {
        let schema = &self.recorder.schema;
        let ended = self.recorder.ended_in_batches.take().ended;
        self.connection
            .run(async |conn| settle_all(conn, schema, ended.clone()).await)
            .await
            .expect(DATABASE);
    }

    async fn show(&self, id: JobId) -> JobDetails {
        let mut conn = self.runner.queue.pool().acquire().await.expect(DATABASE);
        let shown = show(&mut conn, &self.recorder.schema, id).await;
        shown.expect(DATABASE).expect("the job was just enqueued")
    }
}

/// What a claim has led to.
enum Claimed {
    Job(Box<ClaimedJob>),
    /// Jobs without room in their limits were blocked or ended.
    Parked,
    None,
}
