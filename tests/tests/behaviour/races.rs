//! Two statements on one job: the first holds its lock, the second waits for it or skips the job, and
//! exactly one of them changes its state.

use std::time::Duration;

use chrono::Utc;
use queue_core::process::{ProcessId, ProcessInfo, heartbeat, register};
use queue_core::transitions::cancel::{Cancelled, cancel, cancel_waiting, request_cancel};
use queue_core::transitions::claim::{Lane, Track, claim};
use queue_core::transitions::end::{End, end, release, release_unknown, was_written};
use queue_core::transitions::finish::finish;
use queue_core::transitions::promote::promote;
use queue_core::transitions::recover::recover;
use queue_core::transitions::retry_now::retry_now;
use queue_core::transitions::{AttemptError, Became, Claim, Ending, Run};
use queue_core::{Enqueued, JobId, NewJob, Options, Outcome, Schema, States, Unique};
use queue_tests::soundness::problems;
use queue_tests::world::{World, eventually};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

/// Processes that were silent for longer than this are presumed dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

async fn enqueue(world: &World, options: Options) -> JobId {
    let job = NewJob::untyped("k", &json!(1), options);
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

async fn process(world: &World) -> ProcessId {
    let process = ProcessId::new();
    let info = ProcessInfo {
        name: "p".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        version: "1".to_owned(),
        details: json!({}),
    };
    let mut conn = world.connect().await;
    register(&mut conn, &Schema::default(), process, &info)
        .await
        .unwrap();
    process
}

/// Enqueues a job, and claims it for a new process.
async fn claimed(world: &World, options: Options) -> (ProcessId, Claim) {
    enqueue(world, options).await;
    let process = process(world).await;
    let mut claims = take(&mut world.connect().await, process).await;
    (process, claims.remove(0))
}

/// Enqueues a job, claims it for a process, and makes the process look dead.
async fn orphaned(world: &World) -> (ProcessId, Claim) {
    let claimed = claimed(world, Options::new()).await;
    make_silent(world).await;
    claimed
}

/// Claims and recovers a second job while a first one waits.
async fn orphaned_beside(world: &World, first: Claim) -> (ProcessId, Claim) {
    enqueue(world, Options::new()).await;
    let process = process(world).await;
    let mut conn = world.connect().await;
    let claims = take(&mut conn, process).await;
    make_silent(world).await;
    assert_eq!(recovered(&mut conn).await.len(), claims.len());
    let mut others = claims
        .into_iter()
        .filter(|claim| claim.job_id() != first.job_id());
    (process, others.next().expect("a second claim"))
}

async fn make_silent(world: &World) {
    let silence = "update queue.processes set heartbeat_at = now() - interval '1 hour'";
    world.sql(silence).await;
}

async fn failed(world: &World, options: Options) -> JobId {
    let (process, claim) = claimed(world, options).await;
    let mut conn = world.connect().await;
    let ended = end_run(&mut conn, process, claim, failure()).await;
    assert_eq!(ended, [(claim.job_id(), Became::Failed)]);
    claim.job_id()
}

async fn take(conn: &mut PgConnection, process: ProcessId) -> Vec<Claim> {
    let lane = Lane {
        queue: "default".to_owned(),
        priority: 0,
        track: Track::Open,
        above: 0,
        up_to: i64::MAX,
    };
    let kinds = ["k".to_owned()];
    let jobs = claim(conn, &Schema::default(), process, &[lane], &kinds, 10).await;
    jobs.unwrap().into_iter().map(|job| job.claim).collect()
}

async fn recovered(conn: &mut PgConnection) -> Vec<JobId> {
    let jobs = recover(conn, &Schema::default(), DEAD_AFTER, true).await;
    jobs.unwrap().into_iter().map(|job| job.job_id).collect()
}

async fn finished(conn: &mut PgConnection, process: ProcessId, claim: Claim) -> Vec<JobId> {
    finish(conn, &Schema::default(), process, &[run(claim)])
        .await
        .unwrap()
}

async fn cancelled(conn: &mut PgConnection, job: JobId) -> Vec<JobId> {
    cancel_waiting(conn, &Schema::default(), &[job], Outcome::Cancelled)
        .await
        .unwrap()
}

async fn asked_to_stop(conn: &mut PgConnection, job: JobId) -> Vec<JobId> {
    request_cancel(conn, &Schema::default(), &[job])
        .await
        .unwrap()
}

async fn promoted(conn: &mut PgConnection, limit: u32) -> u64 {
    let tomorrow = Utc::now() + 2 * DAY;
    promote(conn, &Schema::default(), Some(tomorrow), limit)
        .await
        .unwrap()
}

async fn retried_now(conn: &mut PgConnection, job: JobId) -> Vec<JobId> {
    retry_now(conn, &Schema::default(), &[job]).await.unwrap()
}

fn run(claim: Claim) -> Run {
    Run {
        claim,
        ran: Duration::from_millis(1),
    }
}

fn error() -> AttemptError {
    AttemptError {
        ending: Ending::Error,
        message: "no".to_owned(),
        backtrace: None,
    }
}

async fn end_run(
    conn: &mut PgConnection,
    process: ProcessId,
    claim: Claim,
    how: End,
) -> Vec<(JobId, Became)> {
    let schema = Schema::default();
    let ended = end(conn, &schema, process, "p", &[(run(claim), &how)]).await;
    ended.unwrap()
}

fn failure() -> End {
    End::Fail { error: error() }
}

fn retry() -> End {
    End::Retry {
        error: error(),
        delay: Duration::ZERO,
    }
}

fn unique() -> Options {
    Options::new().unique(Unique::by_key("key").while_in(States::UNFINISHED))
}

async fn until_one_waits(world: &World) {
    eventually("a statement waits for a lock", async || {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        world.value::<i64>(waiting).await == 1
    })
    .await;
}

async fn assert_ends(world: &World, job: JobId, state: &str) {
    assert_eq!(world.state(job).await, state);
    assert_eq!(problems(world.pool()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_is_being_finished_is_not_recovered() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = orphaned(&world).await;

    let mut finishing = one.begin().await.unwrap();
    assert_eq!(
        finished(&mut finishing, process, claim).await,
        [claim.job_id()]
    );
    assert_eq!(recovered(&mut other).await, []);
    finishing.commit().await.unwrap();

    assert_eq!(recovered(&mut other).await, []);
    assert_ends(&world, claim.job_id(), "finished").await;
    assert_eq!(world.count("attempts").await, 0);
}

#[tokio::test]
async fn a_finish_that_was_rolled_back_leaves_the_job_to_the_next_recovery() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = orphaned(&world).await;

    let mut finishing = one.begin().await.unwrap();
    assert_eq!(
        finished(&mut finishing, process, claim).await,
        [claim.job_id()]
    );
    assert_eq!(recovered(&mut other).await, []);
    finishing.rollback().await.unwrap();

    assert_eq!(recovered(&mut other).await, [claim.job_id()]);
    assert_ends(&world, claim.job_id(), "ready").await;
}

#[tokio::test]
async fn a_finish_during_the_recovery_of_its_job_is_lost() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = orphaned(&world).await;

    let mut recovering = one.begin().await.unwrap();
    assert_eq!(recovered(&mut recovering).await, [claim.job_id()]);
    let late = tokio::spawn(async move { finished(&mut other, process, claim).await });
    until_one_waits(&world).await;
    recovering.commit().await.unwrap();

    assert_eq!(late.await.unwrap(), []);
    assert_ends(&world, claim.job_id(), "ready").await;
    assert_eq!(world.count("attempts where ending = 'crash'").await, 1);
}

#[tokio::test]
async fn a_finish_holds_when_the_recovery_before_it_is_rolled_back() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = orphaned(&world).await;

    let mut recovering = one.begin().await.unwrap();
    assert_eq!(recovered(&mut recovering).await, [claim.job_id()]);
    let late = tokio::spawn(async move { finished(&mut other, process, claim).await });
    until_one_waits(&world).await;
    recovering.rollback().await.unwrap();

    assert_eq!(late.await.unwrap(), [claim.job_id()]);
    assert_ends(&world, claim.job_id(), "finished").await;
}

