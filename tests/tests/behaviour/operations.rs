//! What applications and operators do to jobs, called as an application calls it.

use std::time::Duration;

use queue_core::inspect::JobFilter;
use queue_core::operations::jobs::{
    BATCH_JOBS_MAX, BulkError, Cancelled, JobAction, JobError, Refusal, StateRefused, change,
    change_batch,
};
use queue_core::{JobId, JobState, Limits, NewJob, OnConflict, Options, States, Unique};
use queue_tests::stage::{Gated, Stage};
use queue_tests::world::{World, worker};
use serde_json::json;

const UNKNOWN: JobId = JobId(999_999);

async fn enqueue(world: &World, options: Options) -> JobId {
    let job = NewJob::untyped("send", &json!(null), options);
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

/// Enqueues a job that fails at its first attempt, and waits for the failure.
async fn failed(world: &World, options: Options) -> JobId {
    let job = NewJob::untyped("note", &json!({"no": "text"}), options.attempts(1));
    let id = world.queue.enqueue_all([job]).await.unwrap()[0].id();
    let process = world.start(Stage::default().app(), worker("*", 1));
    world.until_state(id, "failed").await;
    process.stop().await;
    id
}

/// Enqueues two jobs of a key with room for one, and returns the one that is blocked.
async fn blocked(world: &World) -> JobId {
    let limited = Options::new().limits(Limits::key("account/7").to(1));
    let jobs = (0..2).map(|_| NewJob::untyped("send", &json!(null), limited.clone()));
    world.queue.enqueue_all(jobs).await.unwrap()[1].id()
}

async fn outcome(world: &World, job: JobId) -> String {
    let query = format!("select outcome::text from queue.finished where job_id = {job}");
    world.value(&query).await
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, JobError>) -> Refusal {
    match answer {
        Err(JobError::Refused { reason, .. }) => reason,
        other => panic!("{other:?} is not a refusal"),
    }
}

fn is(state: JobState, instead: Option<JobAction>) -> Refusal {
    Refusal::State { state, instead }
}

#[tokio::test]
async fn a_failed_job_is_retried_with_all_its_attempts() {
    let world = World::new().await;
    let job = failed(&world, Options::new()).await;

    world.queue.retry(job).await.unwrap();

    assert_eq!(world.state(job).await, "ready");
    assert_eq!(
        world
            .count("ready where failures = 0 and attempt = 1")
            .await,
        1
    );
    assert_eq!(refusal(world.queue.retry(job).await), Refusal::Ready);
}

#[tokio::test]
async fn a_job_waiting_for_its_next_attempt_can_be_retried_but_not_one_waiting_for_its_first() {
    let world = World::new().await;
    let later = Options::new().delay(Duration::from_secs(60));
    let (first, next) = (
        enqueue(&world, later.clone()).await,
        enqueue(&world, later).await,
    );
    let tried = format!("update queue.scheduled set attempt = 1 where job_id = {next}");
    world.sql(&tried).await;

    world.queue.retry(next).await.unwrap();

    assert_eq!(world.state(next).await, "ready");
    assert_eq!(
        refusal(world.queue.retry(first).await),
        Refusal::FirstAttempt
    );
    assert_eq!(world.state(first).await, "scheduled");
}

#[tokio::test]
async fn a_failed_job_whose_unique_key_is_taken_is_not_retried() {
    let world = World::new().await;
    let unique = Unique::by_key("a").while_in(States::UNFINISHED);
    let unique = Options::new().unique(unique.on_conflict(OnConflict::Keep));
    let old = failed(&world, unique.clone()).await;
    let job = NewJob::untyped("note", &json!("new"), unique);
    world.queue.enqueue_all([job]).await.unwrap();

    assert_eq!(refusal(world.queue.retry(old).await), Refusal::KeyTaken);

    assert_eq!(world.state(old).await, "failed");
}

#[tokio::test]
async fn waiting_blocked_and_failed_jobs_can_be_discarded_but_not_finished_ones() {
    let world = World::new().await;
    let failed = failed(&world, Options::new()).await;
    let blocked = blocked(&world).await;
    let ready = enqueue(&world, Options::new()).await;

    for job in [failed, blocked, ready] {
        world.queue.discard(job).await.unwrap();
        assert_eq!(outcome(&world, job).await, "discarded");
    }

    let finished = refusal(world.queue.discard(ready).await);
    assert_eq!(finished.to_string(), "it is finished (discarded)");
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_and_a_running_one_is_asked_to_stop_once() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 1));
    let running = world.queue.enqueue(Gated::new("g")).await.unwrap().id();
    stage.noted("g begins").await;
    let waiting = enqueue(&world, Options::new().queue("elsewhere")).await;

    assert_eq!(
        refusal(world.queue.discard(running).await),
        is(JobState::Claimed, Some(JobAction::Cancel))
    );
    assert_eq!(world.queue.cancel(waiting).await.unwrap(), Cancelled::Ended);
    assert_eq!(
        world.queue.cancel(running).await.unwrap(),
        Cancelled::AskedToStop
    );
    assert_eq!(
        refusal(world.queue.cancel(running).await),
        Refusal::AskedBefore
    );

    assert_eq!(outcome(&world, waiting).await, "cancelled");
    stage.open("g");
    world.until_state(running, "finished").await;
    process.stop().await;
}

