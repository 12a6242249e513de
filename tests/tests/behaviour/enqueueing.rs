//! Enqueueing: single jobs, bulks and copies, in transactions, with delays, and rejected jobs.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::{
    AfterCommitError, EnqueueError, Enqueued, Job, JobId, NewJob, Options, Queue, Schema, Unique,
};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A kind with options of its own.
#[derive(Serialize, Deserialize)]
struct Report {
    month: u32,
}

impl Job for Report {
    const KIND: &'static str = "report";

    fn options() -> Options {
        Options::new()
            .queue("reports")
            .priority(5)
            .attempts(3)
            .crashes(1)
            .tag("monthly")
    }
}

#[derive(Serialize, Deserialize)]
struct Unwritable {
    by: HashMap<Vec<u8>, u8>,
}

impl Job for Unwritable {
    const KIND: &'static str = "unwritable";
}

fn untyped(kind: &str, args: serde_json::Value) -> NewJob {
    NewJob::untyped(kind, &args, Options::new())
}

#[tokio::test]
async fn a_job_is_stored_with_its_kind_arguments_and_options() {
    let world = World::new().await;

    let enqueued = world.queue.enqueue(Report { month: 7 }).await.unwrap();

    let Enqueued::New(id) = enqueued else {
        panic!("{enqueued:?}");
    };
    type Row = (
        i64,
        String,
        String,
        i16,
        i16,
        i16,
        Vec<String>,
        serde_json::Value,
    );
    let jobs: Vec<Row> = world
        .rows(
            "select id, kind, queue, priority, attempts_max, crashes_max, tags, args
             from queue.jobs",
        )
        .await;
    let tags = vec!["monthly".to_owned()];
    let wanted = (
        id.0,
        "report".into(),
        "reports".into(),
        5,
        3,
        1,
        tags,
        json!({"month": 7}),
    );
    assert_eq!(jobs, [wanted]);
    assert_eq!(world.state(id).await, "ready");
    let is_now = "select ready_at <= clock_timestamp() and attempt = 0 and failures = 0
                  from queue.ready";
    assert!(world.value::<bool>(is_now).await);
}

#[tokio::test]
async fn options_of_the_call_override_options_of_the_kind() {
    let world = World::new().await;

    let _ = world
        .queue
        .enqueue(Report { month: 7 })
        .queue("urgent")
        .priority(-1)
        .attempts(1)
        .tag("eu")
        .await
        .unwrap();

    let jobs: Vec<(String, i16, i16, Vec<String>)> = world
        .rows("select queue, priority, attempts_max, tags from queue.jobs")
        .await;
    let tags = vec!["monthly".to_owned(), "eu".to_owned()];
    assert_eq!(jobs, [("urgent".to_owned(), -1, 1, tags)]);
    assert_eq!(
        world
            .count("ready where queue = 'urgent' and priority = -1")
            .await,
        1
    );
}

#[tokio::test]
async fn a_job_enqueued_in_a_transaction_is_visible_after_the_commit() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();

    let request = world.queue.enqueue(Note::new("a")).tx(&mut tx);
    let id = request.await.unwrap().id();

    assert_eq!(world.state(id).await, "gone");
    tx.commit().await.unwrap();
    assert_eq!(world.state(id).await, "ready");
}

#[tokio::test]
async fn a_job_enqueued_in_a_transaction_is_gone_after_a_rollback() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();

    let many = world.queue.enqueue_many([Note::new("a"), Note::new("b")]);
    let _ = many.tx(&mut tx).await.unwrap();
    let copied = [NewJob::of(&Note::new("c"))];
    world.queue.copy_jobs(copied).tx(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();

    assert_eq!(world.count("jobs").await, 0);
    assert_eq!(world.count("ready").await, 0);
}

#[tokio::test]
async fn a_job_enqueued_beside_a_transaction_survives_its_rollback() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();
    let _ = world
        .queue
        .enqueue(Note::new("in"))
        .tx(&mut tx)
        .await
        .unwrap();

    let beside = world.queue.enqueue(Note::new("beside")).await.unwrap().id();
    tx.rollback().await.unwrap();

    assert_eq!(world.state(beside).await, "ready");
    assert_eq!(world.count("jobs").await, 1);
}

