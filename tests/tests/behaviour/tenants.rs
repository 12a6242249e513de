//! Fair queues: tenants take turns, each with its jobs in their order.

use std::collections::BTreeMap;
use std::time::Duration;

use queue_core::operations::limits::{LimitSetting, SetBy, set};
use queue_core::operations::queues::set_fair;
use queue_core::operations::tenants::{pause, resume, set_weight};
use queue_core::{Context, Limits, NewJob};
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::Settings;
use queue_worker::config::QueueSettings;

/// Returns a world whose queue `mail` is fair.
async fn fair_world() -> World {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    assert!(set_fair(&mut conn, schema, "mail", true).await.unwrap());
    world
}

/// Makes jobs of a tenant that note its name and a number.
fn notes(tenant: &str, count: usize) -> impl Iterator<Item = NewJob> {
    (0..count).map(move |n| {
        let note = NewJob::of(&Note::new(format!("{tenant}{n}"))).unwrap();
        let context = Context::new().tenant(tenant);
        note.with(|options| options.queue("mail").context(context))
    })
}

async fn enqueue(world: &World, tenant: &str, count: usize) {
    let enqueued = world.queue.enqueue_all(notes(tenant, count)).await;
    assert_eq!(enqueued.unwrap().len(), count);
}

/// Runs all jobs one after another, and returns their notes.
async fn run_one_by_one(world: &World, jobs: i64) -> Vec<String> {
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 1));
    world.until("finished", jobs).await;
    process.stop().await;
    stage.notes()
}

#[tokio::test]
async fn tenants_of_a_fair_queue_take_turns_and_each_keeps_its_order() {
    let world = fair_world().await;
    enqueue(&world, "a", 6).await;
    enqueue(&world, "b", 3).await;
    enqueue(&world, "c", 1).await;

    let notes = run_one_by_one(&world, 10).await;

    let expected = ["a0", "b0", "c0", "a1", "b1", "a2", "b2", "a3", "a4", "a5"];
    assert_eq!(notes, expected);
}

#[tokio::test]
async fn a_queue_that_is_not_fair_runs_the_jobs_of_all_tenants_in_order() {
    let world = World::new().await;
    enqueue(&world, "a", 3).await;
    enqueue(&world, "b", 2).await;

    let notes = run_one_by_one(&world, 5).await;

    assert_eq!(notes, ["a0", "a1", "a2", "b0", "b1"]);
}

#[tokio::test]
async fn jobs_without_a_tenant_take_turns_with_all_others() {
    let world = fair_world().await;
    enqueue(&world, "a", 40).await;
    for n in 0..40 {
        let note = world.queue.enqueue(Note::new(format!("-{n}")));
        note.queue("mail").await.unwrap();
    }

    let notes = run_one_by_one(&world, 80).await;

    let place = |note: &str| notes.iter().position(|noted| noted == note).unwrap();
    assert!(place("-0") < place("a39"), "{notes:?}");
    assert!(place("a0") < place("-39"), "{notes:?}");
}

#[tokio::test]
async fn ten_jobs_of_a_tenant_start_soon_while_another_has_100_000_waiting() {
    let world = fair_world().await;
    let busy = notes("a", 100_000).map(Ok);
    let _ = world.queue.copy_jobs(busy).await.unwrap();
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 2));
    stage.noted("a1000").await;

    let before = stage.notes().len();
    enqueue(&world, "b", 10).await;
    let committed = stage.notes().len();
    stage.noted("b9").await;
    let notes = stage.notes();
    process.stop_at_once().await;

    let first = notes.iter().position(|note| note == "b0").unwrap();
    let last = notes.iter().position(|note| note == "b9").unwrap();
    assert!(first >= before, "it ran before it was enqueued");
    assert!(
        last - first <= 20,
        "{} starts for ten jobs",
        last - first + 1
    );
    assert!(
        last - committed < 20_000,
        "{} jobs started before",
        last - committed
    );
}

#[tokio::test]
async fn a_process_declares_which_queues_are_fair() {
    let world = World::new().await;
    let fair = |fair| Settings {
        queues: BTreeMap::from([("mail".to_owned(), QueueSettings { fair })]),
        ..worker("mail", 1)
    };
    let stage = Stage::default();
    for is_fair in [true, false] {
        let process = world.start(stage.app(), fair(is_fair));
        world
            .until(
                &format!("queues where is_fair = {is_fair} and name = 'mail'"),
                1,
            )
            .await;
        process.stop().await;
    }
}

#[tokio::test]
async fn a_queue_that_becomes_fair_or_not_keeps_the_jobs_that_wait() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    enqueue(&world, "a", 20).await;
    set_fair(&mut conn, schema, "mail", true).await.unwrap();
    enqueue(&world, "b", 20).await;
    set_fair(&mut conn, schema, "mail", false).await.unwrap();
    enqueue(&world, "c", 20).await;

    let notes = run_one_by_one(&world, 60).await;

    for tenant in ["a", "b", "c"] {
        let own: Vec<&String> = notes
            .iter()
            .filter(|note| note.starts_with(tenant))
            .collect();
        let expected: Vec<String> = (0..20).map(|n| format!("{tenant}{n}")).collect();
        assert!(own.into_iter().eq(&expected), "{notes:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_committed_late_starts_although_later_ones_of_its_tenant_have_run() {
    let world = fair_world().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 1));
    let mut tx = world.pool().begin().await.unwrap();
    let late = notes("late", 1);
    let _ = world.queue.enqueue_all(late).tx(&mut tx).await.unwrap();
    enqueue(&world, "late", 30).await;
    stage.noted("late29").await;

    tx.commit().await.unwrap();

    stage.noted_times("late0", 2).await;
    process.stop().await;
}

