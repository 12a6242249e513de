//! Schedulers: any number of them enqueue each due time once, even if recurring jobs change and
//! connections break while they run.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::recurring::{Overlap, RecurringJob, add, pause, register, remove, replace};
use queue_core::schedule::Tz;
use queue_core::{Options, Queue};
use queue_tests::deeds::{self, Deed, Ledger};
use queue_tests::proxy::Proxy;
use queue_tests::recurring::{by, names, recurring_job, until_names};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{World, eventually};
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform, Process, Stop};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Postgres, Transaction};

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

/// Sets all plans to a time some seconds ago. Less than a minute ago is still on time.
async fn plan_from_ago(world: &World, seconds: u32) {
    let statement = format!(
        "update queue.recurring_jobs
         set next_at = date_trunc('second', now()) - interval '{seconds} seconds'"
    );
    world.sql(&statement).await;
}

#[tokio::test]
async fn many_processes_enqueue_each_second_of_a_recurring_job_once() {
    let world = World::new().await;
    let stage = Stage::default();
    let processes: Vec<_> = (0..3)
        .map(|_| {
            let app = stage.app().recurring(recurring_job("tick", "every second"));
            world.start(app, by("app"))
        })
        .collect();

    stage.noted_times("tick", 4).await;
    for process in processes {
        process.stop().await;
    }

    assert_one_job_a_second(&world).await;
}

/// Asserts that a recurring job of every second has skipped no due time and enqueued none twice.
async fn assert_one_job_a_second(world: &World) {
    let due: Vec<(DateTime<Utc>,)> = world
        .rows("select due_at from queue.firings where outcome = 'enqueued' order by due_at")
        .await;
    for pair in due.windows(2) {
        assert_eq!((pair[1].0 - pair[0].0).num_milliseconds(), 1_000);
    }
    assert_eq!(world.count("firings").await, due.len() as i64);
    assert_eq!(world.count("jobs").await, due.len() as i64);
}

#[tokio::test]
async fn killed_processes_skip_no_due_time_and_enqueue_none_twice() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let recurring = RecurringJob::new("tick", "every second", Deed::Quick).unwrap();
    let mut conn = world.connect().await;
    add(&mut conn, world.queue.schema(), &recurring, Tz::UTC)
        .await
        .unwrap();
    let orders = Orders::of(&world);

    for _ in 0..3 {
        let fired = world.count("firings").await;
        let mut victims = [(); 2].map(|()| Victim::start(WORKER, &orders));
        eventually("both have started", async || {
            world.count("processes").await >= 2
        })
        .await;
        eventually("one has fired", async || {
            world.count("firings").await > fired
        })
        .await;
        for victim in &mut victims {
            victim.kill().await;
        }
        world.sql("delete from queue.processes").await;
    }

    assert_one_job_a_second(&world).await;
}

#[tokio::test]
async fn a_scheduler_continues_after_its_connection_breaks_within_a_transaction() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let proxy = Proxy::before(&world.connect_options());
    let pool = PgPoolOptions::new().connect_lazy_with(proxy.connect_options());
    let recurring = RecurringJob::new("tick", "every second", Deed::Quick).unwrap();
    let app = deeds::app(world.pool().clone()).recurring(recurring);
    let process = Process::new(Queue::new(pool), app, by("app")).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));

    for lost in 1..=3 {
        proxy.lose_one("insert into queue.firings");
        eventually("a response is lost", async || proxy.lost() == lost).await;
        let fired = world.count("firings").await;
        eventually("another due time is fired", async || {
            world.count("firings").await > fired
        })
        .await;
    }
    stop.gracefully();
    running.await.unwrap();

    assert_one_job_a_second(&world).await;
}

#[tokio::test]
async fn a_process_brings_back_a_plan_that_is_too_far_ahead() {
    let world = World::new().await;
    let stage = Stage::default();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let every_second = recurring_job("tick", "every second");
    add(&mut conn, schema, &every_second, Tz::UTC)
        .await
        .unwrap();
    world
        .sql("update queue.recurring_jobs set next_at = now() + interval '1 year'")
        .await;

    let process = world.start(stage.app(), by("app"));

    stage.noted_times("tick", 2).await;
    process.stop().await;
}

