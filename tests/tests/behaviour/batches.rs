//! Batches: their callbacks start once, however their jobs end, and their progress is exact.

use std::collections::BTreeSet;
use std::time::Duration;

use queue_core::batches::{Ended, of_jobs, settle, settle_all, sweep};
use queue_core::inspect::{BatchSummary, batches};
use queue_core::process::ProcessId;
use queue_core::transitions::Run;
use queue_core::transitions::cancel::cancel_waiting;
use queue_core::transitions::finish::finish;
use queue_core::{
    Batch, BatchId, EnqueueError, JobId, Limits, NewJob, OnFailure, Options, Outcome,
};
use queue_tests::soundness::assert_tables_sound;
use queue_tests::stage::{Gated, Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::testing::TestProcess;
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio::task::JoinSet;

use crate::shell::Shell;

const HOUR: Duration = Duration::from_secs(3_600);

/// A job of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Act {
    /// Notes its text.
    Note(String),
    /// Fails for good, until the gate `mended` is open.
    Fail,
    /// Is discarded by its own rule.
    Discard,
    /// Adds a note to its batch.
    Add(String),
    /// Notes the counts of the batch whose end has started it.
    Report,
}

impl Job for Act {
    const KIND: &'static str = "act";
}

impl Perform<Stage> for Act {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        match self {
            Self::Note(text) => cx.state().note(text),
            Self::Fail if cx.state().is_open("mended") => cx.state().note("mended"),
            Self::Fail => return Err("it fails".into()),
            Self::Discard => return Err("discard".into()),
            Self::Add(text) => {
                let batch = cx.batch().ok_or("a batch")?;
                cx.queue().enqueue(Self::Note(text)).batch(batch).await?;
            }
            Self::Report => {
                let batch = cx.called_by().await?.ok_or("a batch")?;
                let (jobs, done) = (batch.jobs, batch.done);
                cx.state().note(format!("{done} of {jobs} done"));
            }
        }
        Ok(())
    }

    fn on_error(error: &BoxError, _: &Attempt) -> Next {
        match error.to_string().as_str() {
            "discard" => Next::Discard,
            _ => Next::Fail,
        }
    }
}

fn note(text: &str) -> Act {
    Act::Note(text.to_owned())
}

/// Returns a batch of jobs with a callback of each sort.
fn batch(jobs: &[Act]) -> Batch {
    let mut batch = Batch::new()
        .on_success(&note("success"))
        .and_then(|batch| batch.on_failure(&note("failure")))
        .and_then(|batch| batch.on_completion(&note("completion")))
        .unwrap();
    for job in jobs {
        batch.add(job).unwrap();
    }
    batch
}

async fn enqueue(world: &World, batch: Batch) -> BatchId {
    world.queue.enqueue_batch(batch).await.unwrap().id
}

async fn show(world: &World, batch: BatchId) -> BatchSummary {
    let mut conn = world.connect().await;
    let shown = batches::show(&mut conn, world.queue.schema(), batch).await;
    shown.unwrap().expect("a batch")
}

async fn until_completed(world: &World, batch: BatchId) {
    let completed = format!("batches where id = {batch} and completed_at is not null");
    world.until(&completed, 1).await;
}

/// Waits until no job is left to run, and returns the notes of callbacks, sorted.
async fn callbacks(world: &World, stage: &Stage) -> Vec<String> {
    let busy = "jobs where id not in (
        select job_id from queue.finished
        union all select job_id from queue.failed
        union all select job_id from queue.blocked)";
    world.until(busy, 0).await;
    assert_tables_sound(world.pool()).await;
    let names = ["success", "failure", "completion"];
    let mut notes = stage.notes();
    notes.retain(|note| names.contains(&note.as_str()));
    notes.sort();
    notes
}

fn quick() -> Settings {
    let mut settings = worker("*", 4);
    settings.maintenance.interval = Duration::from_millis(100);
    settings
}

fn unswept() -> Settings {
    let mut settings = worker("*", 4);
    settings.maintenance.enabled = false;
    settings
}

