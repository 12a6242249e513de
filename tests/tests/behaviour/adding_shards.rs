//! A shard that is added: keys move to it when the shard that they come from has none of their unfinished jobs.

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use queue_core::{Context, Job, Limits, NewJob, Queue, ShardBy, ShardState, Shards, ShardsError};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{App, Cx, Perform};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use crate::shards::Index;

/// A job of a tenant.
#[derive(Serialize, Deserialize)]
struct Invoice {
    order: u32,
}

impl Job for Invoice {
    const KIND: &'static str = "invoice";
}

/// A job that runs one at a time for each room.
#[derive(Serialize, Deserialize)]
struct Tidy {
    room: u32,
}

impl Job for Tidy {
    const KIND: &'static str = "tidy";
    const SHARD_BY: ShardBy = ShardBy::LimitKey;

    fn limits(&self) -> Limits {
        Limits::key(self.room.to_string())
    }
}

macro_rules! does_nothing {
    ($($job:ty),*) => {$(
        impl Perform<()> for $job {
            type Error = Infallible;

            async fn perform(self, _cx: Cx<()>) -> Result<(), Infallible> {
                Ok(())
            }
        }
    )*};
}
does_nothing!(Invoice, Tidy);

impl Perform<()> for Index {
    type Error = Infallible;

    async fn perform(self, _cx: Cx<()>) -> Result<(), Infallible> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }
}

fn invoice(number: u32) -> NewJob {
    let context = Context::new().tenant(format!("tenant-{number}"));
    let job = NewJob::of(&Invoice { order: 7 }).unwrap();
    job.with(|options| options.context(context))
}

fn index(page: u32) -> NewJob {
    NewJob::of(&Index { page }).unwrap()
}

fn tidy(room: u32) -> NewJob {
    NewJob::of(&Tidy { room }).unwrap()
}

/// The shards `a` and `b`, and `c`, which is being added.
struct Growing {
    worlds: [World; 3],
    before: Shards,
    adding: Shards,
}

impl Growing {
    async fn new() -> Self {
        let worlds = [World::new().await, World::new().await, World::new().await];
        let [a, b, c] = [0, 1, 2].map(|number: usize| worlds[number].queue.clone());
        let before = Shards::new([("a", a.clone()), ("b", b.clone())]).unwrap();
        let adding = adding([("a", a), ("b", b), ("c", c)]);
        Self {
            worlds,
            before,
            adding,
        }
    }

    /// Runs all jobs.
    async fn end_all(&self) {
        for world in &self.worlds {
            let app = App::new(()).register::<Invoice>();
            let app = app.register::<Index>().register::<Tidy>();
            let process = world.start(app, worker("*", 4));
            world.until_all_ended().await;
            process.stop().await;
        }
    }

    async fn count(&self, of: &str) -> i64 {
        let counts = join_all(self.worlds.iter().map(|world| world.count(of))).await;
        counts.into_iter().sum()
    }
}

fn adding(shards: [(&str, Queue); 3]) -> Shards {
    let shards = Shards::new(shards).unwrap();
    shards.with_state("c", ShardState::Adding).unwrap()
}

/// Returns the first job whose key moves to the new shard, if no other job has it.
async fn moving(shards: &Shards, job: impl Fn(u32) -> NewJob) -> NewJob {
    let mut number = 0;
    loop {
        let job = job(number);
        if shards.shard_of(&job).await.unwrap().0 == "c" {
            return job;
        }
        number += 1;
    }
}

async fn enqueue(shards: &Shards, job: &NewJob) -> String {
    let enqueued = shards.enqueue_all([job.clone()]).await.unwrap();
    enqueued[0].shard.to_string()
}

#[tokio::test]
async fn a_key_moves_once_the_old_shard_has_none_of_its_unfinished_jobs() {
    let growing = Growing::new().await;
    let (before, adding) = (&growing.before, &growing.adding);
    for of_number in [invoice, index, tidy] {
        let job = moving(adding, of_number).await;
        let old = enqueue(before, &job).await;
        assert_eq!(enqueue(adding, &job).await, old);
        assert_eq!(adding.shard_of(&job).await.unwrap().0, old);

        growing.end_all().await;
        assert_eq!(adding.shard_of(&job).await.unwrap().0, "c");
        assert_eq!(enqueue(adding, &job).await, "c");
        assert_eq!(enqueue(adding, &job).await, "c");
    }
}

#[tokio::test]
async fn a_key_stays_while_its_job_was_blocked_and_is_ready_again() {
    let growing = Growing::new().await;
    let job = moving(&growing.adding, tidy).await;
    let old = enqueue(&growing.before, &job).await;
    for world in &growing.worlds {
        world.sql("update queue.ready set track = 2").await;
    }
    assert_eq!(enqueue(&growing.adding, &job).await, old);
}

