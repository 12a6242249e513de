//! Rate limits of keys, queues and kinds: a burst starts at once, later jobs evenly spaced.

use std::convert::Infallible;
use std::time::Duration;

use queue_core::operations::limits::{LimitSetting, SetBy, set};
use queue_core::{Limits, Options, Rate};
use queue_tests::soundness::assert_tables_sound;
use queue_tests::world::{World, worker};
use queue_worker::{App, Cx, Job, Perform};
use serde::{Deserialize, Serialize};

const SPACE: Duration = Duration::from_millis(100);
const BURST: u32 = 3;
const JOBS: usize = 8;

/// Ten starts a second.
fn rate() -> Rate {
    Rate {
        starts: 10,
        period: 10 * SPACE,
        burst: BURST,
    }
}

/// A job that records when it was claimed.
#[derive(Serialize, Deserialize)]
struct Tick(String);

impl Job for Tick {
    const KIND: &'static str = "tick";
}

impl Perform<()> for Tick {
    type Error = Infallible;

    async fn perform(self, cx: Cx<()>) -> Result<(), Infallible> {
        // Behind a pooler in transaction mode, another client may have this server next.
        let mut tx = cx.queue().pool().begin().await.expect("a transaction");
        let noted = sqlx::query(
            "insert into starts (key, at, failures)
             select $1, claimed_at, failures from queue.claimed where job_id = $2",
        )
        .bind(self.0)
        .bind(cx.job_id().0)
        .persistent(false)
        .execute(&mut *tx);
        noted.await.expect("a note");
        tx.commit().await.expect("a commit");
        Ok(())
    }
}

async fn world() -> World {
    let world = World::new().await;
    world
        .sql("create table starts (key text, at timestamptz, failures smallint)")
        .await;
    world
}

async fn set_rate(world: &World, name: &str) {
    let setting = LimitSetting {
        to: None,
        rate: Some(rate()),
    };
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    set(&mut conn, schema, name, setting, SetBy::Operator)
        .await
        .unwrap();
}

async fn enqueue(world: &World, key: &str, options: impl Fn(Options) -> Options) {
    let jobs = (0..JOBS).map(|_| Tick(key.to_owned()));
    world.queue.enqueue_many(jobs).with(options).await.unwrap();
}

/// Runs all jobs.
async fn starts(world: &World, count: usize) {
    let processes = [(); 2].map(|()| {
        let app = App::new(()).register::<Tick>();
        world.start(app, worker("*", 10))
    });
    world
        .until("finished where outcome = 'done'", count as i64)
        .await;
    for process in processes {
        process.stop().await;
    }
    assert_eq!(world.count("attempts").await, 0);
    assert_eq!(
        world.value::<i64>("select sum(failures) from starts").await,
        0
    );
    assert_tables_sound(world.pool()).await;
}

/// Returns the times at which the jobs of a key were claimed, in seconds after the first.
async fn seconds(world: &World, key: &str) -> Vec<f64> {
    let query = format!(
        "select extract(epoch from at - min(at) over ())::float8
         from starts where key = '{key}' order by at"
    );
    let rows: Vec<(f64,)> = world.rows(&query).await;
    rows.into_iter().map(|(at,)| at).collect()
}

/// Checks that no interval has more starts than the burst and the rate allow. One more is tolerated,
/// because a claim may be slow to record its time.
fn assert_spaced(seconds: &[f64]) {
    assert_eq!(seconds.len(), JOBS);
    for (first, from) in seconds.iter().enumerate() {
        for (last, to) in seconds.iter().enumerate().skip(first) {
            let starts = last - first + 1;
            let allowed = f64::from(BURST) + 1.0 + (to - from) / SPACE.as_secs_f64();
            assert!(
                starts as f64 <= allowed,
                "{starts} from {from} to {to}: {seconds:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_burst_starts_at_once_and_later_jobs_of_a_key_evenly_spaced() {
    let world = world().await;
    for key in ["a", "b"] {
        enqueue(&world, key, |options| {
            options.limits(Limits::key(key).rate(10, 10 * SPACE).burst(BURST))
        })
        .await;
    }
    enqueue(&world, "free", |options| options).await;

    starts(&world, 3 * JOBS).await;

    let (a, b) = (seconds(&world, "a").await, seconds(&world, "b").await);
    assert_spaced(&a);
    assert_spaced(&b);
    // Jobs without a rate do not wait: the last of them starts before the last of the others.
    let free: f64 = world
        .value(
            "select extract(epoch from max(at) filter (where key <> 'free')
                 - max(at) filter (where key = 'free'))::float8 from starts",
        )
        .await;
    assert!(free > 0.0);
    assert_eq!(world.count("rates").await, 2);
}

#[tokio::test]
async fn jobs_enqueued_one_by_one_are_spaced_too() {
    let world = world().await;
    let app = App::new(()).register::<Tick>();
    let process = world.start(app, worker("*", 10));
    let limits = Limits::key("a").rate(10, 10 * SPACE).burst(BURST);

    for _ in 0..JOBS {
        let request = world.queue.enqueue(Tick("a".to_owned()));
        request.limits(limits.clone()).await.unwrap();
        world.until("ready", 0).await;
    }

    world
        .until("finished where outcome = 'done'", JOBS as i64)
        .await;
    process.stop().await;
    assert_spaced(&seconds(&world, "a").await);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn rates_of_a_queue_and_a_kind_hold_for_jobs_without_limits() {
    for name in ["@queue/default", "@kind/tick"] {
        let world = world().await;
        set_rate(&world, name).await;
        enqueue(&world, "a", |options| options).await;

        starts(&world, JOBS).await;

        assert_spaced(&seconds(&world, "a").await);
    }
}

#[tokio::test]
async fn a_rate_and_a_concurrency_limit_hold_together() {
    let world = world().await;
    enqueue(&world, "a", |options| {
        options.limits(Limits::key("a").to(1).rate(10, 10 * SPACE).burst(BURST))
    })
    .await;

    starts(&world, JOBS).await;

    assert_spaced(&seconds(&world, "a").await);
    assert_eq!(world.count("slots").await, 0);
}