/// Claims all ready jobs of the default queue for a new process, and returns it with their runs.
async fn claimed(world: &World) -> (ProcessId, Vec<Run>) {
    let (process, jobs) = world.claim("default", "act").await;
    let runs = jobs.iter().map(|job| Run::not_begun(job.claim)).collect();
    (process, runs)
}

fn ended(batch: BatchId) -> Ended {
    Ended {
        batches: BTreeSet::from([batch]),
        jobs: BTreeSet::new(),
    }
}

#[tokio::test]
async fn a_batch_whose_jobs_succeed_starts_its_callbacks_once() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[note("a"), note("b"), Act::Discard])).await;
    let waiting = world.count("blocked where key = '@after'").await;

    let process = world.start(stage.app().register::<Act>(), unswept());
    until_completed(&world, id).await;
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!(waiting, 3);
    assert_eq!(called, ["completion", "success"]);
    let shown = show(&world, id).await;
    assert_eq!((shown.jobs, shown.done, shown.discarded), (3, 2, 1));
    assert_eq!(shown.state, "succeeded");
    assert_eq!(world.count("deltas").await, 0);
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
}

#[tokio::test]
async fn a_batch_with_a_failed_job_has_failed() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[note("a"), Act::Fail])).await;

    let process = world.start(stage.app().register::<Act>(), unswept());
    until_completed(&world, id).await;
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!(called, ["completion", "failure"]);
    let shown = show(&world, id).await;
    assert_eq!((shown.pending, shown.done, shown.failed), (0, 1, 1));
    assert_eq!(shown.state, "failed");
}

#[tokio::test]
async fn a_failed_batch_succeeds_when_its_failed_jobs_are_retried() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[note("a"), Act::Fail, Act::Fail])).await;
    let process = world.start(stage.app().register::<Act>(), unswept());
    until_completed(&world, id).await;
    callbacks(&world, &stage).await;

    stage.open("mended");
    let failed: Vec<(JobId,)> = world
        .rows("select job_id from queue.failed order by job_id")
        .await;
    world.queue.retry(failed[0].0).await.unwrap();
    world.until_state(failed[0].0, "finished").await;
    let between = show(&world, id).await;
    world.queue.discard(failed[1].0).await.unwrap();
    let succeeded = format!("batches where id = {id} and succeeded_at is not null");
    world.until(&succeeded, 1).await;
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!(
        (between.done, between.failed, between.state),
        (2, 1, "failed")
    );
    assert_eq!(called, ["completion", "failure", "success"]);
    let shown = show(&world, id).await;
    assert_eq!((shown.done, shown.failed, shown.discarded), (2, 0, 1));
}

#[tokio::test]
async fn an_empty_batch_has_succeeded_at_once_and_takes_no_jobs() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[])).await;

    let refused = world.queue.enqueue(note("late")).batch(id).await;
    let refused_all = world
        .queue
        .copy_jobs([NewJob::of(&note("late")).map(|job| job.with(|options| options.batch(id)))]);
    let refused_all = refused_all.await;
    let nested = world.queue.enqueue_batch(Batch::new().within(id)).await;
    let process = world.start(stage.app().register::<Act>(), unswept());
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert!(
        matches!(refused, Err(EnqueueError::BatchEnded(of)) if of == id),
        "{refused:?}"
    );
    assert!(refused_all.is_err() && nested.is_err());
    assert_eq!(called, ["completion", "success"]);
    assert_eq!(show(&world, id).await.state, "succeeded");
}

#[tokio::test]
async fn a_batch_counts_for_the_one_it_is_a_part_of() {
    let (world, stage) = (World::new().await, Stage::default());
    let outer = enqueue(&world, batch(&[note("a")]).open()).await;
    let inner = enqueue(&world, batch(&[Act::Fail]).within(outer)).await;
    enqueue(&world, Batch::new().within(outer)).await;
    world.queue.close_batch(outer).await.unwrap();

    let process = world.start(stage.app().register::<Act>(), quick());
    until_completed(&world, outer).await;
    let failed = (show(&world, outer).await, show(&world, inner).await);
    stage.open("mended");
    let job: JobId = world.value("select job_id from queue.failed").await;
    world.queue.retry(job).await.unwrap();
    let succeeded = "batches where succeeded_at is not null";
    world.until(succeeded, 3).await;
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!((failed.0.jobs, failed.0.done, failed.0.failed), (3, 2, 1));
    assert!(failed.0.failed_at.is_some() && failed.1.failed_at.is_some());
    assert_eq!(show(&world, outer).await.done, 3);
    let each_once = [
        "completion",
        "completion",
        "failure",
        "failure",
        "success",
        "success",
    ];
    assert_eq!(called, each_once);
}