#[tokio::test]
async fn concurrent_recoveries_count_one_crash() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (_, claim) = orphaned(&world).await;

    let mut recovering = one.begin().await.unwrap();
    assert_eq!(recovered(&mut recovering).await, [claim.job_id()]);
    assert_eq!(recovered(&mut other).await, []);
    recovering.commit().await.unwrap();

    assert_eq!(recovered(&mut other).await, []);
    assert_eq!(
        world.count("ready where crashes = 1 and attempt = 1").await,
        1
    );
    assert_ends(&world, claim.job_id(), "ready").await;
}

#[tokio::test]
async fn a_process_that_is_writing_its_heartbeat_is_not_declared_dead() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = orphaned(&world).await;

    let mut beating = one.begin().await.unwrap();
    let beat = heartbeat(&mut beating, &Schema::default(), process, false).await;
    assert!(beat.unwrap().is_some());
    assert_eq!(recovered(&mut other).await, []);
    beating.commit().await.unwrap();

    assert_eq!(recovered(&mut other).await, []);
    assert_ends(&world, claim.job_id(), "claimed").await;
}

#[tokio::test]
async fn no_late_completion_changes_a_recovered_job() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let (process, claim) = orphaned(&world).await;
    assert_eq!(recovered(&mut conn).await, [claim.job_id()]);
    let heir = self::process(&world).await;
    let inherited = take(&mut conn, heir).await;

    assert_eq!(finished(&mut conn, process, claim).await, []);
    for how in [retry(), End::Snooze { delay: DAY }, End::Release] {
        assert_eq!(end_run(&mut conn, process, claim, how).await, []);
    }

    assert_ends(&world, claim.job_id(), "claimed").await;
    assert_eq!(world.count("attempts where ending = 'crash'").await, 1);
    assert_eq!(
        finished(&mut conn, heir, inherited[0]).await,
        [claim.job_id()]
    );
}

