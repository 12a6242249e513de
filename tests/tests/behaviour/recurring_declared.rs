//! Declared recurring jobs: a process with a scheduler stores them when it starts.

use chrono::{DateTime, TimeDelta, Utc};
use queue_core::recurring::{
    Overlap, RecurringError, RecurringJob, Registered, add, declare, pause, register, remove,
    replace,
};
use queue_core::schedule::Tz;
use queue_core::{NewJob, Options, Schema};
use queue_tests::recurring::{by, names, recurring_job, until_names};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::{App, InvalidApp};
use serde_json::json;

#[tokio::test]
async fn recurring_jobs_are_stored_when_a_process_declares_them_and_removed_when_it_no_longer_does()
{
    let world = World::new().await;
    let stage = Stage::default();
    let yearly = |name| recurring_job(name, "@yearly");
    let first = stage.app().recurring(yearly("a")).recurring(yearly("b"));
    let process = world.start(first, by("app"));
    until_names(&world, &["a", "b"]).await;
    process.stop().await;
    assert_eq!(names(&world).await, ["a", "b"]);

    let second = stage.app().recurring(yearly("b")).recurring(yearly("c"));
    let process = world.start(second, by("app"));
    until_names(&world, &["b", "c"]).await;
    process.stop().await;

    let process = world.start(stage.app(), by("app"));
    until_names(&world, &[]).await;
    process.stop().await;
}

#[tokio::test]
async fn a_process_without_a_configured_source_removes_nothing() {
    let world = World::new().await;
    let stage = Stage::default();
    let yearly = |name| recurring_job(name, "@yearly");
    let first = stage.app().recurring(yearly("a")).recurring(yearly("b"));
    let process = world.start(first, worker("*", 4));
    until_names(&world, &["a", "b"]).await;
    process.stop().await;

    // Another deployment of the same program declares others.
    let process = world.start(stage.app().recurring(yearly("c")), worker("*", 4));
    until_names(&world, &["a", "b", "c"]).await;
    process.stop().await;

    // The leftovers can be removed by hand.
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let source = remove(&mut conn, schema, "a").await.unwrap();
    assert!(source.is_some_and(|source| source.starts_with("behaviour")));
    assert_eq!(names(&world).await, ["b", "c"]);
}

#[tokio::test]
async fn a_process_without_a_scheduler_registers_and_enqueues_nothing() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = by("app");
    settings.scheduler.enabled = false;
    let app = stage.app().recurring(recurring_job("tick", "every second"));

    let process = world.start(app, settings);
    world.queue.enqueue(Note::new("by hand")).await.unwrap();
    stage.noted("by hand").await;
    process.stop().await;

    assert_eq!(names(&world).await, [""; 0]);
}

#[tokio::test]
async fn a_new_schedule_counts_from_when_it_is_stored_even_after_a_long_wait_for_the_lock() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema().clone());
    let replaced = recurring_job("replaced", "@yearly");
    add(&mut conn, &schema, &replaced, Tz::UTC).await.unwrap();
    let registered = [recurring_job("registered", "@yearly")];
    register(&mut conn, &schema, "app", &registered, Tz::UTC)
        .await
        .unwrap();
    let mut held = world.pool().begin().await.unwrap();
    sqlx::query("select from queue.recurring_jobs for update")
        .execute(&mut *held)
        .await
        .unwrap();

    let mut other = world.connect().await;
    let in_schema = schema.clone();
    let replacing = tokio::spawn(async move {
        let often = recurring_job("replaced", "every second");
        replace(&mut other, &in_schema, &often, Tz::UTC).await
    });
    let registering = tokio::spawn(async move {
        let often = [recurring_job("registered", "every second")];
        register(&mut conn, &schema, "app", &often, Tz::UTC).await
    });
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    eventually("both wait for the lock", async || {
        world.value::<i64>(waiting).await == 2
    })
    .await;
    let began: DateTime<Utc> = world.value("select clock_timestamp()").await;
    eventually("a due time has passed", async || {
        world
            .value::<DateTime<Utc>>("select clock_timestamp()")
            .await
            > began + TimeDelta::seconds(2)
    })
    .await;
    let freed: DateTime<Utc> = world.value("select clock_timestamp()").await;
    held.rollback().await.unwrap();
    replacing.await.unwrap().unwrap();
    registering.await.unwrap().unwrap();

    let first: DateTime<Utc> = world
        .value("select min(next_at) from queue.recurring_jobs")
        .await;
    assert!(first > freed, "{first} is not after {freed}");
}