#[tokio::test]
async fn a_rejected_job_leaves_the_callers_transaction_usable() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();

    let refused = world.queue.enqueue(Note::new("nul \0")).tx(&mut tx).await;
    let accepted = world.queue.enqueue(Note::new("a")).tx(&mut tx).await;
    tx.commit().await.unwrap();

    assert!(matches!(refused, Err(EnqueueError::Unstorable { .. })));
    assert_eq!(world.state(accepted.unwrap().id()).await, "ready");
}

#[tokio::test]
async fn a_bulk_returns_its_answers_in_the_order_of_its_jobs() {
    let world = World::new().await;
    let jobs = (0..50).map(|n| {
        let options = match n % 3 {
            0 => Options::new(),
            1 => Options::new().delay(Duration::from_secs(60)),
            _ => Options::new().queue("other").tag("third"),
        };
        NewJob::untyped("numbered", &json!(n), options)
    });

    let enqueued = world.queue.enqueue_all(jobs).await.unwrap();

    for (n, answer) in enqueued.iter().enumerate() {
        let query = format!("select args from queue.jobs where id = {}", answer.id());
        assert_eq!(world.value::<serde_json::Value>(&query).await, json!(n));
    }
    assert_eq!(world.count("ready").await, 33);
    assert_eq!(world.count("scheduled").await, 17);
}

#[tokio::test]
async fn ids_ascend_in_the_order_of_a_bulk_across_its_chunks() {
    let world = World::new().await;

    let enqueued = world
        .queue
        .enqueue_many((0..2_500).map(|n| Note::new(n.to_string())))
        .await
        .unwrap();

    let ids: Vec<JobId> = enqueued.iter().map(|answer| answer.id()).collect();
    assert_eq!(ids.len(), 2_500);
    assert!(ids.is_sorted());
    let texts: Vec<(String,)> = world
        .rows("select args #>> '{}' from queue.jobs order by id")
        .await;
    assert!(
        texts
            .iter()
            .enumerate()
            .all(|(n, (text,))| *text == n.to_string())
    );
}

#[tokio::test]
async fn a_bulk_of_many_chunks_is_atomic() {
    let world = World::new().await;
    world
        .sql("alter table queue.jobs add check (args <> '\"2400\"')")
        .await;

    let answer = world
        .queue
        .enqueue_many((0..2_500).map(|n| Note::new(n.to_string())))
        .await;

    assert!(matches!(answer, Err(EnqueueError::Database(_))));
    assert_eq!(world.count("jobs").await, 0);
    assert_eq!(world.count("ready").await, 0);
}

#[tokio::test]
async fn an_empty_bulk_enqueues_nothing() {
    let world = World::new().await;

    let many = world.queue.enqueue_many(Vec::<Note>::new()).await.unwrap();
    let copied = world.queue.copy_jobs([]).await.unwrap();

    assert!(many.is_empty());
    assert_eq!(copied, 0);
}

#[tokio::test]
async fn copied_jobs_keep_every_character_of_their_arguments() {
    let world = World::new().await;
    let text = "tab\t newline\n return\r backslash\\ quote\" \\N \\. żółw 🐢 {a,b}";
    let job = NewJob::untyped(
        "k",
        &json!({"text": text}),
        Options::new().tag("a").tag("b:c"),
    );

    let copied = world.queue.copy_jobs([Ok(job)]).await.unwrap();

    assert_eq!(copied, 1);
    let args: serde_json::Value = world.value("select args from queue.jobs").await;
    assert_eq!(args, json!({"text": text}));
    let tags: Vec<String> = world.value("select tags from queue.jobs").await;
    assert_eq!(tags, ["a", "b:c"]);
}

#[tokio::test]
async fn copied_jobs_run_like_other_jobs() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 10));

    let jobs = (0..100).map(|n| NewJob::of(&Note::new(n.to_string())));
    world.queue.copy_jobs(jobs).await.unwrap();

    world.until("finished", 100).await;
    process.stop().await;
    assert_eq!(stage.notes().len(), 100);
}

#[tokio::test]
async fn a_copy_that_fails_reports_how_many_jobs_were_enqueued() {
    let world = World::new().await;
    let good = (0..7_000).map(|n| Ok(untyped("k", json!(n))));
    let bad = Ok(untyped("two words", json!(0)));

    let error = world.queue.copy_jobs(good.chain([bad])).await.unwrap_err();

    assert!(matches!(error.source, EnqueueError::Name(_)));
    assert_eq!(error.enqueued, 5_000);
    assert_eq!(world.count("ready").await, 5_000);
}

