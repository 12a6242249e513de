//! The parts of a process, and how they are started for one life.

use std::sync::Arc;

use queue_core::process::ProcessId;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Process;
use crate::attempt::{Completion, InFlight, Runner};
use crate::completer::FreedKeys;
use crate::completer::{self, Writer};
use crate::connection::Connection;
use crate::services::dispatcher;
use crate::services::heartbeat::{Heartbeat, Lost};
use crate::services::listener;
use crate::services::maintenance;
use crate::services::scheduler::Scheduler;
use crate::services::supervision::supervise;
use crate::services::unblocker::Unblocker;
use crate::stop::Stop;
use crate::worker::idle::IdleState;
use crate::worker::{ClaimLoop, Shared, SweepLoop, Worker, start_jobs};

/// Everything that runs in one life.
pub(super) struct Parts<S> {
    /// Cancelled when no more jobs are to be claimed or begun.
    pub(super) stopping: CancellationToken,
    /// Cancelled when no more completions are to be awaited.
    pub(super) closing: CancellationToken,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) shared: Arc<Shared<S>>,
    pub(super) workers: Vec<Arc<Worker<S>>>,
    /// The loops of the workers, which end by themselves once stopping.
    pub(super) worker_loops: Vec<JoinHandle<()>>,
    /// What may be aborted at any time: each of its statements or transactions stands for itself.
    pub(super) others: Vec<JoinHandle<()>>,
    pub(super) heartbeat: JoinHandle<Lost>,
    pub(super) completer: JoinHandle<()>,
}

/// Starts all parts of a process.
pub(super) fn start<S>(process: &Process<S>, id: ProcessId, runs: &Stop) -> Parts<S>
where
    S: Send + Sync + 'static,
{
    let stopping = CancellationToken::new();
    let closing = CancellationToken::new();
    let in_flight = Arc::new(InFlight::default());
    let (completions, completed) = mpsc::channel(completer::QUEUE_MAX);
    let freed_keys = Arc::new(FreedKeys::default());
    let writer = new_writer(process, id, &in_flight, &freed_keys);
    let shared = Arc::new(new_shared(
        process,
        id,
        &in_flight,
        completions,
        &freed_keys,
        &stopping,
        runs,
    ));
    let workers = new_workers(process, &shared);
    let starter = Starter {
        process,
        stopping: &stopping,
    };
    let heartbeat = Heartbeat {
        connection: process.connection(),
        schema: process.queue.schema().clone(),
        process: id,
        settings: process.settings.process.clone(),
        in_flight: Arc::clone(&in_flight),
        stopping: stopping.clone(),
    };
    Parts {
        worker_loops: workers
            .iter()
            .flat_map(|worker| starter.worker(worker))
            .collect(),
        others: starter.others(&shared, &workers),
        heartbeat: tokio::spawn(heartbeat.run()),
        completer: tokio::spawn(completer::run(writer, completed, closing.clone())),
        stopping: stopping.clone(),
        closing,
        in_flight,
        shared,
        workers,
    }
}

fn new_writer<S>(
    process: &Process<S>,
    id: ProcessId,
    in_flight: &Arc<InFlight>,
    freed_keys: &Arc<FreedKeys>,
) -> Writer {
    Writer {
        schema: process.queue.schema().clone(),
        process: id,
        process_name: process.name.clone(),
        connection: Connection::new(Arc::clone(&process.options)),
        in_flight: Arc::clone(in_flight),
        hooks: process.app.hooks.clone(),
        freed_keys: Arc::clone(freed_keys),
    }
}

fn new_shared<S: Send + Sync + 'static>(
    process: &Process<S>,
    id: ProcessId,
    in_flight: &Arc<InFlight>,
    completions: mpsc::Sender<Completion>,
    freed_keys: &Arc<FreedKeys>,
    stopping: &CancellationToken,
    runs: &Stop,
) -> Shared<S> {
    let schema = process.queue.schema().clone();
    Shared {
        runner: Runner {
            app: Arc::clone(&process.app),
            queue: process.queue.clone(),
            process: id,
            cancel_grace: process.settings.process.cancel_grace,
            stop: runs.clone(),
        },
        process: id,
        kinds: process.app.kinds(),
        in_flight: Arc::clone(in_flight),
        idle: IdleState::new(
            schema.clone(),
            id,
            process.settings.process.notifications,
            process.connection(),
        ),
        schema,
        completions,
        freed_keys: Arc::clone(freed_keys),
        claiming: RwLock::new(()),
        runs: TaskTracker::new(),
        stopping: stopping.clone(),
    }
}

/// Makes the workers. A process that knows no kind has none: it could only look.
fn new_workers<S: Send + Sync + 'static>(
    process: &Process<S>,
    shared: &Arc<Shared<S>>,
) -> Vec<Arc<Worker<S>>> {
    if shared.kinds.is_empty() {
        tracing::warn!("no kind of job is registered, so this process runs none");
        return Vec::new();
    }
    let settings = process.settings.workers.iter();
    settings
        .map(|settings| Arc::new(Worker::new(settings.clone(), Arc::clone(shared))))
        .collect()
}