#[tokio::test]
async fn jobs_of_a_batch_add_jobs_to_it_and_callbacks_see_the_counts() {
    let (world, stage) = (World::new().await, Stage::default());
    let mut adding = Batch::new().on_success(&Act::Report).unwrap();
    for text in ["a", "b"] {
        adding.add(&Act::Add(text.to_owned())).unwrap();
    }
    let id = enqueue(&world, adding).await;

    let process = world.start(stage.app().register::<Act>(), unswept());
    stage.noted("4 of 4 done").await;
    process.stop().await;

    assert_eq!(show(&world, id).await.state, "succeeded");
}

#[tokio::test]
async fn an_open_batch_does_not_end_before_it_is_closed() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[note("a")]).open()).await;
    let process = world.start(stage.app().register::<Act>(), quick());
    stage.noted("a").await;
    world.until("finished", 1).await;
    world.queue.enqueue(note("b")).batch(id).await.unwrap();
    world.until("finished", 2).await;
    let open = show(&world, id).await;

    assert!(world.queue.close_batch(id).await.unwrap());
    assert!(world.queue.close_batch(id).await.unwrap());
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!((open.state, open.pending), ("open", 0));
    assert_eq!(called, ["completion", "success"]);
    assert!(!world.queue.close_batch(BatchId(99_999)).await.unwrap());
}

#[tokio::test]
async fn of_many_checks_at_once_one_ends_the_batch() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[note("a"), note("b")])).await;
    let (process, runs) = claimed(&world).await;
    let mut conn = world.connect().await;
    finish(&mut conn, world.queue.schema(), process, &runs)
        .await
        .unwrap();

    let mut checks = JoinSet::new();
    for _ in 0..8 {
        let (mut conn, schema) = (world.connect().await, world.queue.schema().clone());
        checks.spawn(async move { settle_all(&mut conn, &schema, ended(id)).await.unwrap() });
    }
    checks.join_all().await;

    assert_eq!(show(&world, id).await.state, "succeeded");
    assert_eq!(world.count("ready where kind = 'act'").await, 2);
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
}

#[tokio::test]
async fn jobs_that_are_added_at_once_are_all_counted() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[]).open()).await;

    let mut adding = JoinSet::new();
    for _ in 0..8 {
        let queue = world.queue.clone();
        adding.spawn(async move {
            for _ in 0..5 {
                let two = [note("a"), note("b")];
                let adding = queue.enqueue_many(two).with(|options| options.batch(id));
                adding.await.unwrap();
            }
        });
    }
    adding.join_all().await;

    let shown = show(&world, id).await;
    assert_eq!((shown.jobs, shown.pending), (80, 80));
}

#[tokio::test]
async fn a_batch_does_not_end_while_a_transaction_adds_jobs_to_it() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[note("a")])).await;
    let (process, runs) = claimed(&world).await;
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    let mut tx = world.pool().begin().await.unwrap();
    world
        .queue
        .enqueue(note("b"))
        .batch(id)
        .tx(&mut tx)
        .await
        .unwrap();
    finish(&mut conn, schema, process, &runs).await.unwrap();

    let locked = settle(&mut conn, schema, &ended(id)).await.unwrap();
    tx.commit().await.unwrap();
    let unsettled = settle(&mut conn, schema, &ended(id)).await.unwrap();

    assert_eq!(locked.locked, BTreeSet::from([id]));
    assert!(unsettled.locked.is_empty() && !unsettled.has_settled);
    assert_eq!(
        (show(&world, id).await.jobs, show(&world, id).await.pending),
        (2, 1)
    );
}