#[tokio::test]
async fn registering_an_equal_recurring_job_again_changes_nothing() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let declared = [recurring_job("a", "@hourly")];
    let first = register(&mut conn, schema, "app", &declared, Tz::UTC)
        .await
        .unwrap();
    assert_eq!(first.added, ["a"]);
    world
        .sql("update queue.recurring_jobs set next_at = '2020-01-01'")
        .await;
    pause(&mut conn, schema, "a").await.unwrap();
    let row = "select recurring_jobs::text from queue.recurring_jobs";
    let before: String = world.value(row).await;

    let again = register(&mut conn, schema, "app", &declared, Tz::UTC)
        .await
        .unwrap();

    assert_eq!(again, queue_core::recurring::Registered::default());
    assert_eq!(world.value::<String>(row).await, before);

    let changed = [declared[0].clone().overlap(Overlap::Skip)];
    let changed = register(&mut conn, schema, "app", &changed, Tz::UTC)
        .await
        .unwrap();
    assert_eq!(changed.changed, ["a"]);
    let kept = "recurring_jobs where next_at = '2020-01-01' and paused_at is not null";
    assert_eq!(world.count(kept).await, 1);
}

#[tokio::test]
async fn the_zone_is_that_of_the_text_or_the_recurring_job_or_the_scheduler() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let declared = [
        recurring_job("by_default", "0 9 * * *"),
        recurring_job("own", "0 9 * * *").zone(Tz::Asia__Tokyo),
        recurring_job("text", "0 9 * * * America/Lima").zone(Tz::Asia__Tokyo),
    ];

    register(&mut conn, schema, "app", &declared, Tz::Europe__Berlin)
        .await
        .unwrap();

    let zones: Vec<(String, String)> = world
        .rows("select zone, schedule from queue.recurring_jobs order by name")
        .await;
    let zones: Vec<_> = zones
        .iter()
        .map(|(zone, text)| (zone.as_str(), text.as_str()))
        .collect();
    assert_eq!(
        zones,
        [
            ("Europe/Berlin", "0 9 * * *"),
            ("Asia/Tokyo", "0 9 * * *"),
            ("America/Lima", "0 9 * * * America/Lima"),
        ]
    );
}

#[tokio::test]
async fn a_name_of_another_source_is_left_alone_and_reported() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    add(
        &mut conn,
        schema,
        &recurring_job("dynamic", "@daily"),
        Tz::UTC,
    )
    .await
    .unwrap();
    let theirs = [recurring_job("theirs", "@daily")];
    register(&mut conn, schema, "them", &theirs, Tz::UTC)
        .await
        .unwrap();
    process_of(&world, "them").await;

    let ours = ["dynamic", "ours", "theirs"].map(|name| recurring_job(name, "@weekly"));
    let registered = register(&mut conn, schema, "us", &ours, Tz::UTC)
        .await
        .unwrap();

    assert_eq!(registered.added, ["ours"]);
    let owners: Vec<_> = registered
        .collisions
        .iter()
        .map(|collision| (collision.name.as_str(), collision.owner.as_deref()))
        .collect();
    assert_eq!(owners, [("dynamic", None), ("theirs", Some("them"))]);
    assert_eq!(
        world
            .count("recurring_jobs where schedule = '@daily'")
            .await,
        2
    );
    // Those of other sources are not removed either.
    register(&mut conn, schema, "us", &[], Tz::UTC)
        .await
        .unwrap();
    assert_eq!(names(&world).await, ["dynamic", "theirs"]);
}

/// Adds the row of a process that declares recurring jobs under a source.
async fn process_of(world: &World, source: &str) {
    world
        .sql(&format!(
            "insert into queue.processes (id, pid, name, host, version, details)
             values (gen_random_uuid(), 1, '{source}', 'here', '1',
                 jsonb_build_object('source', '{source}'))"
        ))
        .await;
}