#[tokio::test]
async fn a_claim_whose_process_has_no_row_is_recovered() {
    let world = World::new().await;
    let (_, claim) = claimed(&world, Options::new()).await;
    world.sql("delete from queue.processes").await;

    assert_eq!(
        recovered(&mut world.connect().await).await,
        [claim.job_id()]
    );

    assert_ends(&world, claim.job_id(), "ready").await;
}

#[tokio::test]
async fn a_repeated_release_does_not_take_the_job_from_its_next_run() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let schema = Schema::default();
    let (process, claim) = claimed(&world, Options::new()).await;
    let released = release(&mut conn, &schema, process, &[claim]).await;
    assert_eq!(released.unwrap(), [claim.job_id()]);
    let again = take(&mut conn, process).await;

    let repeated = release(&mut conn, &schema, process, &[claim]).await;

    assert_eq!(repeated.unwrap(), []);
    assert_ne!(again[0].attempt(), claim.attempt());
    assert_ends(&world, claim.job_id(), "claimed").await;
}

#[tokio::test]
async fn a_claim_unknown_to_its_process_is_released_even_if_an_earlier_one_was_known() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let schema = Schema::default();
    let (process, claim) = claimed(&world, Options::new()).await;
    let released = release(&mut conn, &schema, process, &[claim]).await;
    assert_eq!(released.unwrap(), [claim.job_id()]);
    let again = take(&mut conn, process).await;

    let kept = release_unknown(&mut conn, &schema, process, &again).await;
    assert_eq!(kept.unwrap(), []);
    let given_back = release_unknown(&mut conn, &schema, process, &[claim]).await;

    assert_eq!(given_back.unwrap(), [claim.job_id()]);
    assert_ends(&world, claim.job_id(), "ready").await;
}