#[tokio::test]
async fn a_batch_that_was_locked_ends_when_the_lock_is_gone() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[note("a")])).await;
    let mut tx = world.pool().begin().await.unwrap();
    world
        .queue
        .enqueue(note("never"))
        .batch(id)
        .tx(&mut tx)
        .await
        .unwrap();
    let process = world.start(stage.app().register::<Act>(), unswept());
    world.until("finished", 1).await;

    tx.rollback().await.unwrap();
    until_completed(&world, id).await;
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!(called, ["completion", "success"]);
    assert_eq!(show(&world, id).await.jobs, 1);
}

#[tokio::test]
async fn the_last_two_jobs_may_end_at_the_same_moment() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[note("a"), note("b")])).await;
    let (process, runs) = claimed(&world).await;
    let schema = world.queue.schema();
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    for (conn, run) in [(&mut one, &runs[0]), (&mut other, &runs[1])] {
        conn.execute("begin").await.unwrap();
        let finished = finish(conn, schema, process, std::slice::from_ref(run)).await;
        assert_eq!(finished.unwrap().len(), 1);
    }

    one.execute("commit").await.unwrap();
    let first = settle(&mut one, schema, &ended(id)).await.unwrap();
    other.execute("commit").await.unwrap();
    let last = settle(&mut other, schema, &ended(id)).await.unwrap();

    assert!(!first.has_settled && last.has_settled);
    assert_eq!(show(&world, id).await.state, "succeeded");
}

#[tokio::test]
async fn the_sweep_ends_a_batch_whose_process_died_before_it_looked() {
    let (world, stage) = (World::new().await, Stage::default());
    let id = enqueue(&world, batch(&[note("a")])).await;
    let (process, runs) = claimed(&world).await;
    let mut conn = world.connect().await;
    finish(&mut conn, world.queue.schema(), process, &runs)
        .await
        .unwrap();
    let before = show(&world, id).await;

    let process = world.start(stage.app().register::<Act>(), quick());
    let called = {
        until_completed(&world, id).await;
        callbacks(&world, &stage).await
    };
    process.stop().await;

    assert!(before.completed_at.is_none() && before.pending == 0);
    assert_eq!(called, ["completion", "success"]);
}

#[tokio::test]
async fn the_sweep_ends_a_batch_whose_jobs_were_discarded_in_a_transaction() {
    let world = World::new().await;
    let schema = world.queue.schema();
    let id = enqueue(&world, batch(&[note("a"), note("b")])).await;
    let mut conn = world.connect().await;
    let jobs: Vec<(JobId,)> = world
        .rows("select id from queue.jobs where batch_id is not null")
        .await;
    let jobs: Vec<JobId> = jobs.into_iter().map(|(job,)| job).collect();
    cancel_waiting(&mut conn, schema, &jobs, Outcome::Discarded)
        .await
        .unwrap();

    let swept = sweep(&mut conn, schema, HOUR).await.unwrap();
    let again = sweep(&mut conn, schema, HOUR).await.unwrap();

    assert_eq!((swept.found, again.found), (1, 0));
    let shown = show(&world, id).await;
    assert_eq!((shown.discarded, shown.state), (2, "succeeded"));
    assert_eq!(world.count("ready").await, 2);
}

#[tokio::test]
async fn the_sweep_closes_a_batch_whose_program_died_before_it_closed_it() {
    let world = World::new().await;
    let schema = world.queue.schema();
    let id = enqueue(&world, batch(&[]).open()).await;
    let busy = enqueue(&world, batch(&[note("a")]).open()).await;
    let mut conn = world.connect().await;

    let young = sweep(&mut conn, schema, HOUR).await.unwrap();
    let old = sweep(&mut conn, schema, Duration::ZERO).await.unwrap();

    assert_eq!((young.abandoned, old.abandoned), (vec![], vec![id]));
    assert_eq!(show(&world, id).await.state, "succeeded");
    assert_eq!(show(&world, busy).await.closed_at, None);
}

