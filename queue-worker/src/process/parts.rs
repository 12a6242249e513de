//! The parts of a process, started for one life.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use queue_core::process::ProcessId;
use queue_core::recurring::Kinds;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::served::Served;
use crate::app::State;
use crate::app::checkpoints::StepService;
use crate::attempt::{Completion, InFlight, Runner};
use crate::completer::{self, FreedKeys, Recorder};
use crate::lookout::Lookout;
use crate::metrics::{Reading, Readings};
use crate::services::batches::settle_batches;
use crate::services::heartbeat::{self, Lost};
use crate::services::scheduler::Scheduler;
use crate::services::supervision::ServiceContext;
use crate::services::unblocker::Unblocker;
use crate::services::{dispatcher, events, listener, maintenance};
use crate::shared_connection::SharedConnection;
use crate::stop::Stop;
use crate::worker::idle::IdleRows;
use crate::worker::{ClaimLoop, Shared, SweepLoop, Worker, start_jobs};

/// Everything that runs in one life.
pub(super) struct Parts<S> {
    /// Cancelled when no more completions will be sent.
    pub(super) closing: CancellationToken,
    pub(super) shared: Arc<Shared<S>>,
    pub(super) workers: Vec<Arc<Worker<S>>>,
    /// The loops of the workers. They end by themselves when the process stops.
    pub(super) worker_loops: Vec<JoinHandle<()>>,
    /// The services. They may be aborted at any time: each of their transactions is complete in
    /// itself.
    pub(super) services: Vec<JoinHandle<()>>,
    /// The connection of the services.
    pub(super) connection: Arc<SharedConnection>,
    pub(super) heartbeat: JoinHandle<Lost>,
    pub(super) completer: JoinHandle<()>,
}

/// Starts all parts of a process.
pub(super) fn start<S: State>(
    served: &Served<S>,
    id: ProcessId,
    stop: &Stop,
    runs: &Stop,
) -> Parts<S> {
    let (completions, completed) = mpsc::channel(completer::QUEUE_MAX);
    let (checkpoints, finished_steps) = mpsc::channel(completer::STEPS_MAX);
    let steps = StepService {
        checkpoints,
        unwritten: Arc::default(),
        stop: runs.clone(),
        is_sleep_short: false,
    };
    let unwritten = Arc::clone(&steps.unwritten);
    let shared = Arc::new(new_shared(served, id, completions, steps));
    let recorder = Recorder {
        schema: shared.schema.clone(),
        process: id,
        process_name: served.name.clone(),
        in_flight: Arc::clone(&shared.in_flight),
        hooks: served.hooks(),
        freed_keys: Arc::clone(&shared.freed_keys),
        ended_in_batches: Arc::clone(&shared.ended_in_batches),
        counts: Arc::clone(&shared.counts),
    };
    let closing = CancellationToken::new();
    let completer = completer::run(
        recorder,
        served.connection(),
        completed,
        finished_steps,
        unwritten,
        closing.clone(),
    );
    let connection = served.connection();
    let context = ServiceContext {
        shared: Arc::new(SharedConnection::like(&connection)),
        lookout: Arc::clone(&shared.lookout),
        connection,
        schema: shared.schema.clone(),
        settings: Arc::clone(&served.settings),
        stopping: shared.stopping.clone(),
    };
    let workers = new_workers(served, &shared);
    let services = start_services(served, &context, &shared, &workers);
    let worker_loops = workers
        .iter()
        .flat_map(|worker| start_loops(&context, worker));
    let health = served.health.clone();
    let heartbeat = heartbeat::beat(context.another(), Arc::clone(&shared), health, stop.clone());
    Parts {
        closing,
        worker_loops: worker_loops.collect(),
        services,
        connection: Arc::clone(&context.shared),
        heartbeat: tokio::spawn(heartbeat.in_current_span()),
        completer: tokio::spawn(completer.in_current_span()),
        shared,
        workers,
    }
}

fn new_shared<S: State>(
    served: &Served<S>,
    id: ProcessId,
    completions: mpsc::Sender<Completion>,
    steps: StepService,
) -> Shared<S> {
    let schema = served.queue.schema().clone();
    let settings = &served.settings.process;
    Shared {
        runner: Runner {
            app: Arc::clone(&served.app),
            hooks: served.hooks(),
            queue: served.queue.clone(),
            process: id,
            cancel_grace: settings.cancel_grace,
            keep_logs: settings.keep_logs,
            stop: steps.stop.clone(),
            health: served.health.clone(),
            steps: Arc::new(steps),
        },
        process: id,
        kinds: served.app.kinds(),
        in_flight: Arc::new(InFlight::new(Instant::now())),
        idle: IdleRows::new(schema.clone(), id, settings.notifications),
        lookout: Arc::new(Lookout::new(Instant::now())),
        schema,
        completions,
        freed_keys: Arc::new(FreedKeys::default()),
        ended_in_batches: Arc::default(),
        emitted: Arc::default(),
        counts: Arc::clone(&served.counts),
        asked: Arc::clone(&served.asked),
        runs: TaskTracker::new(),
        stopping: CancellationToken::new(),
    }
}

/// Makes the workers. A process without registered kinds has none: they could not claim anything.
fn new_workers<S: State>(served: &Served<S>, shared: &Arc<Shared<S>>) -> Vec<Arc<Worker<S>>> {
    if shared.kinds.is_empty() {
        tracing::warn!("no kind of job is registered, so this process runs none");
        return Vec::new();
    }
    let settings = served.settings.workers.iter();
    settings
        .map(|settings| Arc::new(Worker::new(settings.clone(), Arc::clone(shared))))
        .collect()
}