#[tokio::test]
async fn a_completion_counts_as_recorded_unless_the_job_was_recovered_instead() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let schema = Schema::default();
    let (process, written) = claimed(&world, Options::new()).await;
    let ended = end_run(&mut conn, process, written, retry()).await;
    assert_eq!(ended, [(written.job_id(), Became::Scheduled)]);
    assert_eq!(promoted(&mut conn, 10).await, 1);
    assert_eq!(take(&mut conn, process).await.len(), 1);
    make_silent(&world).await;
    assert_eq!(recovered(&mut conn).await, [written.job_id()]);
    let (_, lost) = orphaned_beside(&world, written).await;

    let runs = [run(written), run(lost)];
    let found = was_written(&mut conn, &schema, &runs).await;

    assert_eq!(found.unwrap(), [(written.job_id(), Became::Scheduled)]);
    assert_ends(&world, lost.job_id(), "ready").await;
}

#[tokio::test]
async fn a_repeated_completion_finds_what_the_job_became() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let discard = End::Discard {
        error: error(),
        outcome: Outcome::Discarded,
    };
    let snooze = End::Snooze { delay: DAY };
    for how in [retry(), snooze, failure(), discard, End::Release] {
        let (process, claim) = claimed(&world, Options::new()).await;
        let ended = end_run(&mut conn, process, claim, how).await;

        let found = was_written(&mut conn, &Schema::default(), &[run(claim)]).await;

        assert_eq!(ended.len(), 1);
        assert_eq!(found.unwrap(), ended);
        world.sql("delete from queue.ready").await;
    }
    let (process, claim) = claimed(&world, Options::new()).await;
    finished(&mut conn, process, claim).await;
    let found = was_written(&mut conn, &Schema::default(), &[run(claim)]).await;
    let done = Became::Finished(Outcome::Done);
    assert_eq!(found.unwrap(), [(claim.job_id(), done)]);
}

#[tokio::test]
async fn one_statement_ends_several_runs_in_different_ways() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    for _ in 0..5 {
        enqueue(&world, Options::new()).await;
    }
    let process = process(&world).await;
    let claims = take(&mut conn, process).await;
    asked_to_stop(&mut conn, claims[4].job_id()).await;
    let delay = DAY;
    let hows = [
        retry(),
        End::Snooze { delay },
        failure(),
        End::Release,
        retry(),
    ];
    let ends: Vec<(Run, &End)> = claims.iter().copied().map(run).zip(&hows).collect();

    let ended = end(&mut conn, &Schema::default(), process, "p", &ends).await;

    let mut ended = ended.unwrap();
    ended.sort_by_key(|(job, _)| *job);
    let became: Vec<Became> = ended.into_iter().map(|(_, became)| became).collect();
    let cancelled = Became::Finished(Outcome::Cancelled);
    assert_eq!(
        became,
        [
            Became::Scheduled,
            Became::Scheduled,
            Became::Failed,
            Became::Ready,
            cancelled
        ]
    );
    let failures: Vec<(i64, i16)> = world
        .rows("select job_id, failures from queue.scheduled order by job_id")
        .await;
    assert_eq!(
        failures,
        [(claims[0].job_id().0, 1), (claims[1].job_id().0, 0)]
    );
    assert_eq!(world.count("attempts where process = 'p'").await, 3);
    assert_eq!(problems(world.pool()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_is_being_claimed_can_only_be_asked_to_stop() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let job = enqueue(&world, Options::new()).await;
    let process = process(&world).await;

    let mut claiming = one.begin().await.unwrap();
    assert_eq!(take(&mut claiming, process).await.len(), 1);
    assert_eq!(cancelled(&mut other, job).await, []);
    claiming.commit().await.unwrap();

    assert_eq!(cancelled(&mut other, job).await, []);
    assert_eq!(asked_to_stop(&mut other, job).await, [job]);
    assert_ends(&world, job, "claimed").await;
}

#[tokio::test]
async fn a_job_that_changes_its_state_during_a_cancel_is_cancelled_there() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let schema = Schema::default();
    let claimed = enqueue(&world, Options::new()).await;
    let due = enqueue(&world, Options::new().delay(DAY)).await;
    let process = process(&world).await;

    let mut moving = one.begin().await.unwrap();
    assert_eq!(take(&mut moving, process).await.len(), 1);
    assert_eq!(promoted(&mut moving, 10).await, 1);
    let cancelling =
        tokio::spawn(async move { cancel(&mut other, &schema, &[due, claimed]).await.unwrap() });
    until_one_waits(&world).await;
    moving.commit().await.unwrap();

    let expected = Cancelled {
        ended: vec![due],
        asked: vec![claimed],
    };
    assert_eq!(cancelling.await.unwrap(), expected);
    assert_ends(&world, claimed, "claimed").await;
    assert_ends(&world, due, "finished").await;
}