#[tokio::test]
async fn the_sweep_goes_on_cancelling_where_an_operator_was_cut_off() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[note("a"), note("b")])).await;
    let mark = "update queue.batches set cancelled_at = now(), closed_at = now()";
    world.sql(&format!("{mark} where id = {id}")).await;

    let mut conn = world.connect().await;
    sweep(&mut conn, world.queue.schema(), HOUR).await.unwrap();

    let shown = show(&world, id).await;
    assert_eq!((shown.cancelled, shown.state), (2, "cancelled"));
    assert!(shown.failed_at.is_some());
    assert_eq!(world.count("ready where kind = 'act'").await, 2);
}

#[tokio::test]
async fn jobs_that_die_with_their_process_count_for_their_batch() {
    let (world, stage) = (World::new().await, Stage::default());
    let mut dying = batch(&[]);
    dying.add_new(
        NewJob::of(&note("a"))
            .unwrap()
            .with(|options| options.crashes(1)),
    );
    let id = enqueue(&world, dying).await;
    claimed(&world).await;
    world.sql("delete from queue.processes").await;

    let process = world.start(stage.app().register::<Act>(), unswept());
    until_completed(&world, id).await;
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!(called, ["completion", "failure"]);
    assert_eq!(show(&world, id).await.failed, 1);
}

#[tokio::test]
async fn jobs_that_a_limit_discards_count_for_their_batch() {
    let (world, stage) = (World::new().await, Stage::default());
    let limits = || {
        Limits::key("one")
            .to(1)
            .on_conflict(queue_core::Conflict::Discard)
    };
    let mut limited = batch(&[]);
    for text in ["a", "b", "c"] {
        let job = NewJob::of(&note(text)).unwrap();
        limited.add_new(job.with(|options| options.limits(limits())));
    }
    let id = enqueue(&world, limited).await;

    let process = world.start(stage.app().register::<Act>(), quick());
    until_completed(&world, id).await;
    process.stop().await;

    let shown = show(&world, id).await;
    assert_eq!((shown.jobs, shown.done + shown.discarded), (3, 3));
}

#[tokio::test]
async fn a_cancelled_batch_ends_its_jobs_and_takes_no_more() {
    let (world, stage) = (World::new().await, Stage::default());
    let outer = enqueue(&world, batch(&[note("a"), note("b")])).await;
    let inner = enqueue(&world, batch(&[note("c")]).within(outer)).await;
    let mut conn = world.connect().await;

    let schema = world.queue.schema();
    let cancelled = world.queue.cancel_batch(outer).await.unwrap();
    let refused = world.queue.enqueue(note("late")).batch(outer).await;
    sweep(&mut conn, schema, HOUR).await.unwrap();
    let process = world.start(stage.app().register::<Act>(), unswept());
    let called = callbacks(&world, &stage).await;
    process.stop().await;

    assert_eq!(cancelled.ended.len(), 3);
    assert!(
        matches!(refused, Err(EnqueueError::BatchEnded(_))),
        "{refused:?}"
    );
    assert_eq!(called, ["completion", "completion", "failure", "failure"]);
    for batch in [outer, inner] {
        assert_eq!(show(&world, batch).await.state, "cancelled");
    }
}

#[tokio::test]
async fn progress_is_exact_at_any_moment_and_counts_no_job_twice() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[note("a"), note("b"), Act::Fail])).await;
    let mut process =
        TestProcess::new(&world.queue, Stage::default().app().register::<Act>()).await;
    let progress = async || {
        let shown = show(&world, id).await;
        (shown.pending, shown.done, shown.failed)
    };

    let before = progress().await;
    let (of, runs) = claimed(&world).await;
    let mut conn = world.connect().await;
    finish(&mut conn, world.queue.schema(), of, &runs[..1])
        .await
        .unwrap();
    let one = progress().await;
    let again = finish(&mut conn, world.queue.schema(), of, &runs[..1])
        .await
        .unwrap();
    let still_one = progress().await;
    let claims: Vec<_> = runs[1..].iter().map(|run| run.claim).collect();
    queue_core::transitions::end::release(&mut conn, world.queue.schema(), of, &claims)
        .await
        .unwrap();
    process.drain("default").await;

    assert_eq!((before, one, still_one), ((3, 0, 0), (2, 1, 0), (2, 1, 0)));
    assert!(again.is_empty());
    assert_eq!(progress().await, (0, 2, 1));
}