#[tokio::test]
async fn cancelling_a_failed_or_unknown_job_is_refused() {
    let world = World::new().await;
    let job = failed(&world, Options::new()).await;

    assert_eq!(
        refusal(world.queue.cancel(job).await),
        is(JobState::Failed, Some(JobAction::Discard))
    );
    let unknown = world.queue.cancel(UNKNOWN).await.unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "job 999999 was not changed: no such job, or it has been cleared"
    );
}

#[tokio::test]
async fn only_a_blocked_job_can_be_run_anyway() {
    let world = World::new().await;
    let blocked = blocked(&world).await;
    assert_eq!(
        refusal(world.queue.retry(blocked).await),
        is(JobState::Blocked, Some(JobAction::RunAnyway))
    );

    world.queue.run_anyway(blocked).await.unwrap();

    assert_eq!(world.count("ready where track = 0").await, 1);
    assert_eq!(
        refusal(world.queue.run_anyway(blocked).await),
        Refusal::NotBlocked
    );
}

#[tokio::test]
async fn a_change_by_ids_changes_each_job_once_and_reports_each_refusal() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let ready = enqueue(&world, Options::new()).await;
    let gone = enqueue(&world, Options::new()).await;
    world.queue.cancel(gone).await.unwrap();

    let named = [UNKNOWN, ready, gone, ready];
    let changes = change(&mut conn, schema, JobAction::Discard, &named)
        .await
        .unwrap();

    assert_eq!(changes.changed, [ready]);
    let outcome = "cancelled".to_owned();
    assert_eq!(
        changes.refused,
        [
            (gone, Refusal::Finished { outcome }),
            (UNKNOWN, Refusal::Unknown)
        ]
    );
}

#[tokio::test]
async fn a_change_is_rolled_back_with_its_transaction() {
    let world = World::new().await;
    let job = enqueue(&world, Options::new()).await;
    let mut tx = world.pool().begin().await.unwrap();

    let schema = world.queue.schema();
    let changes = change(&mut tx, schema, JobAction::Cancel, &[job])
        .await
        .unwrap();
    tx.rollback().await.unwrap();

    assert_eq!(changes.changed, [job]);
    assert_eq!(world.state(job).await, "ready");
}

#[tokio::test]
async fn a_change_by_filter_counts_first_and_works_in_bounded_batches() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let jobs = (0..2_500).map(|_| NewJob::untyped("old", &json!(null), Options::new()));
    world.queue.enqueue_all(jobs).await.unwrap();
    let other = enqueue(&world, Options::new()).await;
    let old = JobFilter {
        kind: Some("old".to_owned()),
        ..JobFilter::default()
    };

    let count = world.queue.count_matching(JobAction::Discard, &old).await;
    assert_eq!(count.unwrap().count, 2_500);
    let batch = change_batch(&mut conn, schema, JobAction::Discard, &old, None).await;
    assert_eq!(batch.unwrap().changes.jobs(), BATCH_JOBS_MAX as usize);
    let rest = world.queue.change_matching(JobAction::Discard, &old).await;

    assert_eq!(rest.unwrap().changed.len(), 1_500);
    assert_eq!(world.state(other).await, "ready");
    let count = world.queue.count_matching(JobAction::Discard, &old).await;
    assert_eq!(count.unwrap().count, 0);
}

#[tokio::test]
async fn a_retry_by_filter_without_a_state_retries_failed_jobs_only() {
    let world = World::new().await;
    let failed = failed(&world, Options::new()).await;
    let waiting = enqueue(&world, Options::new().delay(Duration::from_secs(60))).await;

    let retried = world
        .queue
        .change_matching(JobAction::Retry, &JobFilter::default())
        .await
        .unwrap();

    assert_eq!(retried.changed, [failed]);
    assert_eq!(world.state(waiting).await, "scheduled");
}

#[tokio::test]
async fn a_filter_by_a_state_the_action_does_not_apply_to_changes_nothing() {
    let world = World::new().await;
    let running = JobFilter {
        states: vec![JobState::Ready, JobState::Claimed],
        ..JobFilter::default()
    };
    let job = enqueue(&world, Options::new()).await;

    let answer = world
        .queue
        .change_matching(JobAction::Discard, &running)
        .await;

    let refused = StateRefused {
        action: JobAction::Discard,
        state: JobState::Claimed,
    };
    assert!(matches!(answer, Err(BulkError::State(state)) if state == refused));
    assert_eq!(world.state(job).await, "ready");
}
