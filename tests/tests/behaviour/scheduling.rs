//! Scheduled jobs become ready when they are due: in order and once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::JobId;
use queue_core::transitions::promote::{DuePlace, Promoted, next_due, promote, promote_after};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, promptly, worker};
use tokio::task::JoinSet;

async fn enqueue_at(world: &World, text: &str, time: &str) -> JobId {
    let request = world.queue.enqueue(Note::new(text));
    let time: DateTime<Utc> = time.parse().unwrap();
    request.at(time).await.unwrap().id()
}

#[tokio::test]
async fn jobs_are_promoted_in_the_order_of_their_due_times() {
    let world = World::new().await;
    for (text, time) in [
        ("third", "2100-01-03T00:00:00Z"),
        ("first", "2100-01-01T00:00:00Z"),
        ("second", "2100-01-02T00:00:00Z"),
    ] {
        enqueue_at(&world, text, time).await;
    }
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let now = "2100-02-01T00:00:00Z".parse().unwrap();

    assert_eq!(promote(&mut conn, schema, Some(now), 2).await.unwrap(), 2);
    assert_eq!(promote(&mut conn, schema, Some(now), 2).await.unwrap(), 1);

    let lined_up: Vec<(String,)> = world
        .rows("select args #>> '{}' from queue.ready join queue.jobs on id = job_id order by seq")
        .await;
    let texts: Vec<&str> = lined_up.iter().map(|(text,)| text.as_str()).collect();
    assert_eq!(texts, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_job_is_promoted_at_its_time_and_not_before() {
    let world = World::new().await;
    let tomorrow = enqueue_at(&world, "a", "2100-01-02T00:00:00Z").await;
    let later = enqueue_at(&world, "b", "2100-01-04T00:00:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    let at = |time: &str| Some(time.parse::<DateTime<Utc>>().unwrap());
    let early = at("2100-01-01T23:59:59Z");
    assert_eq!(promote(&mut conn, schema, early, 10).await.unwrap(), 0);
    assert_eq!(promote(&mut conn, schema, None, 10).await.unwrap(), 0);
    let on_time = at("2100-01-02T00:00:00Z");
    assert_eq!(promote(&mut conn, schema, on_time, 10).await.unwrap(), 1);

    assert_eq!(world.state(tomorrow).await, "ready");
    assert_eq!(world.state(later).await, "scheduled");
}

#[tokio::test]
async fn a_promoted_job_stands_behind_the_jobs_that_were_ready_before() {
    let world = World::new().await;
    let scheduled = enqueue_at(&world, "a", "2100-01-02T00:00:00Z").await;
    let ready = world.queue.enqueue(Note::new("b")).await.unwrap().id();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    world.make_scheduled_due().await;
    promote(&mut conn, schema, None, 10).await.unwrap();

    let order: Vec<(i64,)> = world
        .rows("select job_id from queue.ready order by seq")
        .await;
    assert_eq!(order, [(ready.0,), (scheduled.0,)]);
}

#[tokio::test]
async fn concurrent_dispatchers_promote_every_job_once() {
    let world = World::new().await;
    let jobs = (0..600).map(|n| Note::new(n.to_string()));
    let request = world.queue.enqueue_many(jobs);
    let later = request.with(|options| options.delay(Duration::from_secs(3600)));
    let _ = later.await.unwrap();
    world.make_scheduled_due().await;

    let mut dispatchers = JoinSet::new();
    for _ in 0..4 {
        let (mut conn, schema) = (world.connect().await, world.queue.schema().clone());
        dispatchers.spawn(async move {
            let mut promoted = 0;
            loop {
                match promote(&mut conn, &schema, None, 7).await.unwrap() {
                    0 => return promoted,
                    some => promoted += some,
                }
            }
        });
    }
    let promoted: u64 = dispatchers.join_all().await.into_iter().sum();

    assert_eq!(promoted, 600);
    assert_eq!(world.count("ready").await, 600);
    assert_eq!(world.count("scheduled").await, 0);
    let places: i64 = world
        .value("select count(distinct seq) from queue.ready")
        .await;
    assert_eq!(places, 600);
}

#[tokio::test]
async fn a_dispatcher_skips_jobs_that_another_is_promoting() {
    let world = World::new().await;
    let held = enqueue_at(&world, "a", "2100-01-01T00:00:00Z").await;
    let free = enqueue_at(&world, "b", "2100-01-02T00:00:00Z").await;
    world.make_scheduled_due().await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("select from queue.scheduled where job_id = $1 for update")
        .bind(held.0)
        .execute(&mut *other)
        .await
        .unwrap();

    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let promoted = promptly(promote(&mut conn, schema, None, 10)).await;
    assert_eq!(promoted.unwrap(), 1);

    assert_eq!(world.state(free).await, "ready");
    assert_eq!(world.state(held).await, "scheduled");
}

#[tokio::test]
async fn the_wait_for_the_next_due_job_is_never_negative() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let mut wait = async || {
        let next = next_due(&mut conn, schema, DuePlace::default()).await;
        next.unwrap().wait
    };
    assert_eq!(wait().await, None);

    let request = world.queue.enqueue(Note::new("a"));
    let _ = request.delay(Duration::from_secs(1000)).await.unwrap();

    let seconds = wait().await.unwrap().as_secs();
    assert!((990..=1000).contains(&seconds));
    world.make_scheduled_due().await;
    assert_eq!(wait().await, Some(Duration::ZERO));
}

#[tokio::test]
async fn a_promotion_goes_on_after_the_place_of_the_last_job() {
    let world = World::new().await;
    let first = enqueue_at(&world, "first", "2100-01-01T00:00:00Z").await;
    let second = enqueue_at(&world, "second", "2100-01-01T00:00:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let now = Some("2100-01-01T00:00:00Z".parse().unwrap());
    let all = DuePlace::default();

    let promoted = promote_after(&mut conn, schema, all, now, 1).await.unwrap();
    assert_eq!(world.state(first).await, "ready");
    let promoted = promote_after(&mut conn, schema, promoted.last.unwrap(), now, 1).await;
    let promoted = promoted.unwrap();
    assert_eq!(world.state(second).await, "ready");

    let promoted = promote_after(&mut conn, schema, promoted.last.unwrap(), now, 1).await;
    let none = Promoted {
        jobs: 0,
        last: None,
    };
    assert_eq!(promoted.unwrap(), none);
}

#[tokio::test]
async fn a_floor_is_below_the_next_job() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let job = enqueue_at(&world, "a", "2100-01-01T00:00:00Z").await;
    world
        .sql("update queue.scheduled set due_at = now() - interval '1 hour'")
        .await;

    let all = DuePlace::default();
    let floor = next_due(&mut conn, schema, all).await.unwrap().floor;

    let promoted = promote_after(&mut conn, schema, floor, None, 10).await;
    assert_eq!(promoted.unwrap().jobs, 1);
    assert_eq!(world.state(job).await, "ready");
}

#[tokio::test]
async fn a_job_that_is_committed_just_after_its_due_time_is_above_the_floor() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let mut open = world.pool().begin().await.unwrap();
    let request = world.queue.enqueue(Note::new("late"));
    let request = request.delay(Duration::from_millis(1));
    let job = request.tx(&mut open).await.unwrap().id();

    let all = DuePlace::default();
    let floor = next_due(&mut conn, schema, all).await.unwrap().floor;
    open.commit().await.unwrap();

    let later = Some("2100-01-01T00:00:00Z".parse().unwrap());
    let promoted = promote_after(&mut conn, schema, floor, later, 10).await;
    assert_eq!(promoted.unwrap().jobs, 1);
    assert_eq!(world.state(job).await, "ready");
}

#[tokio::test]
async fn a_job_that_was_locked_while_later_ones_were_promoted_runs_when_it_is_free() {
    let world = World::new().await;
    let held = enqueue_at(&world, "held", "2100-01-01T00:00:00Z").await;
    enqueue_at(&world, "free", "2100-01-02T00:00:00Z").await;
    world
        .sql("update queue.scheduled set due_at = now() - interval '1 hour'")
        .await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("select from queue.scheduled where job_id = $1 for update")
        .bind(held.0)
        .execute(&mut *other)
        .await
        .unwrap();

    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    stage.noted("free").await;
    other.rollback().await.unwrap();

    stage.noted("held").await;
    process.stop().await;
}

#[tokio::test]
async fn a_delayed_job_runs_in_a_process_with_a_dispatcher() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));

    let request = world.queue.enqueue(Note::new("later"));
    let _ = request.delay(Duration::from_millis(30)).await.unwrap();

    stage.noted("later").await;
    process.stop().await;
    let waited = "select ready_at >= created_at + interval '30 ms'
                  from (select max(finished_at) as ready_at from queue.finished) as f, queue.jobs";
    assert!(world.value::<bool>(waited).await);
}