#[tokio::test]
async fn a_worker_that_only_polls_finds_the_jobs_of_tenants() {
    let world = fair_world().await;
    let stage = Stage::default();
    let mut settings = worker("mail", 1);
    settings.process.notifications = false;
    settings.workers[0].poll_interval = Duration::from_millis(50);
    let process = world.start(stage.app(), settings);
    for tenant in ["a", "b", "a"] {
        enqueue(&world, tenant, 1).await;
        stage.noted(&format!("{tenant}0")).await;
    }
    stage.noted_times("a0", 2).await;
    process.stop().await;
}

async fn pause_tenant(world: &World, tenant: &str) {
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let paused = pause(&mut conn, schema, tenant, None, Some("a test")).await;
    assert!(paused.unwrap());
}

async fn resume_tenant(world: &World, tenant: &str) {
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    assert!(resume(&mut conn, schema, tenant).await.unwrap());
}

#[tokio::test]
async fn a_turn_has_as_many_jobs_as_the_weight_of_the_tenant() {
    let world = fair_world().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    assert!(set_weight(&mut conn, schema, "b", 3).await.unwrap());
    enqueue(&world, "a", 4).await;
    enqueue(&world, "b", 6).await;

    let notes = run_one_by_one(&world, 10).await;

    let expected = ["a0", "b0", "b1", "b2", "a1", "b3", "b4", "b5", "a2", "a3"];
    assert_eq!(notes, expected);
}

#[tokio::test]
async fn jobs_of_a_paused_tenant_stay_until_it_is_resumed() {
    let world = fair_world().await;
    pause_tenant(&world, "a").await;
    enqueue(&world, "a", 5).await;
    enqueue(&world, "b", 5).await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 2));
    stage.noted("b4").await;
    enqueue(&world, "b", 1).await;
    stage.noted_times("b0", 2).await;
    assert_eq!(world.count("ready where tenant = 'a'").await, 5);

    resume_tenant(&world, "a").await;

    stage.noted("a4").await;
    process.stop().await;
    let own = stage
        .notes()
        .into_iter()
        .filter(|note| note.starts_with('a'));
    assert!(own.eq(["a0", "a1", "a2", "a3", "a4"]));
}

#[tokio::test]
async fn jobs_with_limits_of_a_paused_tenant_stay_and_delay_no_other_with_their_key() {
    let world = fair_world().await;
    let limited = |tenant: &str, name: &str| {
        let limits = Limits::key("disk").to(1);
        let job = world.queue.enqueue(Gated::new(name));
        job.queue("mail")
            .limits(limits)
            .context(Context::new().tenant(tenant))
    };
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 3));
    limited("b", "first").await.unwrap();
    stage.noted("first begins").await;
    for (tenant, name) in [("a", "second"), ("a", "third"), ("b", "fourth")] {
        limited(tenant, name).await.unwrap();
    }
    world.until("blocked", 3).await;
    pause_tenant(&world, "a").await;
    stage.open("first");
    stage.noted("fourth begins").await;
    assert_eq!(
        stage.times("second begins") + stage.times("third begins"),
        0
    );
    stage.open("fourth");
    world.until("finished", 2).await;

    resume_tenant(&world, "a").await;

    stage.open("second");
    stage.open("third");
    stage.noted("second ends").await;
    stage.noted("third ends").await;
    process.stop().await;
}

#[tokio::test]
async fn a_limited_tenant_has_so_many_jobs_at_once_and_delays_no_other() {
    let world = fair_world().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let two = LimitSetting {
        to: Some(2),
        rate: None,
    };
    let set_by = SetBy::Operator;
    set(&mut conn, schema, "@tenant/a", two, set_by)
        .await
        .unwrap();
    for n in 0..6 {
        let job = world.queue.enqueue(Gated::new(format!("a{n}")));
        let context = Context::new().tenant("a");
        job.queue("mail").context(context).await.unwrap();
    }
    enqueue(&world, "b", 6).await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 5));
    stage.noted("b5").await;
    stage.noted("a0 begins").await;
    stage.noted("a1 begins").await;
    world.until("claimed", 2).await;
    assert_eq!(world.count("slots where key = '@tenant/a'").await, 2);
    for n in 0..6 {
        stage.open(&format!("a{n}"));
    }
    world.until("finished", 12).await;
    process.stop().await;
    assert_eq!(world.count("slots").await, 0);
}

#[tokio::test]
async fn a_limit_of_a_fair_queue_holds() {
    let world = fair_world().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let one = LimitSetting {
        to: Some(1),
        rate: None,
    };
    set(&mut conn, schema, "@queue/mail", one, SetBy::Operator)
        .await
        .unwrap();
    enqueue(&world, "a", 5).await;
    enqueue(&world, "b", 5).await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 4));
    world.until("finished", 10).await;
    process.stop().await;
    let notes = stage.notes();
    for tenant in ["a", "b"] {
        let own: Vec<&String> = notes
            .iter()
            .filter(|note| note.starts_with(tenant))
            .collect();
        let expected: Vec<String> = (0..5).map(|n| format!("{tenant}{n}")).collect();
        assert!(own.into_iter().eq(&expected), "{notes:?}");
    }
}
