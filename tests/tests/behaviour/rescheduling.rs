//! Waiting jobs get another time or another priority.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use queue_core::inspect::JobFilter;
use queue_core::operations::jobs::{JobAction, JobError, Refusal};
use queue_core::operations::queues::set_fair;
use queue_core::transitions::promote::promote;
use queue_core::{Context, JobId, JobState, Limits, NewJob, Options};
use queue_tests::stage::{Gated, Note, Stage, gated};
use queue_tests::world::{World, worker};
use serde_json::json;
use sqlx::Connection as _;

use crate::shell::Shell;

fn in_hours(hours: i64) -> DateTime<Utc> {
    (Utc::now() + chrono::Duration::hours(hours)).trunc_subsecs(6)
}

async fn note(world: &World, options: Options) -> JobId {
    let job = NewJob::untyped("note", &json!("n"), options);
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

async fn refusal(changing: impl Future<Output = Result<(), JobError>>) -> Refusal {
    match changing.await {
        Err(JobError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn due_at(world: &World, job: JobId) -> DateTime<Utc> {
    world
        .value(&format!(
            "select due_at from queue.scheduled where job_id = {job}"
        ))
        .await
}

#[tokio::test]
async fn a_scheduled_job_and_a_ready_one_wait_until_the_new_time_with_their_counters() {
    let world = World::new().await;
    let scheduled = note(&world, Options::new().delay(Duration::from_secs(9_999))).await;
    let ready = note(&world, Options::new().priority(3)).await;
    world
        .sql("update queue.ready set attempt = 4, failures = 2, crashes = 1")
        .await;

    for job in [scheduled, ready] {
        world.queue.reschedule(job, in_hours(2)).await.unwrap();
        world.queue.reschedule(job, in_hours(1)).await.unwrap();
        let wait = due_at(&world, job).await - Utc::now();
        assert_eq!(wait.num_minutes(), 59);
    }

    let kept = "scheduled where attempt = 4 and failures = 2 and crashes = 1 and priority = 3";
    assert_eq!(world.count(kept).await, 1);
    assert_eq!(world.count("ready").await, 0);
}

#[tokio::test]
async fn a_scheduled_job_whose_new_time_has_come_is_ready_at_once() {
    let world = World::new().await;
    let job = note(&world, Options::new().delay(Duration::from_secs(9_999))).await;

    world.queue.reschedule(job, Utc::now()).await.unwrap();

    assert_eq!(world.state(job).await, "ready");
    let again = refusal(world.queue.reschedule(job, Utc::now())).await;
    assert_eq!(again, Refusal::Ready);
}

#[tokio::test]
async fn a_blocked_job_is_rescheduled_and_its_limit_applies_again() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 4));
    let one = || Limits::key("k").to(1);
    gated(&world, "holds", one()).await;
    stage.noted("holds begins").await;
    let blocked = gated(&world, "waits", one()).await;
    world.until_state(blocked, "blocked").await;

    world.queue.reschedule(blocked, in_hours(1)).await.unwrap();
    assert_eq!(world.count("scheduled where limited").await, 1);
    world.queue.reschedule(blocked, Utc::now()).await.unwrap();

    world.until_state(blocked, "blocked").await;
    stage.open("holds");
    stage.noted("waits begins").await;
    stage.open("waits");
    process.stop().await;
}

#[tokio::test]
async fn jobs_that_do_not_wait_and_those_that_wait_for_others_are_refused() {
    let world = World::new().await;
    let (_, claimed) = {
        note(&world, Options::new()).await;
        world.claim("default", "note").await
    };
    let running = claimed[0].claim.job_id();
    let waits = note(&world, Options::new()).await;
    world
        .sql(&format!(
            "with gone as (delete from queue.ready where job_id = {waits} returning *)
             insert into queue.blocked
                 (job_id, seq, attempt, priority, failures, crashes, frees_key, replaces, key, queue, kind)
             select job_id, seq, 0, 0, 0, 0, false, false, '@after', queue, kind from gone"
        ))
        .await;

    let later = in_hours(1);
    assert_eq!(
        refusal(world.queue.reschedule(waits, later)).await,
        Refusal::WaitsForJobs
    );
    assert_eq!(world.state(waits).await, "blocked");
    let state = Refusal::State {
        state: JobState::Claimed,
        instead: None,
    };
    assert_eq!(refusal(world.queue.reschedule(running, later)).await, state);
    assert_eq!(refusal(world.queue.prioritize(running, 5)).await, state);
    let unknown = refusal(world.queue.prioritize(JobId(4711), 5)).await;
    assert_eq!(unknown, Refusal::Unknown);
}

#[tokio::test]
async fn a_job_with_another_priority_runs_in_its_new_turn_also_after_a_failure() {
    let world = World::new().await;
    let jobs = [
        note(&world, Options::new()).await,
        note(&world, Options::new()).await,
        note(&world, Options::new().delay(Duration::from_secs(9_999))).await,
    ];

    world.queue.prioritize(jobs[1], -1).await.unwrap();
    world.queue.prioritize(jobs[2], -2).await.unwrap();
    let same = refusal(world.queue.prioritize(jobs[1], -1)).await;

    assert_eq!(same, Refusal::SamePriority);
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let due = Some(in_hours(9));
    assert_eq!(promote(&mut conn, schema, due, 10).await.unwrap(), 1);
    let order = "select job_id from queue.ready order by queue, priority, seq";
    let order: Vec<(i64,)> = world.rows(order).await;
    assert_eq!(order, [(jobs[2].0,), (jobs[1].0,), (jobs[0].0,)]);
    let stored: Vec<(i16,)> = world
        .rows("select priority from queue.jobs order by id")
        .await;
    assert_eq!(stored, [(0,), (-1,), (-2,)]);
}

#[tokio::test]
async fn running_processes_find_jobs_in_their_new_lanes() {
    let world = World::new().await;
    let stage = Stage::default();
    // A busy worker learns of new lanes with its next sweep only.
    for priority in [-5, 5] {
        note(&world, Options::new().priority(priority)).await;
    }
    let process = world.start(stage.app(), worker("*", 1));
    world.until("finished", 2).await;
    let _ = world.queue.enqueue(Gated::new("g")).await.unwrap();
    stage.noted("g begins").await;
    let mut jobs = Vec::new();
    for name in ["a", "b", "c"] {
        jobs.push(world.queue.enqueue(Note::new(name)).await.unwrap().id());
    }
    world.until("ready", 3).await;

    world.queue.prioritize(jobs[2], -5).await.unwrap();
    world.queue.prioritize(jobs[0], 5).await.unwrap();
    stage.open("g");

    world.until("finished", 6).await;
    assert_eq!(stage.notes()[4..], ["c", "b", "a"]);
    process.stop().await;
}

#[tokio::test]
async fn a_job_that_is_being_claimed_is_left_alone() {
    let world = World::new().await;
    let job = note(&world, Options::new()).await;
    let mut claiming = world.connect().await;
    let mut claiming = claiming.begin().await.unwrap();
    sqlx::query("select from queue.ready for update")
        .execute(&mut *claiming)
        .await
        .unwrap();

    assert_eq!(
        refusal(world.queue.reschedule(job, in_hours(1))).await,
        Refusal::Busy
    );
    assert_eq!(refusal(world.queue.prioritize(job, 1)).await, Refusal::Busy);

    claiming.rollback().await.unwrap();
    assert_eq!(world.state(job).await, "ready");
    assert_eq!(world.count("jobs where priority = 0").await, 1);
}

#[tokio::test]
async fn many_jobs_keep_their_order_and_those_in_other_states_are_left() {
    let world = World::new().await;
    let notes = (0..1_500).map(|n| Note::new(n.to_string()));
    let _ = world.queue.enqueue_many(notes).await.unwrap();
    let later = note(&world, Options::new().delay(Duration::from_secs(9_999))).await;
    let ready = JobFilter {
        states: vec![JobState::Ready],
        ..JobFilter::default()
    };

    let action = JobAction::Prioritize(7);
    let changes = world.queue.change_matching(action, &ready).await.unwrap();

    assert_eq!((changes.changed.len(), changes.refused.len()), (1_500, 0));
    assert_eq!(world.count("ready where priority = 7").await, 1_500);
    assert_eq!(world.count("scheduled where priority = 0").await, 1);
    let action = JobAction::Reschedule(in_hours(1));
    let changes = world
        .queue
        .change_matching(action, &JobFilter::default())
        .await
        .unwrap();
    assert_eq!(
        changes.changed,
        [later],
        "without states it means scheduled jobs"
    );
}

#[tokio::test]
async fn the_command_line_reschedules_jobs_and_changes_their_priority() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let job = note(&world, Options::new()).await;
    let id = job.to_string();

    shell.print(&["jobs", "priority", &id, "--to", "-4"]).await;
    shell
        .print(&["jobs", "reschedule", &id, "--in", "1h"])
        .await;
    assert_eq!(world.count("scheduled where priority = -4").await, 1);
    shell
        .print(&[
            "jobs",
            "reschedule",
            "--kind",
            "note",
            "--at",
            "2030-01-31T09:00:00Z",
            "--yes",
        ])
        .await;
    assert_eq!(
        due_at(&world, job).await.to_rfc3339(),
        "2030-01-31T09:00:00+00:00"
    );
    shell
        .print(&["jobs", "reschedule", &id, "--in", "0s"])
        .await;
    assert_eq!(world.state(job).await, "ready");
    let said = shell
        .refused(1, &["jobs", "priority", &id, "--to", "-4"])
        .await;
    assert!(said.contains("it has this priority already"), "{said}");
    shell.refused(2, &["jobs", "reschedule", &id]).await;
}