#[tokio::test]
async fn the_same_declaration_of_two_programs_is_one_recurring_job_without_a_word() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let declared = [recurring_job("nightly", "@daily")];
    for source in ["web", "jobs"] {
        process_of(&world, source).await;
    }
    let declare_by = async |conn: &mut _, source| {
        declare(conn, schema, source, &declared, &[], Tz::UTC)
            .await
            .unwrap()
    };

    let first = declare_by(&mut conn, "web").await;
    let second = declare_by(&mut conn, "jobs").await;

    assert_eq!(first.added, ["nightly"]);
    assert_eq!(second, Registered::default());
    assert_eq!(names(&world).await, ["nightly"]);
}

#[tokio::test]
async fn a_different_declaration_is_reported_with_what_differs() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    process_of(&world, "web").await;
    let theirs = [recurring_job("nightly", "@daily")];
    declare(&mut conn, schema, "web", &theirs, &[], Tz::UTC)
        .await
        .unwrap();

    let ours = [recurring_job("nightly", "@weekly").overlap(Overlap::Skip)];
    let registered = declare(&mut conn, schema, "jobs", &ours, &[], Tz::UTC)
        .await
        .unwrap();

    assert_eq!(registered.collisions.len(), 1);
    assert_eq!(
        registered.collisions[0].differences,
        ["overlap", "schedule"]
    );
}

#[tokio::test]
async fn a_renamed_program_takes_over_its_recurring_jobs() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let before = ["changed", "equal", "gone"].map(|name| recurring_job(name, "@daily"));
    register(&mut conn, schema, "old_name", &before, Tz::UTC)
        .await
        .unwrap();

    let now = [
        recurring_job("changed", "@weekly"),
        recurring_job("equal", "@daily"),
    ];
    let registered = register(&mut conn, schema, "new_name", &now, Tz::UTC)
        .await
        .unwrap();

    assert_eq!(registered.changed, ["changed", "equal"]);
    assert!(registered.collisions.is_empty());
    let owned = "recurring_jobs where source = 'new_name' and name <> 'gone'";
    assert_eq!(world.count(owned).await, 2);
}

#[tokio::test]
async fn recurring_jobs_that_are_no_longer_declared_are_returned_as_leftovers() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let both = ["kept", "left"].map(|name| recurring_job(name, "@daily"));
    declare(&mut conn, schema, "app", &both, &[], Tz::UTC)
        .await
        .unwrap();

    let registered = declare(&mut conn, schema, "app", &both[..1], &[], Tz::UTC)
        .await
        .unwrap();

    assert_eq!(registered.leftovers, ["left"]);
    assert_eq!(names(&world).await, ["kept", "left"]);
}

#[tokio::test]
async fn a_declared_recurring_job_cannot_be_replaced_at_run_time() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let declared = [recurring_job("a", "@daily")];
    register(&mut conn, schema, "app", &declared, Tz::UTC)
        .await
        .unwrap();

    let replaced = replace(&mut conn, schema, &recurring_job("a", "@weekly"), Tz::UTC).await;

    let error = replaced.unwrap_err();
    assert!(matches!(error, RecurringError::Declared { .. }), "{error}");
    assert!(error.to_string().contains("`app`"), "{error}");
    assert_eq!(
        world
            .count("recurring_jobs where schedule = '@daily'")
            .await,
        1
    );
}

#[tokio::test]
async fn recurring_jobs_are_registered_when_the_tables_exist() {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    let stage = Stage::default();
    let app = stage.app().recurring(recurring_job("tick", "every second"));
    let process = world.start(app, by("app"));
    world.until_looked_for_tables().await;

    queue_core::migrate::migrate(&mut world.connect().await, &Schema::default())
        .await
        .unwrap();

    stage.noted("tick").await;
    process.stop().await;
}

#[test]
fn two_recurring_jobs_of_one_name_are_rejected() {
    let job = || NewJob::untyped("k", &json!({}), Options::new());
    let twice = || RecurringJob::of("twice", "@daily", job()).unwrap();

    let app = App::new(()).recurring(twice()).recurring(twice());

    assert_eq!(
        app.problems(),
        [InvalidApp::DuplicateRecurringJob("twice".to_owned())]
    );
}