#[tokio::test]
async fn many_counts_of_a_batch_are_replaced_by_their_sum() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&vec![note("a"); 300])).await;
    let (process, runs) = claimed(&world).await;
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    for run in &runs[..250] {
        finish(&mut conn, schema, process, std::slice::from_ref(run))
            .await
            .unwrap();
    }
    let before = world.count("deltas").await;

    settle(&mut conn, schema, &ended(id)).await.unwrap();

    assert_eq!((before, world.count("deltas").await), (250, 0));
    let shown = show(&world, id).await;
    assert_eq!((shown.jobs, shown.done, shown.state), (300, 250, "running"));
}

#[tokio::test]
async fn a_transaction_of_the_caller_enqueues_all_of_a_batch_or_nothing() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();
    world
        .queue
        .enqueue_batch(batch(&[note("a")]))
        .tx(&mut tx)
        .await
        .unwrap();
    tx.rollback().await.unwrap();

    for table in ["jobs", "batches", "deltas", "dependencies", "blocked"] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn batches_are_cleared_after_their_jobs() {
    let world = World::new().await;
    let id = enqueue(&world, batch(&[Act::Fail])).await;
    let mut process =
        TestProcess::new(&world.queue, Stage::default().app().register::<Act>()).await;
    process.drain("default").await;
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    let mut clear = async || {
        queue_core::batches::clear_batches(&mut conn, schema, Duration::ZERO, 100)
            .await
            .unwrap()
    };

    let with_jobs = clear().await;
    world
        .sql("delete from queue.jobs where batch_id is not null")
        .await;
    world.sql("delete from queue.failed").await;
    let without = clear().await;

    assert_eq!((with_jobs, without), (0, 1));
    assert_eq!(world.count(&format!("batches where id = {id}")).await, 0);
    assert_eq!(world.count("blocked").await, 0);
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
}

/// Runs a batch until it has ended, and returns the notes.
async fn notes_of(world: &World, batch: Batch) -> (BatchId, Vec<String>) {
    let stage = Stage::default();
    let id = enqueue(world, batch).await;
    let process = world.start(stage.app().register::<Act>(), unswept());
    until_completed(world, id).await;
    process.stop().await;
    (id, stage.notes())
}

#[tokio::test]
async fn jobs_of_a_diamond_run_in_its_order() {
    let world = World::new().await;
    let mut diamond = Batch::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|text| diamond.add(&note(text)).unwrap());
    diamond.after(b, [a], OnFailure::Cancel);
    diamond.after(c, [a, a], OnFailure::Cancel);
    diamond.after(d, [b, c], OnFailure::Cancel);

    let (id, mut notes) = notes_of(&world, diamond).await;

    assert_eq!(
        (notes.remove(0), notes.pop().unwrap()),
        ("a".to_owned(), "d".to_owned())
    );
    assert_eq!(show(&world, id).await.state, "succeeded");
}

#[tokio::test]
async fn jobs_of_a_chain_of_a_thousand_run_one_after_the_other() {
    let world = World::new().await;
    let mut chain = Batch::new();
    let members: Vec<_> = (0..1_000)
        .map(|n| chain.add(&note(&n.to_string())).unwrap())
        .collect();
    for pair in members.windows(2) {
        chain.after(pair[1], [pair[0]], OnFailure::Cancel);
    }

    let stage = Stage::default();
    let id = enqueue(&world, chain).await;
    let process = world.start(stage.app().register::<Act>(), unswept());
    // Behind a pooler and on a busy machine all of it takes longer than a test waits for one thing.
    for done in (100..=1_000).step_by(100) {
        let waited_for = format!("{done} jobs of the chain ran");
        eventually(&waited_for, async || stage.notes().len() >= done).await;
    }
    until_completed(&world, id).await;
    process.stop().await;

    let expected: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    assert_eq!(stage.notes(), expected);
}