fn start_loops<S: State>(context: &ServiceContext, worker: &Arc<Worker<S>>) -> [JoinHandle<()>; 3] {
    let (claims, sweeps, starts) = (worker.clone(), worker.clone(), worker.clone());
    [
        context.keep("claims", move |context| {
            ClaimLoop::run(claims.clone(), context.connection)
        }),
        context.keep("sweeps", move |context| {
            SweepLoop::run(sweeps.clone(), context.connection)
        }),
        context.keep("starts", move |_| start_jobs(starts.clone()).map(Ok)),
    ]
}

/// Starts the services. While the process stops, the unblocker goes on, because runs that end free
/// slots, and so does the listener, so that jobs can still be cancelled.
fn start_services<S: State>(
    served: &Served<S>,
    context: &ServiceContext,
    shared: &Arc<Shared<S>>,
    workers: &[Arc<Worker<S>>],
) -> Vec<JoinHandle<()>> {
    let settings = &served.settings;
    let freed_keys = Arc::clone(&shared.freed_keys);
    let ended = Arc::clone(&shared.ended_in_batches);
    let (recovered, settling) = (Arc::clone(&ended), workers.to_vec());
    let idle = Arc::clone(shared);
    let hooks = served.hooks();
    let reported = Arc::clone(&served.reported);
    let counts = Arc::clone(&served.counts);
    let kinds = Arc::new(served.app.known_kinds());
    let looked_for = Arc::clone(&kinds);
    let mut services = vec![
        context.keep("lookout", move |context| {
            look(context, Arc::clone(&looked_for))
        }),
        context.keep("recovery", move |context| {
            maintenance::recover_dead(
                context,
                hooks.clone(),
                Arc::clone(&reported),
                Arc::clone(&recovered),
                Arc::clone(&counts),
            )
        }),
        context.keep("unblocker", move |context| {
            Unblocker::new(context, Arc::clone(&freed_keys)).run()
        }),
        context.keep("batches", move |context| {
            settle_batches(context, Arc::clone(&ended), settling.clone())
        }),
        context.keep("idle row", move |context| {
            remove_idle_row(context, Arc::clone(&idle))
        }),
        start_reading(served, context),
    ];
    if settings.dispatcher.enabled {
        services.push(context.keep("dispatcher", dispatcher::dispatch));
        let emitted = Arc::clone(&shared.emitted);
        services.push(context.keep("events", move |context| {
            events::wake_waiting(context, Arc::clone(&emitted))
        }));
    }
    if settings.scheduler.enabled {
        services.push(start_scheduler(served, context, kinds));
    }
    if settings.maintenance.enabled {
        services.push(context.keep("clearing", maintenance::clear_old));
        services.push(context.keep("depths", maintenance::sample_depths));
    }
    if settings.process.notifications {
        let (shared, workers) = (Arc::clone(shared), workers.to_vec());
        let (target, server) = (
            Arc::clone(&served.target),
            settings.process.listen_url.clone(),
        );
        services.push(context.keep("listener", move |_| {
            let (target, shared) = (Arc::clone(&target), Arc::clone(&shared));
            listener::listen(target, server.clone(), shared, workers.clone())
        }));
    }
    services
}

fn start_scheduler<S: State>(
    served: &Served<S>,
    context: &ServiceContext,
    kinds: Arc<Kinds>,
) -> JoinHandle<()> {
    let declared = Arc::clone(&served.declared);
    context.keep("scheduler", move |context| {
        let scheduler = Scheduler {
            schema: context.schema,
            settings: context.settings.scheduler.clone(),
            declared: Arc::clone(&declared),
            kinds: Arc::clone(&kinds),
            connection: context.shared,
            lookout: context.lookout,
            stopping: context.stopping,
        };
        Arc::new(scheduler).run()
    })
}

async fn look(context: ServiceContext, kinds: Arc<Kinds>) -> Result<(), sqlx::Error> {
    let ServiceContext {
        shared, lookout, ..
    } = &context;
    lookout.run(shared, &context.schema, &kinds).await
}

fn start_reading<S>(served: &Served<S>, context: &ServiceContext) -> JoinHandle<()> {
    let readings = served.readings.clone();
    context.keep("metrics", move |context| {
        read_for_metrics(context, readings.clone())
    })
}

async fn read_for_metrics(context: ServiceContext, readings: Readings) -> Result<(), sqlx::Error> {
    let ServiceContext {
        shared,
        schema,
        stopping,
        settings,
        ..
    } = &context;
    let dead_after = settings.process.dead_after;
    while let Some(()) = stopping.run_until_cancelled(readings.wanted()).await {
        let began = Instant::now();
        let reading = async |conn: &mut PgConnection| Reading::of(conn, schema, dead_after).await;
        readings.keep(shared.run(reading).await?, began);
    }
    Ok(())
}

async fn remove_idle_row<S>(
    context: ServiceContext,
    shared: Arc<Shared<S>>,
) -> Result<(), sqlx::Error> {
    let removing = shared.idle.remove_when_busy(&context.shared);
    let failed = context.stopping.run_until_cancelled(removing).await;
    failed.unwrap_or(Ok(()))
}