#[tokio::test]
async fn many_jobs_are_each_on_the_shard_of_their_key() {
    let growing = Growing::new().await;
    let staying = moving(&growing.adding, invoice).await;
    let old = enqueue(&growing.before, &staying).await;
    let jobs = (0..200).map(|number| invoice(1_000 + number));
    let jobs: Vec<NewJob> = jobs.chain([staying.clone()]).collect();

    let enqueued = growing.adding.enqueue_all(jobs.clone()).await.unwrap();

    assert_eq!(*enqueued[200].shard, *old);
    let mut moved = 0;
    for (job, on) in jobs.iter().zip(&enqueued) {
        assert_eq!(growing.adding.shard_of(job).await.unwrap().0, &*on.shard);
        moved += i32::from(&*on.shard == "c");
    }
    assert!((35..=100).contains(&moved), "{moved}");
    assert_eq!(growing.count("jobs").await, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn programs_that_enqueue_at_once_agree_about_a_key() {
    let growing = Growing::new().await;
    let app = || App::new(()).register::<Index>();
    let processes =
        [0, 1, 2].map(|number: usize| growing.worlds[number].start(app(), worker("*", 4)));
    for page in 0..30 {
        let job = moving(&growing.adding, |number| index(1_000 * page + number)).await;
        // It stays at first, and moves when the old shard has run the first.
        enqueue(&growing.before, &job).await;
        let enqueueing = (0..8).map(|_| async {
            for _ in 0..30 {
                enqueue(&growing.adding, &job).await;
            }
        });
        join_all(enqueueing).await;
    }
    for world in &growing.worlds {
        world.until_all_ended().await;
    }
    for process in processes {
        process.stop().await;
    }

    let mut lives: Vec<(Vec<u8>, DateTime<Utc>, DateTime<Utc>)> = Vec::new();
    for world in &growing.worlds {
        let of_jobs = "select unique_key, created_at, finished_at
            from queue.jobs join queue.finished on job_id = id";
        lives.extend(world.rows(of_jobs).await);
    }
    lives.sort();
    assert!(lives.len() > 60, "{}", lives.len());
    let both = lives.windows(2).filter(|two| {
        let [(key, _, end), (other, begin, _)] = two else {
            return false;
        };
        // The times are taken within transactions, and so before their ends.
        key == other && *begin + TimeDelta::milliseconds(5) < *end
    });
    assert_eq!(both.count(), 0);
}

#[tokio::test]
async fn an_old_shard_that_is_away_is_named_and_nothing_is_enqueued() {
    let world = World::new().await;
    let away = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(1))
        .connect_lazy("postgres://127.0.0.1:1/nowhere");
    let away = Queue::new(away.unwrap());
    let of_all = |queue: &Queue| {
        let queue = queue.clone();
        adding([
            ("a", queue.clone()),
            ("b", queue),
            ("c", world.queue.clone()),
        ])
    };
    let job = moving(&of_all(&world.queue), invoice).await;

    let refused = of_all(&away).enqueue_all([job]).await.unwrap_err();

    assert!(
        matches!(refused, ShardsError::NotAsked { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("no job was enqueued"));
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_job_that_moved_is_enqueued_though_the_old_shard_went_away_meanwhile() {
    let growing = Growing::new().await;
    let job = moving(&growing.adding, invoice).await;
    let [a, b, c] = &growing.worlds;
    let mut obstacle = c.pool().begin().await.unwrap();
    sqlx::query("lock table queue.jobs")
        .execute(&mut *obstacle)
        .await
        .unwrap();

    let (shard, ()) = tokio::join!(enqueue(&growing.adding, &job), async {
        eventually("the job waits for the new shard", async || {
            let waiting = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
            c.value::<i64>(waiting).await > 0
        })
        .await;
        for old in [a, b] {
            old.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and state = 'idle in transaction'",
            )
            .await;
        }
        obstacle.rollback().await.unwrap();
    });

    assert_eq!(shard, "c");
    assert_eq!(growing.count("jobs").await, 1);
}

#[tokio::test]
async fn unique_jobs_beside_a_key_that_moves_are_enqueued_in_any_order() {
    let growing = Growing::new().await;
    let mut numbers = 0..;
    let mut next = async |before: &str, now: &str, job: fn(u32) -> NewJob| loop {
        let job = job(numbers.next().unwrap());
        if growing.before.shard_of(&job).await.unwrap().0 == before
            && growing.adding.shard_of(&job).await.unwrap().0 == now
        {
            return job;
        }
    };
    let filler = next("a", "a", invoice).await;
    for _ in 0..2 {
        let (one, other) = (next("a", "a", index).await, next("a", "a", index).await);
        let moving = [next("a", "c", invoice).await, next("a", "c", invoice).await];
        let list = |moves: &NewJob, first: &NewJob, last: &NewJob| {
            let mut jobs = vec![moves.clone(), first.clone()];
            jobs.extend(vec![filler.clone(); 1_000]);
            jobs.push(last.clone());
            jobs
        };
        let (there, back) = tokio::join!(
            growing.adding.enqueue_all(list(&moving[0], &one, &other)),
            growing.adding.enqueue_all(list(&moving[1], &other, &one)),
        );
        there.unwrap();
        back.unwrap();
    }
}
