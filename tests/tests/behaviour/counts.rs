//! Counts of ended runs: what processes append, and how it is added up.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use queue_core::counts::{Counts, KindCounts, Range, append, bars, fold};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};

/// The sum of all bars of a range.
async fn sum(world: &World, queue: Option<&str>, range: Range) -> Counts {
    let mut conn = world.connect().await;
    let now = Utc::now();
    let bars = bars(&mut conn, world.queue.schema(), queue, range, now);
    let mut sum = Counts::default();
    for bar in bars.await.unwrap() {
        sum.add(&bar.counts);
    }
    sum
}

/// Adds counts as a process would have at some time.
async fn append_at(world: &World, at: DateTime<Utc>, queue: &str, kind: &str, done: i64) {
    let counts = KindCounts {
        queue: queue.to_owned(),
        kind: kind.to_owned(),
        counts: Counts {
            done,
            waited_ms: 10 * done,
            ..Counts::default()
        },
    };
    let mut conn = world.connect().await;
    append(&mut conn, world.queue.schema(), &[counts])
        .await
        .unwrap();
    world
        .sql(&format!(
            "update queue.counts set at = '{}' where at > now() - interval '2 minutes'
                and span = 0 and queue = '{queue}' and kind = '{kind}'",
            at.trunc_subsecs(0).to_rfc3339()
        ))
        .await;
}

async fn fold_all(world: &World) {
    let mut conn = world.connect().await;
    while fold(&mut conn, world.queue.schema(), 100).await.unwrap() == 100 {}
}

#[tokio::test]
async fn a_process_counts_how_its_runs_ended() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 2);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    let process = world.start(stage.app(), settings);
    for _ in 0..3 {
        let _ = world.queue.enqueue(Note::new("x")).await.unwrap();
    }
    world.until("finished", 3).await;
    world.until("counts", 1).await;
    process.stop().await;

    let counts = sum(&world, None, Range::Hour).await;

    assert_eq!((counts.done, counts.errors()), (3, 0));
    assert_eq!(sum(&world, Some("default"), Range::Hour).await, counts);
    let nothing = sum(&world, Some("other"), Range::Hour).await;
    assert_eq!(nothing, Counts::default());
}

#[tokio::test]
async fn a_process_that_stops_appends_its_last_counts() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut settings = worker("*", 1);
    settings.process.heartbeat_interval = Duration::from_secs(60);
    settings.process.dead_after = Duration::from_secs(600);
    let process = world.start(stage.app(), settings);
    let _ = world.queue.enqueue(Note::new("x")).await.unwrap();
    world.until("finished", 1).await;

    process.stop().await;

    assert_eq!(sum(&world, None, Range::Hour).await.done, 1);
}

#[tokio::test]
async fn counts_are_added_up_by_minutes_hours_and_days_and_none_is_lost() {
    let world = World::new().await;
    let now = Utc::now();
    for n in 0..50 {
        append_at(
            &world,
            now - TimeDelta::minutes(10),
            &format!("q{}", n % 5),
            "k",
            1,
        )
        .await;
    }
    append_at(&world, now, "fresh", "k", 7).await;

    fold_all(&world).await;

    // A row for each queue, one for all of them, and the fresh one.
    assert_eq!(world.count("counts").await, 7);
    assert_eq!(
        world
            .count("counts where span = 1 and queue = '*' and done = 50")
            .await,
        1
    );
    assert_eq!(sum(&world, None, Range::Hour).await.done, 57);
    assert_eq!(sum(&world, Some("q1"), Range::Hour).await.done, 10);

    world
        .sql("update queue.counts set at = at - interval '25 hours' where span = 1")
        .await;
    fold_all(&world).await;
    assert_eq!(world.count("counts where span = 60").await, 6);
    assert_eq!(sum(&world, None, Range::Week).await.done, 57);

    world
        .sql("update queue.counts set at = at - interval '31 days' where span = 60")
        .await;
    fold_all(&world).await;
    assert_eq!(
        world
            .count("counts where span = 1440 and queue = '*' and done = 50")
            .await,
        1
    );

    world
        .sql("update queue.counts set at = at - interval '1 year' where span = 1440")
        .await;
    fold_all(&world).await;
    assert_eq!(world.count("counts").await, 1);
}

#[tokio::test]
async fn kinds_beyond_the_thousand_most_frequent_are_counted_together() {
    let world = World::new().await;
    world
        .sql(
            "insert into queue.counts
                (span, at, queue, kind, done, discarded, cancelled, failed, retried, waited_ms, ran_ms)
             select 0, now() - interval '10 minutes', 'q', 'k' || n, case when n > 1000 then 1 else 2 end,
                0, 0, 0, 0, 0, 0
             from generate_series(1, 1500) as n",
        )
        .await;
    let mut conn = world.connect().await;

    fold(&mut conn, world.queue.schema(), 10_000).await.unwrap();

    assert_eq!(
        world
            .count("counts where span = 1 and queue = 'q' and done = 2")
            .await,
        1_000
    );
    assert_eq!(
        world
            .count("counts where span = 1 and queue = '' and done = 500")
            .await,
        1
    );
    assert_eq!(sum(&world, None, Range::Hour).await.done, 2_500);
}