#[tokio::test]
async fn a_job_waits_for_ten_thousand_others() {
    let world = World::new().await;
    let mut fan = Batch::new();
    let last = fan.add(&note("last")).unwrap();
    let others: Vec<_> = (0..10_000)
        .map(|_| fan.add(&note("one")).unwrap())
        .collect();
    fan.after(last, others, OnFailure::Cancel);

    let stage = Stage::default();
    let id = enqueue(&world, fan).await;
    let mut settings = unswept();
    settings.workers[0].concurrency = 100;
    let process = world.start(stage.app().register::<Act>(), settings);
    until_completed(&world, id).await;
    process.stop().await;

    assert_eq!(stage.times("one"), 10_000);
    assert_eq!(stage.notes().last().unwrap(), "last");
}

#[tokio::test]
async fn a_job_whose_dependency_fails_is_cancelled_or_runs_or_is_held() {
    for (rule, state, ran) in [
        (OnFailure::Cancel, "finished", false),
        (OnFailure::Continue, "finished", true),
        (OnFailure::Hold, "blocked", false),
    ] {
        let world = World::new().await;
        let mut batch = Batch::new();
        let failing = batch.add(&Act::Fail).unwrap();
        let next = batch.add(&note("next")).unwrap();
        let last = batch.add(&note("last")).unwrap();
        batch.after(next, [failing], rule);
        batch.after(last, [next], rule);

        let enqueued = world.queue.enqueue_batch(batch).await.unwrap();
        let stage = Stage::default();
        let process = world.start(stage.app().register::<Act>(), unswept());
        world.until_state(enqueued.jobs[0].id(), "failed").await;
        for job in &enqueued.jobs[1..] {
            world.until_state(job.id(), state).await;
        }
        process.stop().await;

        assert_eq!(
            stage.notes(),
            if ran { vec!["next", "last"] } else { vec![] },
            "{rule:?}"
        );
        let is_cancelled = world.count("finished where outcome = 'cancelled'").await;
        assert_eq!(is_cancelled, if rule == OnFailure::Cancel { 2 } else { 0 });
    }
}

#[tokio::test]
async fn a_held_job_goes_on_when_the_failed_one_is_retried_or_an_operator_runs_it() {
    let (world, stage) = (World::new().await, Stage::default());
    let mut batch = Batch::new();
    let failing = batch.add(&Act::Fail).unwrap();
    for text in ["run", "retried"] {
        let next = batch.add(&note(text)).unwrap();
        batch.after(next, [failing], OnFailure::Hold);
    }
    let enqueued = world.queue.enqueue_batch(batch).await.unwrap();
    let process = world.start(stage.app().register::<Act>(), unswept());
    world.until_state(enqueued.jobs[0].id(), "failed").await;

    world.queue.run_anyway(enqueued.jobs[1].id()).await.unwrap();
    world.until_state(enqueued.jobs[1].id(), "finished").await;
    let held = world.state(enqueued.jobs[2].id()).await;
    stage.open("mended");
    world.queue.retry(enqueued.jobs[0].id()).await.unwrap();
    until_completed(&world, enqueued.id).await;
    process.stop().await;

    assert_eq!(held, "blocked");
    assert_eq!(stage.notes(), ["run", "mended", "retried"]);
}