#[tokio::test]
async fn running_schedulers_see_recurring_jobs_that_are_added_changed_and_removed() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), by("app"));
    world.until("processes", 1).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let noting =
        |text: &str| RecurringJob::new("dynamic", "every second", Note::new(text)).unwrap();

    add(&mut conn, schema, &noting("first"), Tz::UTC)
        .await
        .unwrap();
    stage.noted("first").await;
    replace(&mut conn, schema, &noting("second"), Tz::UTC)
        .await
        .unwrap();
    stage.noted("second").await;
    remove(&mut conn, schema, "dynamic").await.unwrap();
    add(&mut conn, schema, &noting("third"), Tz::UTC)
        .await
        .unwrap();
    stage.noted("third").await;
    remove(&mut conn, schema, "dynamic").await.unwrap();
    let enqueued = world.count("firings").await;
    add(
        &mut conn,
        schema,
        &recurring_job("probe", "every second"),
        Tz::UTC,
    )
    .await
    .unwrap();
    stage.noted_times("probe", 2).await;
    process.stop().await;

    assert_eq!(
        world.count("firings where recurring_job = 'dynamic'").await,
        enqueued
    );
    assert_eq!(world.count("firings").await, world.count("jobs").await);
}

#[tokio::test]
async fn a_scheduler_does_not_register_again_after_its_connection_breaks() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage.app().recurring(recurring_job("tick", "every second"));
    let process = world.start(app, by("app"));
    stage.noted("tick").await;
    // A newer program declares something else.
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let newer = [recurring_job("tock", "every second")];
    register(&mut conn, schema, "app", &newer, Tz::UTC)
        .await
        .unwrap();

    world
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'queue %'",
        )
        .await;
    let before = stage.times("tock");
    stage.noted_times("tock", before + 2).await;
    process.stop().await;

    assert_eq!(names(&world).await, ["tock"]);
}

#[tokio::test]
async fn a_scheduler_fires_the_others_if_one_recurring_job_is_unreadable() {
    let world = World::new().await;
    let stage = Stage::default();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    add(
        &mut conn,
        schema,
        &recurring_job("strange", "@daily"),
        Tz::UTC,
    )
    .await
    .unwrap();
    world
        .sql("update queue.recurring_jobs set schedule = 'every blue moon', next_at = now()")
        .await;
    let app = stage.app().recurring(recurring_job("tick", "every second"));

    let process = world.start(app, by("app"));

    stage.noted_times("tick", 2).await;
    process.stop().await;
    assert_eq!(
        world.count("firings where recurring_job = 'strange'").await,
        0
    );
}

/// Records a firing for the next due time of each recurring job, and does not commit.
async fn record_without_commit(world: &World) -> Transaction<'static, Postgres> {
    let mut tx = world.pool().begin().await.unwrap();
    sqlx::query(
        "insert into queue.firings (recurring_job, due_at, outcome)
         select name, next_at, 'enqueued' from queue.recurring_jobs",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx
}

#[tokio::test]
async fn a_scheduler_fires_the_others_if_one_recurring_job_is_locked() {
    let world = World::new().await;
    let stage = Stage::default();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    add(
        &mut conn,
        schema,
        &recurring_job("held", "@yearly"),
        Tz::UTC,
    )
    .await
    .unwrap();
    plan_from_ago(&world, 30).await;
    let tx = record_without_commit(&world).await;
    let app = stage.app().recurring(recurring_job("tick", "every second"));

    let process = world.start(app, by("app"));

    stage.noted_times("tick", 3).await;
    assert_eq!(world.count("firings where recurring_job = 'held'").await, 0);
    let late = "firings where fired_at > due_at + interval '10 seconds'";
    assert_eq!(world.count(late).await, 0);
    tx.rollback().await.unwrap();
    stage.noted("held").await;
    process.stop().await;
}

#[tokio::test]
async fn a_recurring_job_that_failed_is_retried_soon_even_with_a_long_poll_interval() {
    let world = World::new().await;
    let stage = Stage::default();
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    add(
        &mut conn,
        schema,
        &recurring_job("held", "@yearly"),
        Tz::UTC,
    )
    .await
    .unwrap();
    plan_from_ago(&world, 10).await;
    let tx = record_without_commit(&world).await;
    let mut settings = by("app");
    settings.scheduler.poll_interval = Duration::from_secs(3_600);
    let process = world.start(stage.app(), settings);
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    for count in [1, 0] {
        eventually("it waits for the lock, and then gives up", async || {
            world.value::<i64>(waiting).await == count
        })
        .await;
    }

    tx.rollback().await.unwrap();

    stage.noted("held").await;
    process.stop().await;
}