#[tokio::test]
async fn copy_rejects_unique_and_delayed_jobs() {
    let world = World::new().await;
    let delayed = Options::new().delay(Duration::from_secs(1));

    let error = world
        .queue
        .copy_jobs([Ok(NewJob::untyped("k", &json!(1), delayed))])
        .await
        .unwrap_err();

    assert!(matches!(error.source, EnqueueError::NotCopyable { .. }));
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_delay_counts_from_the_databases_clock() {
    let world = World::new().await;

    let request = world.queue.enqueue(Note::new("a"));
    let id = request.delay(Duration::from_secs(300)).await.unwrap().id();

    assert_eq!(world.state(id).await, "scheduled");
    let wait: f64 = world
        .value(
            "select extract(epoch from due_at - created_at)::float8
             from queue.scheduled join queue.jobs on id = job_id",
        )
        .await;
    assert!((299.0..301.0).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_job_scheduled_for_a_time_is_due_at_that_time() {
    let world = World::new().await;
    let time = "2100-01-01T12:00:00Z".parse().unwrap();

    let _ = world.queue.enqueue(Note::new("a")).at(time).await.unwrap();

    let due: chrono::DateTime<Utc> = world.value("select due_at from queue.scheduled").await;
    assert_eq!(due, time);
}

#[tokio::test]
async fn a_job_with_a_past_time_or_no_delay_is_ready_at_once() {
    let world = World::new().await;
    let past = "2001-01-01T12:00:00Z".parse().unwrap();

    let _ = world.queue.enqueue(Note::new("a")).at(past).await.unwrap();
    let undelayed = world.queue.enqueue(Note::new("b")).delay(Duration::ZERO);
    let _ = undelayed.await.unwrap();

    assert_eq!(world.count("ready").await, 2);
    assert_eq!(world.count("scheduled").await, 0);
}

#[tokio::test]
async fn a_time_outside_the_range_of_postgres_means_never_or_at_once() {
    let world = World::new().await;
    let for_ever = Unique::by_key("k").within(Duration::MAX);

    let requests = [
        world.queue.enqueue(Note::new("a")).delay(Duration::MAX),
        world
            .queue
            .enqueue(Note::new("b"))
            .at(DateTime::<Utc>::MAX_UTC),
        world
            .queue
            .enqueue(Note::new("c"))
            .at(DateTime::<Utc>::MIN_UTC),
        world.queue.enqueue(Note::new("d")).unique(for_ever),
    ];
    for request in requests {
        assert!(request.await.unwrap().is_new());
    }

    assert_eq!(world.count("scheduled").await, 2);
    assert_eq!(world.count("ready").await, 2);
}

#[tokio::test]
async fn arguments_one_byte_above_the_maximum_are_rejected() {
    let world = World::new().await;
    let queue = world.queue.clone().args_bytes_max(100);

    let fitting = queue.enqueue(Note::new("x".repeat(98))).await;
    let too_long = queue.enqueue(Note::new("x".repeat(99))).await;

    assert!(fitting.is_ok());
    let Err(EnqueueError::TooLarge { bytes, max, .. }) = too_long else {
        panic!("{too_long:?}");
    };
    assert_eq!((bytes, max), (101, 100));
    assert_eq!(world.count("jobs").await, 1);
}

#[tokio::test]
async fn a_bulk_with_one_invalid_job_writes_nothing() {
    let world = World::new().await;
    let few = NewJob::untyped("k", &json!(1), Options::new().attempts(0));
    let tag = NewJob::untyped("k", &json!(1), Options::new().tag("a,b"));
    let queue = NewJob::untyped("k", &json!(1), Options::new().queue("two words"));

    for refused in [
        few,
        tag,
        queue,
        untyped("", json!(1)),
        untyped("k", json!("\0")),
    ] {
        let jobs = [untyped("k", json!(1)), refused.clone()];
        let answer = world.queue.enqueue_all(jobs).await;
        assert!(answer.is_err(), "{refused:?} was accepted");
    }

    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn arguments_that_are_not_json_are_rejected_with_a_typed_error() {
    let world = World::new().await;
    let by = HashMap::from([(vec![1], 1)]);

    let answer = world.queue.enqueue(Unwritable { by }).await;

    let Err(error @ EnqueueError::Unserializable { .. }) = answer else {
        panic!("{answer:?}");
    };
    let said = "could not write the arguments of `unwritable` as JSON";
    assert_eq!(error.to_string(), said);
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn enqueueing_without_tables_returns_not_migrated() {
    let world = World::new().await;
    let elsewhere = Queue::new(world.pool().clone())
        .in_schema("nowhere")
        .unwrap();

    let one = elsewhere.enqueue(Note::new("a")).await;
    let copied = elsewhere.copy_jobs([NewJob::of(&Note::new("a"))]).await;

    assert!(matches!(one, Err(EnqueueError::NotMigrated(_))), "{one:?}");
    let source = copied.unwrap_err().source;
    assert!(matches!(source, EnqueueError::NotMigrated(_)), "{source:?}");
}

#[tokio::test]
async fn jobs_for_after_the_commit_are_enqueued_after_it() {
    let world = World::new().await;
    world.sql("create table public.orders (id int)").await;
    let mut tx = world.queue.after_commit(world.pool()).await.unwrap();

    let insert = sqlx::query("insert into public.orders values (1)");
    insert.execute(&mut *tx).await.unwrap();
    tx.enqueue(Note::new("a")).unwrap();
    assert_eq!(world.count("jobs").await, 0);
    let enqueued = tx.commit().await.unwrap();

    assert_eq!(world.state(enqueued[0].id()).await, "ready");
    assert_eq!(
        world
            .value::<i64>("select count(*) from public.orders")
            .await,
        1
    );
}

#[tokio::test]
async fn a_job_for_after_the_commit_may_have_its_own_options() {
    let world = World::new().await;
    let mut tx = world.queue.after_commit(world.pool()).await.unwrap();

    let job = NewJob::of(&Note::new("n")).unwrap();
    tx.enqueue_new(job.with(|options| options.queue("night")))
        .unwrap();
    tx.commit().await.unwrap();

    assert_eq!(world.count("ready where queue = 'night'").await, 1);
}

#[tokio::test]
async fn jobs_for_after_the_commit_are_dropped_on_rollback() {
    let world = World::new().await;

    let mut tx = world.queue.after_commit(world.pool()).await.unwrap();
    tx.enqueue(Note::new("a")).unwrap();
    tx.rollback().await.unwrap();
    let mut dropped = world.queue.after_commit(world.pool()).await.unwrap();
    dropped.enqueue(Note::new("b")).unwrap();
    drop(dropped);

    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_failed_commit_enqueues_none_of_the_jobs_for_after_it() {
    let world = World::new().await;
    world
        .sql("create table public.once (id int unique deferrable initially deferred)")
        .await;
    let mut tx = world.queue.after_commit(world.pool()).await.unwrap();

    tx.enqueue(Note::new("a")).unwrap();
    let insert = sqlx::query("insert into public.once values (1), (1)");
    insert.execute(&mut *tx).await.unwrap();
    let answer = tx.commit().await;

    assert!(matches!(answer, Err(AfterCommitError::NotCommitted(_))));
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_queue_in_another_schema_works_from_enqueue_to_finished() {
    let world = World::in_schema("jobs_of_ours").await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 10));

    let _ = world.queue.enqueue(Note::new("one")).await.unwrap();
    let copied = [NewJob::of(&Note::new("copied"))];
    world.queue.copy_jobs(copied).await.unwrap();
    let later = world.queue.enqueue(Note::new("later"));
    let _ = later.delay(Duration::from_millis(20)).await.unwrap();

    world.until("finished where outcome = 'done'", 3).await;
    process.stop().await;
    let mut notes = stage.notes();
    notes.sort();
    assert_eq!(notes, ["copied", "later", "one"]);
    assert_eq!(world.count("processes").await, 0);
    let usual = "select to_regnamespace('queue') is null";
    assert!(world.value::<bool>(usual).await);
    assert_eq!(world.queue.schema().wake_channel(), "jobs_of_ours.wake");
    assert!(Schema::named("Jobs").is_err());
}