#[tokio::test]
async fn a_job_that_is_being_cancelled_is_not_claimed() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let job = enqueue(&world, Options::new()).await;
    let process = process(&world).await;

    let mut cancelling = one.begin().await.unwrap();
    assert_eq!(cancelled(&mut cancelling, job).await, [job]);
    assert_eq!(take(&mut other, process).await, []);
    cancelling.commit().await.unwrap();

    assert_eq!(take(&mut other, process).await, []);
    assert_ends(&world, job, "finished").await;
}

#[tokio::test]
async fn a_job_is_either_promoted_or_cancelled() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let first = enqueue(&world, Options::new().delay(DAY)).await;

    let mut promoting = one.begin().await.unwrap();
    assert_eq!(promoted(&mut promoting, 10).await, 1);
    assert_eq!(cancelled(&mut other, first).await, []);
    promoting.commit().await.unwrap();
    assert_ends(&world, first, "ready").await;

    let second = enqueue(&world, Options::new().delay(DAY)).await;
    let mut cancelling = one.begin().await.unwrap();
    assert_eq!(cancelled(&mut cancelling, second).await, [second]);
    assert_eq!(promoted(&mut other, 10).await, 0);
    cancelling.commit().await.unwrap();
    assert_ends(&world, second, "finished").await;
}

#[tokio::test]
async fn two_dispatchers_promote_each_due_job_once() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    for _ in 0..15 {
        enqueue(&world, Options::new().delay(DAY)).await;
    }

    let mut promoting = one.begin().await.unwrap();
    assert_eq!(promoted(&mut promoting, 10).await, 10);
    assert_eq!(promoted(&mut other, 10).await, 5);
    promoting.commit().await.unwrap();

    assert_eq!(world.count("ready").await, 15);
    assert_eq!(world.count("scheduled").await, 0);
    assert_eq!(problems(world.pool()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_failed_job_is_not_retried_while_another_takes_its_key() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let old = failed(&world, unique()).await;

    let mut enqueueing = one.begin().await.unwrap();
    let job = NewJob::untyped("k", &json!(2), unique());
    let enqueued = world.queue.enqueue_all([job]).tx(&mut enqueueing).await;
    assert!(enqueued.unwrap()[0].is_new());
    let retrying = tokio::spawn(async move { retried_now(&mut other, old).await });
    until_one_waits(&world).await;
    enqueueing.commit().await.unwrap();

    assert_eq!(retrying.await.unwrap(), []);
    assert_ends(&world, old, "failed").await;
}

#[tokio::test]
async fn a_job_whose_key_a_retried_one_takes_is_not_enqueued() {
    let world = World::new().await;
    let (mut one, queue) = (world.connect().await, world.queue.clone());
    let old = failed(&world, unique()).await;

    let mut retrying = one.begin().await.unwrap();
    assert_eq!(retried_now(&mut retrying, old).await, [old]);
    let enqueueing = tokio::spawn(async move {
        let job = NewJob::untyped("k", &json!(2), unique());
        queue.enqueue_all([job]).await.unwrap()
    });
    until_one_waits(&world).await;
    retrying.commit().await.unwrap();

    assert_eq!(enqueueing.await.unwrap(), [Enqueued::Kept(old)]);
    assert_ends(&world, old, "ready").await;
}

#[tokio::test]
async fn a_job_that_finishes_during_a_cancel_request_is_done() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = claimed(&world, Options::new()).await;

    let mut asking = one.begin().await.unwrap();
    assert_eq!(
        asked_to_stop(&mut asking, claim.job_id()).await,
        [claim.job_id()]
    );
    let ending = tokio::spawn(async move { finished(&mut other, process, claim).await });
    until_one_waits(&world).await;
    asking.commit().await.unwrap();

    assert_eq!(ending.await.unwrap(), [claim.job_id()]);
    assert_eq!(world.count("finished where outcome = 'done'").await, 1);
    assert_ends(&world, claim.job_id(), "finished").await;
}