#[tokio::test]
async fn a_full_batch_of_due_jobs_is_followed_by_the_next_at_once() {
    let world = World::new().await;
    world
        .sql(
            "with job as (
                insert into queue.jobs (id, kind, queue, priority, attempts_max, crashes_max, args)
                select nextval('queue.job_seq'), 'k', 'default', 0, 10, 3, '{}'
                from generate_series(1, 105)
                returning id
            )
            insert into queue.scheduled (job_id, due_at, priority, queue, kind)
            select id, now() - interval '1 minute', 0, 'default', 'k' from job",
        )
        .await;
    let mut settings = worker("*", 1);
    settings.workers.clear();
    settings.dispatcher.batch_size = 10;
    settings.dispatcher.poll_interval = Duration::from_secs(3600);

    let process = world.start(Stage::default().app(), settings);

    world.until("ready", 105).await;
    process.stop().await;
}

#[tokio::test]
async fn a_process_without_a_dispatcher_leaves_due_jobs_scheduled() {
    let world = World::new().await;
    let stage = Stage::default();
    let later = enqueue_at(&world, "later", "2100-01-01T00:00:00Z").await;
    world.make_scheduled_due().await;
    let mut settings = worker("*", 1);
    settings.dispatcher.enabled = false;
    let process = world.start(stage.app(), settings);

    let _ = world.queue.enqueue(Note::new("now")).await.unwrap();
    stage.noted("now").await;
    process.stop().await;

    assert_eq!(world.state(later).await, "scheduled");
    let mut dispatcher = worker("*", 1);
    dispatcher.workers.clear();
    let process = world.start(stage.app(), dispatcher);
    world.until_state(later, "ready").await;
    process.stop().await;
}
