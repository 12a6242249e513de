//! What the queue does for jobs, seen through two shards: two databases, on two servers with `QUEUE_TEST_SHARDS=2`,
//! and two schemas of the server that `QUEUE_CITUS_URL` names.

use std::time::Duration;

use queue_core::{Batch, Context, Job, Limits, Options, Queue, ShardBy, Shards, Unique};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Backoff, BoxError, Cx, Perform, Process, RecurringJob, Stop};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgPool};

/// A job that fails once, after a step that must not be repeated.
#[derive(Serialize, Deserialize)]
struct Retried(u32);

impl Job for Retried {
    const KIND: &'static str = "retried";
    const SHARD_BY: ShardBy = ShardBy::Spread;
}

impl Perform<Stage> for Retried {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let stage = cx.state().clone();
        cx.step("once", async || {
            stage.note(format!("step {}", self.0));
            Ok::<_, BoxError>(())
        })
        .await?;
        if cx.attempt().number == 1 {
            return Err("once more".into());
        }
        cx.state().note(format!("retried {}", self.0));
        Ok(())
    }

    fn backoff() -> Backoff {
        Backoff::fixed(Duration::from_millis(10))
    }
}

/// A job of which one of a tenant runs at a time.
#[derive(Serialize, Deserialize)]
struct Alone(String);

impl Job for Alone {
    const KIND: &'static str = "alone";

    fn limits(&self) -> Limits {
        Limits::key(self.0.clone())
    }
}

impl Perform<Stage> for Alone {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let runs = format!("{} runs", self.0);
        let ended = format!("{} ended", self.0);
        cx.state().note(&*runs);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if cx.state().times(&runs) - cx.state().times(&ended) > 1 {
            cx.state().note("two at once");
        }
        cx.state().note(ended);
        Ok(())
    }
}

const TENANTS: [&str; 3] = ["t1", "t2", "t3"];

/// Enqueues jobs to retry, with limits, with unique keys and in batches.
async fn enqueue(shards: &Shards) {
    for number in 0..6 {
        shards.enqueue(Retried(number)).await.unwrap();
    }
    for tenant in TENANTS {
        let jobs = (0..4).map(|_| Alone(tenant.to_owned()));
        let enqueueing = shards
            .enqueue_many(jobs)
            .with(|options| options.context(Context::new().tenant(tenant)));
        enqueueing.await.unwrap();
        let once = async || {
            let unique = Unique::by_key(tenant);
            let later = Options::new().unique(unique).delay(Duration::from_secs(1));
            let note = queue_core::NewJob::of(&Note::new(format!("once {tenant}"))).unwrap();
            let note = note.with(|_| later.context(Context::new().tenant(tenant)));
            shards.enqueue_all([note]).await.unwrap()[0].clone()
        };
        let (first, second) = (once().await, once().await);
        assert_eq!(first.id(), second.id());
        assert!(first.enqueued.is_new() && !second.enqueued.is_new());
    }
    for (name, queue) in shards.iter() {
        let mut batch = Batch::new()
            .on_success(&Note::new(format!("batch of {name}")))
            .unwrap();
        for _ in 0..3 {
            batch.add(&Note::new("member")).unwrap();
        }
        queue.enqueue_batch(batch).await.unwrap();
    }
}

/// Waits for all of these jobs, and checks what they did.
async fn until_ended(shards: &Shards, stage: &Stage) {
    for number in 0..6 {
        stage.noted(&format!("retried {number}")).await;
        assert_eq!(stage.times(&format!("step {number}")), 1);
    }
    for tenant in TENANTS {
        stage.noted_times(&format!("{tenant} ended"), 4).await;
        stage.noted(&format!("once {tenant}")).await;
    }
    assert_eq!(stage.times("two at once"), 0);
    for (name, _) in shards.iter() {
        stage.noted(&format!("batch of {name}")).await;
    }
    assert_eq!(stage.times("member"), 3 * shards.iter().count());
}

/// Does everything that the queue does, and checks the results.
async fn walk_through(shards: &Shards) {
    let stage = Stage::default();
    let tick = RecurringJob::new("tick", "every second", Note::new("tick")).unwrap();
    let app = stage.app().register::<Retried>().register::<Alone>();
    let names: Vec<&str> = shards.iter().map(|(name, _)| name).collect();
    let process = Process::of_shards(shards, names, app.recurring(tick), worker("*", 8)).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));

    enqueue(shards).await;
    until_ended(shards, &stage).await;
    stage.noted_times("tick", 2).await;
    stop.gracefully();
    running.await.unwrap();
    for (_, queue) in shards.iter() {
        let schema = queue.schema().name();
        let unfinished = format!(
            "select count(*) from {schema}.jobs where id not in (select job_id from {schema}.finished)"
        );
        let unfinished: i64 = sqlx::query_scalar(AssertSqlSafe(unfinished))
            .fetch_one(queue.pool())
            .await
            .unwrap();
        let declared = shards.shard_of_recurring("tick").1.schema().name() == schema;
        // A last tick may have been enqueued while the process stopped.
        assert!(unfinished <= i64::from(declared), "{schema}: {unfinished}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_do_as_shards_what_one_queue_does() {
    let (a, b) = (World::new().await, World::on_other_server().await);
    let shards = [("a", a.queue.clone()), ("b", b.queue.clone())];
    walk_through(&Shards::new(shards).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schemas_of_a_coordinator_do_as_shards_what_one_queue_does() {
    let Ok(url) = std::env::var("QUEUE_CITUS_URL") else {
        eprintln!("left out: QUEUE_CITUS_URL, the coordinator of a distributed server, is not set");
        return;
    };
    let pool = PgPool::connect(&url).await.unwrap();
    let names = ["queue_shard_a", "queue_shard_b"];
    let mut queues = Vec::new();
    for name in names {
        let statement = format!("drop schema if exists {name} cascade");
        sqlx::query(AssertSqlSafe(statement))
            .execute(&pool)
            .await
            .unwrap();
        let queue = Queue::new(pool.clone()).in_schema(name).unwrap();
        queue.migrate().await.unwrap();
        queues.push((name, queue));
    }
    walk_through(&Shards::new(queues).unwrap()).await;
}