#[tokio::test]
async fn a_job_that_is_discarded_during_a_cancel_request_stays_discarded() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (process, claim) = claimed(&world, Options::new()).await;

    let mut asking = one.begin().await.unwrap();
    asked_to_stop(&mut asking, claim.job_id()).await;
    let ending = tokio::spawn(async move {
        let given_up = End::Discard {
            error: error(),
            outcome: Outcome::Discarded,
        };
        end_run(&mut other, process, claim, given_up).await
    });
    until_one_waits(&world).await;
    asking.commit().await.unwrap();

    let discarded = Became::Finished(Outcome::Discarded);
    assert_eq!(ending.await.unwrap(), [(claim.job_id(), discarded)]);
    assert_ends(&world, claim.job_id(), "finished").await;
}

#[tokio::test]
async fn a_job_with_a_cancel_request_during_its_recovery_is_cancelled() {
    let world = World::new().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let (_, claim) = orphaned(&world).await;

    let mut asking = one.begin().await.unwrap();
    assert_eq!(
        asked_to_stop(&mut asking, claim.job_id()).await,
        [claim.job_id()]
    );
    assert_eq!(recovered(&mut other).await, []);
    asking.commit().await.unwrap();

    assert_eq!(recovered(&mut other).await, [claim.job_id()]);
    assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
    assert_ends(&world, claim.job_id(), "finished").await;
}

/// The ways for a run to end after which its job would run again or stay failed.
const UNFINISHED_ENDS: [&str; 5] = ["retry", "snooze", "release", "fail", "release unknown"];

async fn ended(conn: &mut PgConnection, end: &str, process: ProcessId, claim: Claim) -> Vec<JobId> {
    let how = match end {
        "retry" => retry(),
        "snooze" => End::Snooze { delay: DAY },
        "release" => End::Release,
        "fail" => failure(),
        _ => {
            let released = release_unknown(conn, &Schema::default(), process, &[]).await;
            return released.unwrap();
        }
    };
    let ended = end_run(conn, process, claim, how).await;
    let cancelled = Became::Finished(Outcome::Cancelled);
    assert!(ended.iter().all(|(_, became)| *became == cancelled));
    ended.into_iter().map(|(job, _)| job).collect()
}

async fn assert_cancelled(world: &World, jobs: i64) {
    let cancelled = world.count("finished where outcome = 'cancelled'").await;
    assert_eq!(cancelled, jobs);
    assert_eq!(world.count("unique_keys").await, 0);
}

#[tokio::test]
async fn a_job_with_a_cancel_request_does_not_run_again() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    for end in UNFINISHED_ENDS {
        let (process, claim) = claimed(&world, unique()).await;
        asked_to_stop(&mut conn, claim.job_id()).await;

        let ended = ended(&mut conn, end, process, claim).await;

        assert_eq!(ended, [claim.job_id()], "{end}");
        assert_ends(&world, claim.job_id(), "finished").await;
    }
    assert_cancelled(&world, 5).await;
}

#[tokio::test]
async fn a_job_with_a_cancel_request_during_the_end_of_its_run_does_not_run_again() {
    let world = World::new().await;
    let mut one = world.connect().await;
    for end in UNFINISHED_ENDS {
        let mut other = world.connect().await;
        let (process, claim) = claimed(&world, unique()).await;
        let mut asking = one.begin().await.unwrap();
        asked_to_stop(&mut asking, claim.job_id()).await;
        let ending = tokio::spawn(async move { ended(&mut other, end, process, claim).await });
        until_one_waits(&world).await;

        asking.commit().await.unwrap();

        assert_eq!(ending.await.unwrap(), [claim.job_id()], "{end}");
        assert_ends(&world, claim.job_id(), "finished").await;
    }
    assert_cancelled(&world, 5).await;
}
