//! The tasks that enqueue jobs, and a list of those that the server has acknowledged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use queue_core::{EnqueueError, Limits, Queue};
use queue_worker::pool_options;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::jobs::{Chore, Shape, now};
use crate::stage::Stage;

const TASKS: usize = 6;

/// How many jobs are in a backlog: three times what a process may hold.
const BACKLOG: usize = 1_500;

/// How long a task rests between two requests.
const REST: Duration = Duration::from_millis(40);

/// The highest limit of a key.
pub(crate) const LIMIT_MAX: u32 = 3;

/// A job that the server has acknowledged, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) job: i64,
    pub(crate) at: i64,
    pub(crate) shape: Shape,
}

#[derive(Clone, Default)]
struct List(Arc<Mutex<Vec<Acknowledged>>>);

pub(crate) struct Load {
    list: List,
    stopping: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(stage: &Stage) -> Self {
        let options = pool_options().acquire_timeout(Duration::from_secs(3));
        let queue = Queue::new(options.connect_lazy_with(stage.proxy.connect_options()));
        let (list, stopping) = (List::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (queue, list, stopping) = (queue.clone(), list.clone(), stopping.clone());
            tasks.spawn(async move {
                while !stopping.is_cancelled() {
                    enqueue(&queue, &list).await;
                    sleep(REST).await;
                }
            });
        }
        Self {
            list,
            stopping,
            _tasks: tasks,
        }
    }

    /// Enqueues many short jobs at once, past the proxy.
    pub(crate) async fn enqueue_backlog(&self, stage: &Stage) -> Result<(), EnqueueError> {
        let shape = Shape::Alone;
        let queue = Queue::new(stage.servers.pool());
        let jobs = queue.enqueue_many(vec![Chore { shape, millis: 0 }; BACKLOG]);
        let jobs = jobs.await?;
        let at = now();
        let found = jobs.iter().map(|job| Acknowledged {
            job: job.id().0,
            at,
            shape,
        });
        self.list.lock().extend(found);
        Ok(())
    }

    /// Stops to enqueue.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        // What is under way ends, or is given up.
        sleep(Duration::from_secs(5)).await;
    }

    /// Returns how many jobs were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.list.lock().len()
    }

    /// Returns the highest id of an acknowledged job.
    pub(crate) fn last(&self) -> i64 {
        self.list
            .lock()
            .iter()
            .map(|found| found.job)
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.list.lock().clone()
    }
}

impl List {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enqueues a job, or a few, in one of several ways. Without an answer it is not known whether they are
/// enqueued.
async fn enqueue(queue: &Queue, list: &List) {
    let shape = match fastrand::u32(0..10) {
        0..3 => Shape::Alone,
        3..9 => Shape::Whole,
        _ => Shape::Limited(fastrand::u32(1..=LIMIT_MAX)),
    };
    let chore = Chore {
        shape,
        millis: fastrand::u64(0..20),
    };
    if let Ok(Ok(jobs)) = timeout(Duration::from_secs(4), enqueue_chore(queue, chore)).await {
        let at = now();
        let found = jobs.into_iter().map(|job| Acknowledged { job, at, shape });
        list.lock().extend(found);
    }
}

async fn enqueue_chore(queue: &Queue, chore: Chore) -> Result<Vec<i64>, EnqueueError> {
    let limits = match chore.shape {
        Shape::Limited(limit) => Limits::key(limit.to_string()).to(limit),
        _ => Limits::none(),
    };
    let id = match fastrand::u32(0..8) {
        0 => {
            let mut tx = queue.pool().begin().await?;
            let job = queue.enqueue(chore).limits(limits).tx(&mut tx).await?;
            sleep(Duration::from_millis(fastrand::u64(0..50))).await;
            tx.commit().await?;
            job.id()
        }
        1 => {
            let chores = vec![chore; 5];
            let jobs = queue.enqueue_many(chores);
            let jobs = jobs.with(|options| options.limits(limits.clone())).await?;
            return Ok(jobs.iter().map(|job| job.id().0).collect());
        }
        2 => {
            let delay = Duration::from_millis(fastrand::u64(0..500));
            queue.enqueue(chore).limits(limits).delay(delay).await?.id()
        }
        _ => queue.enqueue(chore).limits(limits).await?.id(),
    };
    Ok(vec![id.0])
}