#[tokio::test]
async fn jobs_that_wait_in_a_circle_or_are_delayed_are_refused() {
    let world = World::new().await;
    let mut circle = Batch::new();
    let [a, b] = ["a", "b"].map(|text| circle.add(&note(text)).unwrap());
    circle.after(a, [b], OnFailure::Cancel);
    circle.after(b, [a], OnFailure::Cancel);
    let delayed = NewJob::of(&note("a"))
        .unwrap()
        .with(|options| options.delay(HOUR));

    let circle = world.queue.enqueue_batch(circle).await;
    let delayed = world
        .queue
        .enqueue_batch(Batch::new().on_success_new(delayed))
        .await;

    assert!(
        matches!(circle, Err(EnqueueError::Circle { .. })),
        "{circle:?}"
    );
    assert!(
        matches!(delayed, Err(EnqueueError::WaitsAndDelayed { .. })),
        "{delayed:?}"
    );
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_job_does_not_wait_for_one_that_was_not_enqueued() {
    let world = World::new().await;
    let unique = || {
        let job = NewJob::untyped("act", &json!({"Note": "a"}), Options::new());
        job.with(|options| options.unique(queue_core::Unique::by_key("one")))
    };
    world.queue.enqueue_all([unique()]).await.unwrap();
    let mut batch = Batch::new();
    let first = batch.add_new(unique());
    let next = batch.add(&note("next")).unwrap();
    batch.after(next, [first], OnFailure::Cancel);

    let enqueued = world.queue.enqueue_batch(batch).await.unwrap();

    assert!(!enqueued.jobs[0].is_new());
    assert_eq!(world.state(enqueued.jobs[1].id()).await, "ready");
    assert_eq!(show(&world, enqueued.id).await.jobs, 1);
}

#[tokio::test]
async fn the_command_line_shows_cancels_and_retries_batches() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let mut failing = batch(&[Act::Fail]).name("import");
    let next = failing.add(&note("next")).unwrap();
    let first = failing.add(&note("first")).unwrap();
    failing.after(next, [first], OnFailure::Hold);
    let id = enqueue(&world, failing).await;
    let waiting = enqueue(&world, batch(&[note("a")])).await;
    let mut ids: Vec<(JobId,)> = world
        .rows(&format!(
            "select id from queue.jobs where batch_id = {id} order by id"
        ))
        .await;
    let next = ids.remove(1).0;

    let shown = shell.print(&["batches", "show", &id.to_string()]).await;
    let job = shell.print(&["jobs", "show", &next.to_string()]).await;
    let mut process =
        TestProcess::new(&world.queue, Stage::default().app().register::<Act>()).await;
    process.drain("default").await;
    let listed = shell.json(&["batches", "list"]).await;
    let retried = shell.json(&["batches", "retry", &id.to_string()]).await;
    let late = enqueue(&world, batch(&[note("late")])).await;
    let cancelled = shell
        .json(&["batches", "cancel", &late.to_string(), "--yes"])
        .await;
    let unknown = shell.refused(4, &["batches", "show", "99999"]).await;

    assert!(
        shown.contains("import") && shown.contains("waiting"),
        "{shown}"
    );
    assert!(job.contains(&format!("job {}", ids[1].0)), "{job}");
    let states: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|of| &of["state"])
        .collect();
    assert_eq!(states, ["succeeded", "failed"], "{waiting}");
    assert_eq!(retried["retried"], 1);
    assert_eq!(cancelled["cancelled"], 1);
    assert!(unknown.contains("there is no batch"), "{unknown}");
}

#[tokio::test]
async fn ends_of_jobs_without_a_batch_are_not_counted() {
    let world = World::new().await;
    world.queue.enqueue(note("a")).await.unwrap();
    world.queue.enqueue(Act::Fail).await.unwrap();
    let mut process =
        TestProcess::new(&world.queue, Stage::default().app().register::<Act>()).await;
    process.drain("default").await;

    let mut conn = world.connect().await;
    let jobs: Vec<(JobId,)> = world.rows("select id from queue.jobs").await;
    let jobs: Vec<JobId> = jobs.into_iter().map(|(job,)| job).collect();
    let ended = of_jobs(&mut conn, world.queue.schema(), &jobs)
        .await
        .unwrap();

    assert!(ended.is_empty());
    assert_eq!(world.count("deltas").await, 0);
}

#[tokio::test]
async fn a_process_that_stops_settles_the_batches_of_its_last_runs() {
    let (world, stage) = (World::new().await, Stage::default());
    let mut batch = Batch::new().on_completion(&Note::new("end")).unwrap();
    batch.add(&Gated::new("last")).unwrap();
    world.queue.enqueue_batch(batch).await.unwrap();
    let process = world.start(stage.app(), worker("*", 1));
    stage.noted("last begins").await;

    process.ask_to_stop();
    world
        .until("processes where stopping_at is not null", 1)
        .await;
    stage.open("last");
    process.ended().await;

    assert_eq!(world.count("ready").await, 1);
    assert_tables_sound(world.pool()).await;
}