/// Makes a job of a tenant in the fair queue `mail` that notes its name.
async fn of_tenant(world: &World, tenant: &str, name: &str, options: Options) -> JobId {
    let options = options.queue("mail").context(Context::new().tenant(tenant));
    let job = NewJob::untyped("note", &json!(name), options);
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

/// Runs the jobs of the queue `mail` one after another, and returns their names.
async fn run_mail(world: &World, jobs: i64) -> Vec<String> {
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("mail", 1));
    world.until("finished", jobs).await;
    process.stop().await;
    stage.notes()
}

async fn fair_world() -> World {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    assert!(set_fair(&mut conn, schema, "mail", true).await.unwrap());
    world
}

#[tokio::test]
async fn a_job_of_a_tenant_that_is_rescheduled_takes_its_turn_at_the_end_of_its_line() {
    let world = fair_world().await;
    let mut jobs = Vec::new();
    for name in ["a0", "a1", "a2", "b0"] {
        jobs.push(of_tenant(&world, &name[..1], name, Options::new()).await);
    }

    world.queue.reschedule(jobs[0], in_hours(1)).await.unwrap();
    assert_eq!(world.state(jobs[0]).await, "scheduled");
    world.queue.reschedule(jobs[0], Utc::now()).await.unwrap();

    assert_eq!(world.count("ready where tenant is null").await, 0);
    assert_eq!(run_mail(&world, 4).await, ["a1", "b0", "a2", "a0"]);
}

#[tokio::test]
async fn a_job_of_a_tenant_with_another_priority_goes_before_all_turns() {
    let world = fair_world().await;
    let mut jobs = Vec::new();
    for name in ["a0", "a1", "a2", "b0", "b1"] {
        jobs.push(of_tenant(&world, &name[..1], name, Options::new()).await);
    }

    world.queue.prioritize(jobs[2], -1).await.unwrap();
    world.queue.prioritize(jobs[4], 1).await.unwrap();

    let notes = run_mail(&world, 5).await;
    assert_eq!(notes, ["a2", "a0", "b0", "a1", "b1"]);
}