/// A job that fails, and is retried much later.
#[derive(Serialize, Deserialize)]
struct Flaky;

impl Job for Flaky {
    const KIND: &'static str = "flaky";

    fn options() -> Options {
        Options::new().queue("flaky").attempts(7)
    }
}

impl Perform<Stage> for Flaky {
    type Error = BoxError;

    async fn perform(self, _cx: Cx<Stage>) -> Result<(), BoxError> {
        Err("not yet".into())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::from_secs(3_600))
    }
}

#[tokio::test]
async fn overlap_skip_counts_jobs_that_run_or_wait_for_a_retry() {
    let world = World::new().await;
    let stage = Stage::default();
    let app = stage
        .app()
        .register::<Flaky>()
        .recurring(
            RecurringJob::new("runs", "@yearly", Gated::new("g"))
                .unwrap()
                .overlap(Overlap::Skip),
        )
        .recurring(
            RecurringJob::new("waits", "@yearly", Flaky)
                .unwrap()
                .overlap(Overlap::Skip),
        );
    let process = world.start(app, by("app"));
    until_names(&world, &["runs", "waits"]).await;
    plan_from_ago(&world, 10).await;
    stage.noted("g begins").await;
    world.until("scheduled where attempt = 1", 1).await;

    plan_from_ago(&world, 20).await;
    world.until("firings where outcome = 'overlap'", 2).await;
    stage.open("g");
    world.until("finished", 1).await;
    plan_from_ago(&world, 30).await;
    world.until("firings where outcome = 'overlap'", 3).await;

    world.until("finished", 2).await;
    assert_eq!(
        world
            .count("firings where outcome = 'enqueued' and recurring_job = 'runs'")
            .await,
        2
    );
    process.stop().await;
}

#[tokio::test]
async fn overlap_queue_runs_jobs_one_after_another() {
    let world = World::new().await;
    let stage = Stage::default();
    let recurring = RecurringJob::new("in_turn", "every second", Gated::new("g")).unwrap();
    let app = stage.app().recurring(recurring.overlap(Overlap::Queued));
    let process = world.start(app, by("app"));
    stage.noted("g begins").await;

    eventually("two more are blocked", async || {
        world.count("blocked").await >= 2
    })
    .await;
    let begun = stage.times("g begins");
    let mut conn = world.connect().await;
    pause(&mut conn, world.queue.schema(), "in_turn")
        .await
        .unwrap();
    stage.open("g");
    world.until("finished", world.count("jobs").await).await;
    process.stop().await;

    assert_eq!(begun, 1);
    assert_eq!(world.count("firings where outcome <> 'enqueued'").await, 0);
    let notes = stage.notes();
    assert!(
        notes.chunks(2).all(|pair| pair == ["g begins", "g ends"]),
        "{notes:?}"
    );
}

#[tokio::test]
async fn a_typed_recurring_job_has_the_options_of_its_kind() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let declared = [RecurringJob::new("flaky", "@daily", Flaky).unwrap()];

    register(&mut conn, schema, "app", &declared, Tz::UTC)
        .await
        .unwrap();

    let with_its_options =
        "recurring_jobs where kind = 'flaky' and queue = 'flaky' and attempts_max = 7";
    assert_eq!(world.count(with_its_options).await, 1);
}

#[tokio::test]
async fn maintenance_clears_old_firings() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    add(&mut conn, schema, &recurring_job("a", "@yearly"), Tz::UTC)
        .await
        .unwrap();
    world
        .sql(
            "insert into queue.firings (recurring_job, due_at, fired_at, outcome)
             select 'a', at, at, 'missed'
             from generate_series(now() - interval '33 days', now(), interval '1 day') as at",
        )
        .await;
    let mut settings = by("app");
    settings.maintenance.interval = Duration::from_millis(100);
    settings.maintenance.batch_size = 2;

    let process = world.start(Stage::default().app(), settings);
    world
        .until("firings where fired_at < now() - interval '30 days'", 0)
        .await;
    process.stop().await;

    assert_eq!(world.count("firings").await, 30);
}
