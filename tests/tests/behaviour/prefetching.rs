//! How many jobs a process prefetches: enough for its distance to the database, and no more than it can
//! start soon.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use queue_core::{NewJob, Queue};
use queue_tests::proxy::Proxy;
use queue_tests::world::{World, eventually, worker};
use queue_worker::{App, Cx, Job, Perform, Process, Stop};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The runs of slow jobs in one process.
type Runs = Arc<AtomicUsize>;

#[derive(Serialize, Deserialize)]
struct Quick;

impl Job for Quick {
    const KIND: &'static str = "quick";
}

impl Perform<Runs> for Quick {
    type Error = Infallible;

    async fn perform(self, _cx: Cx<Runs>) -> Result<(), Infallible> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Slow;

impl Job for Slow {
    const KIND: &'static str = "slow";
}

impl Perform<Runs> for Slow {
    type Error = Infallible;

    async fn perform(self, cx: Cx<Runs>) -> Result<(), Infallible> {
        cx.state().fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
        Ok(())
    }
}

/// A process whose database is some distance away.
struct Distant {
    runs: Runs,
    stop: Stop,
    task: JoinHandle<()>,
    _proxy: Proxy,
}

impl Distant {
    fn start(world: &World, concurrency: usize, one_way: Duration) -> Self {
        let proxy = Proxy::before(&world.connect_options());
        proxy.delay(one_way);
        let queue = Queue::new(PgPoolOptions::new().connect_lazy_with(proxy.connect_options()));
        let runs = Runs::default();
        let app = App::new(Arc::clone(&runs))
            .register::<Quick>()
            .register::<Slow>();
        let process = Process::new(queue, app, worker("*", concurrency)).unwrap();
        let stop = Stop::new();
        Self {
            runs,
            task: tokio::spawn(process.run(stop.clone())),
            stop,
            _proxy: proxy,
        }
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    async fn stop(self) {
        self.stop.gracefully();
        self.task.await.unwrap();
    }
}

/// Counts the claims that find jobs from now on, in the sequence `public.claims`.
async fn count_claims(world: &World) {
    world.sql("create sequence public.claims").await;
    world
        .sql(
            "create function public.count_claim() returns trigger language plpgsql as $$
             begin
                 if exists (select from claimed) then perform nextval('public.claims'); end if;
                 return null;
             end $$",
        )
        .await;
    world
        .sql(
            "create trigger count_claim after insert on queue.claimed
             referencing new table as claimed for each statement execute function public.count_claim()",
        )
        .await;
}

#[tokio::test]
async fn a_process_far_from_its_database_needs_few_claims() {
    let world = World::new().await;
    let jobs = (0..8_000).map(|_| NewJob::of(&Quick));
    world.queue.copy_jobs(jobs).await.unwrap();
    count_claims(&world).await;

    let process = Distant::start(&world, 32, Duration::from_millis(50));
    world.until("finished", 8_000).await;

    let claims: i64 = world.value("select last_value from public.claims").await;
    assert!(claims <= 50, "{claims} claims");
    process.stop().await;
}

/// Lets a process with 10 slots prefetch slow jobs at the pace of quick ones, and returns how many of the
/// 2,500 slow jobs it ran, and how long all took, while another process had 500 free slots.
async fn share(one_way: Duration) -> (usize, Duration) {
    let world = World::new().await;
    let quick = (0..10_000).map(|_| NewJob::of(&Quick));
    world.queue.copy_jobs(quick).await.unwrap();
    let slow = (0..2_500).map(|_| NewJob::of(&Slow));
    world.queue.copy_jobs(slow).await.unwrap();
    let small = Distant::start(&world, 10, one_way);
    eventually("the first slow job runs", async || small.runs() > 0).await;

    let began = Instant::now();
    let large = Distant::start(&world, 500, one_way);
    world.until("finished", 12_500).await;

    let took = began.elapsed();
    let ran = small.runs();
    assert_eq!(ran + large.runs(), 2_500, "each job ran once");
    small.stop().await;
    large.stop().await;
    (ran, took)
}

#[tokio::test]
async fn jobs_that_a_process_cannot_start_soon_go_to_another() {
    let (ran, took) = share(Duration::ZERO).await;
    assert!(ran < 250, "the small process ran {ran} jobs in {took:?}");
}

#[tokio::test]
async fn jobs_that_a_distant_process_cannot_start_soon_go_to_another() {
    let (ran, took) = share(Duration::from_millis(50)).await;
    assert!(ran < 400, "the small process ran {ran} jobs in {took:?}");
}