struct Starter<'a, S> {
    process: &'a Process<S>,
    stopping: &'a CancellationToken,
}

impl<S: Send + Sync + 'static> Starter<'_, S> {
    /// Keeps a part going that has a connection of its own.
    fn keep<F>(
        &self,
        name: &'static str,
        part: impl Fn(Connection) -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
    {
        let options = Arc::clone(&self.process.options);
        let start = move || part(Connection::new(Arc::clone(&options)));
        tokio::spawn(supervise(name, self.stopping.clone(), start))
    }

    fn worker(&self, worker: &Arc<Worker<S>>) -> [JoinHandle<()>; 3] {
        let (claims, sweeps, starts) = (worker.clone(), worker.clone(), worker.clone());
        [
            self.keep("claims", move |connection| {
                ClaimLoop::new(claims.clone(), connection).run()
            }),
            self.keep("sweeps", move |connection| {
                SweepLoop::new(sweeps.clone(), connection).run()
            }),
            tokio::spawn(supervise("starts", self.stopping.clone(), move || {
                let starting = start_jobs(starts.clone());
                async move {
                    starting.await;
                    Ok(())
                }
            })),
        ]
    }

    fn others(&self, shared: &Arc<Shared<S>>, workers: &[Arc<Worker<S>>]) -> Vec<JoinHandle<()>> {
        let settings = &self.process.settings;
        let mut others = vec![
            self.recovery(),
            self.unblocker(shared),
            self.withdrawal(shared),
        ];
        if settings.dispatcher.enabled {
            others.push(self.dispatcher());
        }
        if settings.scheduler.enabled {
            others.push(self.scheduler());
        }
        if settings.maintenance.enabled {
            others.push(self.clearing());
        }
        if settings.process.notifications {
            others.push(self.listener(shared, workers));
        }
        others
    }

    fn dispatcher(&self) -> JoinHandle<()> {
        let schema = self.process.queue.schema().clone();
        let settings = self.process.settings.dispatcher.clone();
        let stopping = self.stopping.clone();
        self.keep("dispatcher", move |connection| {
            dispatcher::dispatch(
                connection,
                schema.clone(),
                settings.clone(),
                stopping.clone(),
            )
        })
    }

    fn scheduler(&self) -> JoinHandle<()> {
        let scheduler = Arc::new(Scheduler {
            schema: self.process.queue.schema().clone(),
            settings: self.process.settings.scheduler.clone(),
            declared: Arc::clone(&self.process.declared),
            stopping: self.stopping.clone(),
        });
        self.keep("scheduler", move |connection| {
            Arc::clone(&scheduler).run(connection)
        })
    }

    /// The unblocker goes on while jobs finish, because their ends free slots.
    fn unblocker(&self, shared: &Arc<Shared<S>>) -> JoinHandle<()> {
        let freed_keys = Arc::clone(&shared.freed_keys);
        let schema = self.process.queue.schema().clone();
        let settings = self.process.settings.dispatcher.clone();
        self.keep("unblocker", move |connection| {
            let (schema, settings) = (schema.clone(), settings.clone());
            Unblocker::new(connection, schema, settings, Arc::clone(&freed_keys)).run()
        })
    }

    fn recovery(&self) -> JoinHandle<()> {
        let schema = self.process.queue.schema().clone();
        let settings = self.process.settings.process.clone();
        let stopping = self.stopping.clone();
        self.keep("recovery", move |connection| {
            maintenance::recover_dead(
                connection,
                schema.clone(),
                settings.clone(),
                stopping.clone(),
            )
        })
    }

    fn clearing(&self) -> JoinHandle<()> {
        let schema = self.process.queue.schema().clone();
        let settings = self.process.settings.maintenance.clone();
        let retention = self.process.settings.retention.clone();
        let stopping = self.stopping.clone();
        self.keep("clearing", move |connection| {
            let (schema, settings) = (schema.clone(), settings.clone());
            maintenance::clear_old(
                connection,
                schema,
                settings,
                retention.clone(),
                stopping.clone(),
            )
        })
    }

    fn withdrawal(&self, shared: &Arc<Shared<S>>) -> JoinHandle<()> {
        let shared = Arc::clone(shared);
        tokio::spawn(supervise("idle row", self.stopping.clone(), move || {
            let shared = Arc::clone(&shared);
            async move {
                tokio::select! {
                    () = shared.stopping.cancelled() => Ok(()),
                    failed = shared.idle.withdraw_when_busy() => failed,
                }
            }
        }))
    }

    /// The listener goes on while jobs finish, so that they can still be cancelled.
    fn listener(&self, shared: &Arc<Shared<S>>, workers: &[Arc<Worker<S>>]) -> JoinHandle<()> {
        let (shared, workers) = (Arc::clone(shared), workers.to_vec());
        let options = Arc::clone(&self.process.options);
        tokio::spawn(supervise("listener", self.stopping.clone(), move || {
            listener::listen(Arc::clone(&options), Arc::clone(&shared), workers.clone())
        }))
    }
}
