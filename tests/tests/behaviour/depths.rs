//! Depths: how many jobs each queue had, sampled once a minute.

use chrono::Utc;
use queue_core::counts::Range;
use queue_core::depths::{Depth, depths, ready_by_hour, sample};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};

async fn sample_now(world: &World) {
    let mut conn = world.connect().await;
    sample(&mut conn, world.queue.schema()).await.unwrap();
}

async fn read(world: &World, queue: Option<&str>, range: Range) -> Vec<Depth> {
    let mut conn = world.connect().await;
    let read = depths(&mut conn, world.queue.schema(), queue, range, Utc::now());
    read.await.unwrap()
}

#[tokio::test]
async fn a_sample_counts_the_jobs_of_each_queue_in_each_state() {
    let world = World::new().await;
    for queue in ["mail", "mail", "media"] {
        let _ = world
            .queue
            .enqueue(Note::new("x"))
            .queue(queue)
            .await
            .unwrap();
    }
    world
        .sql("update queue.ready set ready_at = now() - interval '5 minutes' where queue = 'mail'")
        .await;
    world
        .sql(
            "insert into queue.failed (job_id, queue, kind, attempt, failures, crashes)
              values (900, 'mail', 'k', 1, 1, 0)",
        )
        .await;

    sample_now(&world).await;

    let all = read(&world, None, Range::Hour).await;
    assert_eq!((all.len(), all[0].ready, all[0].failed), (1, 3, 1));
    let mail = read(&world, Some("mail"), Range::Hour).await[0];
    assert_eq!(
        (mail.ready, mail.failed, mail.running, mail.at_least),
        (2, 1, 0, false)
    );
    let oldest = mail.oldest_ready_seconds.unwrap();
    assert!((300.0..330.0).contains(&oldest), "{oldest}");
    // A queue without jobs was sampled too.
    let other = read(&world, Some("other"), Range::Hour).await[0];
    assert_eq!((other.ready, other.oldest_ready_seconds), (0, None));
}

#[tokio::test]
async fn a_minute_is_sampled_once_whoever_samples() {
    let world = World::new().await;
    let _ = world.queue.enqueue(Note::new("x")).await.unwrap();
    let both = || async { tokio::join!(sample_now(&world), sample_now(&world)) };

    // If a minute begins meanwhile, it is sampled too.
    let minutes = "depths where span = 1 and queue = 'default'";
    let began = Utc::now().timestamp() / 60;
    both().await;
    both().await;
    let passed = Utc::now().timestamp() / 60 - began;

    let sampled = world.count(minutes).await;
    assert!((1..=1 + passed).contains(&sampled), "{sampled}");
    assert_eq!(read(&world, None, Range::Hour).await[0].ready, 1);
}

#[tokio::test]
async fn hours_and_days_keep_the_most_of_their_samples() {
    let world = World::new().await;
    for _ in 0..3 {
        let _ = world.queue.enqueue(Note::new("x")).await.unwrap();
    }
    sample_now(&world).await;
    // The minute is that of the next sample then, and its hour and day have less.
    world
        .sql("update queue.depths set at = at - interval '1 minute' where span = 1")
        .await;
    world.sql("delete from queue.ready").await;
    sample_now(&world).await;

    let minutes = read(&world, None, Range::Hour).await;
    assert_eq!(
        minutes.iter().map(|depth| depth.ready).collect::<Vec<_>>(),
        [3, 0]
    );
    let week = read(&world, Some("default"), Range::Week).await;
    assert_eq!(week.iter().map(|depth| depth.ready).max(), Some(3));
    let mut conn = world.connect().await;
    let queues = ["default", "none"].into_iter();
    let hours = ready_by_hour(&mut conn, world.queue.schema(), queues, Utc::now());
    let hours = hours.await.unwrap();
    assert_eq!((hours.len(), hours["default"].iter().max()), (1, Some(&3)));
}

#[tokio::test]
async fn minutes_are_kept_for_a_day_hours_for_30_days_and_days_for_a_year() {
    let world = World::new().await;
    world
        .sql(
            "insert into queue.depths
                 (span, at, queue, ready, scheduled, blocked, running, failed, is_least)
             select span, now() - age, 'old', 1, 0, 0, 0, 0, false
             from (values (1, interval '23 hours'), (1, '25 hours'), (60, '29 days'), (60, '31 days'),
                 (1440, '364 days'), (1440, '366 days')) as rows (span, age)",
        )
        .await;

    sample_now(&world).await;

    assert_eq!(world.count("depths where queue = 'old'").await, 3);
    let kept = world.count(
        "depths where queue = 'old' and at > now() - interval '1 day' * case span
             when 1 then 1 when 60 then 30 else 365 end",
    );
    assert_eq!(kept.await, 3);
}

#[tokio::test]
async fn queues_beyond_the_thousand_with_the_most_jobs_are_counted_together() {
    let world = World::new().await;
    world
        .sql(
            "insert into queue.ready (job_id, seq, queue, kind, priority)
             select n, n, 'q' || n % 1500, 'k', 0 from generate_series(1, 2000) as n",
        )
        .await;

    sample_now(&world).await;

    let minute = "depths where span = 1";
    assert_eq!(world.count(minute).await, 1_002);
    let others = format!("{minute} and queue = '' and ready = 500");
    assert_eq!(world.count(&others).await, 1);
    assert_eq!(read(&world, None, Range::Hour).await[0].ready, 2_000);
}

#[tokio::test]
async fn a_process_samples() {
    let world = World::new().await;
    let stage = Stage::default();

    let process = world.start(stage.app(), worker("*", 1));

    world
        .until("depths where span = 1 and queue = '*'", 1)
        .await;
    process.stop().await;
}
