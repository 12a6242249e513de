//! Steps of jobs: finished ones are not repeated after errors, interruptions and crashes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queue_core::transitions::cancel::request_cancel;
use queue_core::transitions::clear::{ClearFilter, clear_failed, clear_finished};
use queue_core::{JobId, Options};
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::soundness::assert_sound;
use queue_tests::stage::Stage;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{World, eventually, promptly, worker};
use queue_worker::testing::{self, TestProcess};
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform, StepError};
use serde::{Deserialize, Serialize};

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");
const HOUR: Duration = Duration::from_secs(3600);

/// A job with steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Stepped {
    /// Finishes a step, and fails in its first attempt.
    FailsAfter,
    /// Takes the same step three times, and fails in its first attempt after two.
    Repeats,
    /// Fails in a step, and tries it again at once.
    TriesAgain,
    /// Passes the gate `between` between two steps.
    Gated,
    /// Waits between two steps until it is asked to stop.
    Stopped,
    /// Passes the gate `inside` in a step.
    GatedInside,
    /// Passes the gate `inside` in the transaction of a step that inserts a row.
    GatedTransaction,
    /// Inserts a row in the transaction of a step, and fails there in its first attempt.
    FailsInTransaction,
    /// Has a step with a result of so many bytes.
    Large(usize),
    /// Has a step whose type changes after the first attempt.
    ChangesType,
    /// Has a step without a valid name.
    Misnamed,
    /// Sleeps for an hour between two steps.
    Sleeps,
    /// Like `Gated`, and returns `Ok` whatever its steps return.
    Catches,
    /// Sleeps for an hour, and finishes in a transaction all the same.
    CompletesAsleep,
}

impl Job for Stepped {
    const KIND: &'static str = "stepped";

    fn options() -> Options {
        Options::new().attempts(2)
    }
}

impl Perform<Stage> for Stepped {
    type Error = BoxError;

    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let is_first = cx.attempt().number == 1;
        match self {
            Self::FailsAfter => {
                let answer: u64 = noting(&cx, "step", async || Ok(42)).await?;
                cx.state().note(format!("got {answer}"));
                fail_if(is_first)
            }
            Self::Repeats => {
                for number in 1..=3 {
                    fail_if(is_first && number == 3)?;
                    let got: u64 = noting(&cx, "step", async || Ok(number)).await?;
                    cx.state().note(format!("got {got}"));
                }
                Ok(())
            }
            Self::TriesAgain => {
                let failed: Result<u64, BoxError> =
                    cx.step("step", async || Err("no".into())).await;
                cx.state().note(failed.unwrap_err().to_string());
                noting(&cx, "step", async || Ok(())).await
            }
            Self::Gated => {
                noting(&cx, "one", async || Ok(())).await?;
                cx.state().pass("between").await;
                noting(&cx, "two", async || Ok(())).await
            }
            Self::Stopped => {
                noting(&cx, "one", async || Ok(())).await?;
                cx.cancelled().await;
                noting(&cx, "two", async || Ok(())).await
            }
            Self::GatedInside => {
                let pass = async || {
                    cx.state().pass("inside").await;
                    Ok(())
                };
                note_lost(&cx, noting(&cx, "one", pass).await)
            }
            Self::GatedTransaction => note_lost(&cx, insert(&cx, false).await),
            Self::FailsInTransaction => insert(&cx, is_first).await,
            Self::Large(bytes) => {
                let letters = async || Ok("x".repeat(bytes - 2));
                noting(&cx, "large", letters).await.map(drop)
            }
            Self::ChangesType if is_first => {
                noting(&cx, "step", async || Ok("text".to_owned())).await?;
                fail_if(true)
            }
            Self::ChangesType => noting(&cx, "step", async || Ok(7)).await.map(drop),
            Self::Misnamed => noting(&cx, "two words", async || Ok(())).await,
            Self::Sleeps => {
                noting(&cx, "one", async || Ok(())).await?;
                cx.sleep("nap", HOUR).await?;
                noting(&cx, "two", async || Ok(())).await
            }
            Self::Catches => {
                noting(&cx, "one", async || Ok(())).await?;
                cx.state().pass("between").await;
                let _caught = noting(&cx, "two", async || Ok(())).await;
                let _caught = noting(&cx, "three", async || Ok(())).await;
                Ok(())
            }
            Self::CompletesAsleep => {
                let _caught = cx.sleep("nap", HOUR).await;
                let mut tx = cx.queue().pool().begin().await?;
                let refused = cx.complete_in(&mut tx).await.unwrap_err();
                cx.state().note(refused.to_string());
                tx.commit().await?;
                Ok(())
            }
        }
    }

    fn on_error(error: &BoxError, _: &Attempt) -> Next {
        if let Some(StepError::Interrupted(_) | StepError::Asleep(_)) = error.downcast_ref() {
            INTERRUPTIONS_SEEN.store(true, Ordering::Relaxed);
        }
        Next::RetryAfter(Duration::ZERO)
    }
}

/// Whether `on_error` was asked about the end of a run at a step.
static INTERRUPTIONS_SEEN: AtomicBool = AtomicBool::new(false);

/// Takes a step that notes its name when it runs.
async fn noting<T: Serialize + for<'de> Deserialize<'de>>(
    cx: &Cx<Stage>,
    name: &str,
    work: impl AsyncFnOnce() -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let work = async || {
        cx.state().note(name);
        work().await
    };
    cx.step(name, work).await
}

/// Inserts a row in the transaction of a step, which may fail after that.
async fn insert(cx: &Cx<Stage>, fails: bool) -> Result<(), BoxError> {
    cx.step_tx("insert", async |tx| {
        sqlx::query("insert into public.rows values ('row')")
            .persistent(false)
            .execute(tx)
            .await?;
        cx.state().note("inserted");
        cx.state().pass("inside").await;
        fail_if(fails)
    })
    .await
}

fn fail_if(fails: bool) -> Result<(), BoxError> {
    if fails {
        Err("it fails".into())
    } else {
        Ok(())
    }
}

fn note_lost(cx: &Cx<Stage>, result: Result<(), BoxError>) -> Result<(), BoxError> {
    if let Err(error) = &result
        && let Some(StepError::Lost(_)) = error.downcast_ref()
    {
        cx.state().note("lost");
    }
    result
}

async fn enqueue(world: &World, job: Stepped) -> JobId {
    world.queue.enqueue(job).await.unwrap().id()
}

async fn error_of(world: &World, job: JobId) -> String {
    let query =
        format!("select error from queue.attempts where job_id = {job} order by attempt desc");
    world.value(&query).await
}

/// Runs a job until it has ended, and returns what it noted.
async fn notes_of(world: &World, job: Stepped, state: &str) -> (JobId, Vec<String>) {
    let stage = Stage::default();
    let id = enqueue(world, job).await;
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    world.until_state(id, state).await;
    process.stop().await;
    (id, stage.notes())
}

#[tokio::test]
async fn a_finished_step_is_not_repeated_by_the_next_attempt() {
    let world = World::new().await;

    let (_, notes) = notes_of(&world, Stepped::FailsAfter, "finished").await;

    assert_eq!(notes, ["step", "got 42", "got 42"]);
}

#[tokio::test]
async fn the_steps_of_one_name_are_counted() {
    let world = World::new().await;

    let (_, notes) = notes_of(&world, Stepped::Repeats, "finished").await;

    let first = ["step", "got 1", "step", "got 2"];
    let second = ["got 1", "got 2", "step", "got 3"];
    assert_eq!(notes, [first, second].concat());
    assert_eq!(world.count("steps where occurrence in (1, 2, 3)").await, 3);
}

#[tokio::test]
async fn a_step_that_failed_can_be_tried_again_in_the_same_run() {
    let world = World::new().await;

    let (_, notes) = notes_of(&world, Stepped::TriesAgain, "finished").await;

    assert_eq!(notes, ["no", "step"]);
    assert_eq!(world.count("steps where occurrence = 1").await, 1);
}

#[tokio::test]
async fn the_result_of_a_step_has_a_limit() {
    let world = World::new().await;

    notes_of(&world, Stepped::Large(256 * 1024), "finished").await;
    let (job, _) = notes_of(&world, Stepped::Large(256 * 1024 + 1), "failed").await;

    let error = error_of(&world, job).await;
    let what = "the result of the step `large` has 262145 bytes as JSON, the most is 262144";
    assert!(error.starts_with(what), "{error}");
}

#[tokio::test]
async fn a_step_that_cannot_be_read_or_named_is_an_error_of_its_job() {
    let world = World::new().await;

    let (changed, notes) = notes_of(&world, Stepped::ChangesType, "failed").await;
    let (misnamed, unnoted) = notes_of(&world, Stepped::Misnamed, "failed").await;

    assert_eq!(notes, ["step"]);
    let error = error_of(&world, changed).await;
    let what = "the recorded result of the step `step` does not fit its type: invalid type";
    assert!(error.starts_with(what), "{error}");
    assert!(unnoted.is_empty());
    let error = error_of(&world, misnamed).await;
    let what = "the step \"two words\" is refused";
    assert!(error.starts_with(what), "{error}");
}

#[tokio::test]
async fn what_a_step_writes_in_its_transaction_is_written_once() {
    let world = World::new().await;
    world.sql("create table public.rows (what text)").await;
    let stage = Stage::default();
    stage.open("inside");
    let job = enqueue(&world, Stepped::FailsInTransaction).await;

    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    world.until_state(job, "finished").await;

    assert_eq!(stage.times("inserted"), 2);
    let rows: i64 = world.value("select count(*) from public.rows").await;
    assert_eq!(rows, 1);
    process.stop().await;
}

/// Enqueues a job, and stops its process between the first step and the second.
async fn stopped_between(world: &World, stage: &Stage, stepped: Stepped) -> JobId {
    let job = enqueue(world, stepped).await;
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    world.until("steps", 1).await;
    process.ask_to_stop();
    stage.open("between");
    process.ended().await;
    job
}

#[tokio::test]
async fn a_stopping_process_interrupts_a_job_at_its_next_step_and_another_goes_on() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = stopped_between(&world, &stage, Stepped::Gated).await;

    assert_eq!(world.state(job).await, "ready");
    // The process may have claimed it once more before it knew of the stop.
    assert_eq!(world.count("ready where failures = 0").await, 1);
    assert_eq!(world.count("attempts").await, 0);
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["one", "two"]);
    process.stop().await;
}

#[tokio::test]
async fn a_step_that_an_earlier_write_records_at_the_same_time_is_found() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    let job = enqueue(&world, Stepped::Gated).await;
    world.until("steps", 1).await;
    let mut earlier = world.pool().begin().await.unwrap();
    sqlx::query(
        "insert into queue.steps (job_id, occurrence, name, result) values ($1, 1, 'two', 'null')",
    )
    .bind(job.0)
    .execute(&mut *earlier)
    .await
    .unwrap();

    stage.open("between");
    let waiting = "select count(*) from pg_stat_activity
        where wait_event_type = 'Lock' and datname = current_database()";
    eventually("the step waits for the earlier write", async || {
        world.value::<i64>(waiting).await > 0
    })
    .await;
    earlier.commit().await.unwrap();

    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["one", "two"]);
    process.stop().await;
}

#[tokio::test]
async fn a_job_that_catches_its_interruption_goes_on_all_the_same() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = stopped_between(&world, &stage, Stepped::Catches).await;

    assert_eq!(world.state(job).await, "ready");
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["one", "two", "three"]);
    process.stop().await;
}

#[tokio::test]
async fn a_job_that_sleeps_cannot_finish_in_a_transaction() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = enqueue(&world, Stepped::CompletesAsleep).await;
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 1));

    world.until_state(job, "scheduled").await;

    let refusal = "interrupted or sleeps, and goes on later: roll the transaction back";
    assert!(stage.notes()[0].ends_with(refusal));
    process.stop().await;
}

#[tokio::test]
async fn an_interruption_and_a_sleep_are_no_errors() {
    let world = World::new().await;
    let stage = Stage::default();
    let around = stage.clone();
    let app = stage.app().register::<Stepped>().around(move |cx, work| {
        let around = around.clone();
        async move {
            let ended = work.await;
            around.note(format!("{} {}", ended.is_ok(), cx.is_paused()));
            ended
        }
    });
    stage.open("between");
    let asleep = enqueue(&world, Stepped::Sleeps).await;
    let process = world.start(app, worker("*", 2));
    world.until_state(asleep, "scheduled").await;
    let stopped = enqueue(&world, Stepped::GatedInside).await;
    stage.noted_times("one", 2).await;
    process.ask_to_stop();
    stage.open("inside");
    process.ended().await;

    assert_eq!(world.state(stopped).await, "finished");
    assert_eq!(stage.notes(), ["one", "true true", "one", "true false"]);
    assert!(!INTERRUPTIONS_SEEN.load(Ordering::Relaxed));
    assert_eq!(world.count("attempts").await, 0);
}

#[tokio::test]
async fn a_job_that_was_asked_to_cancel_is_cancelled_at_its_next_step() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = enqueue(&world, Stepped::Stopped).await;
    let mut settings = worker("*", 2);
    settings.process.cancel_grace = HOUR;
    let process = world.start(stage.app().register::<Stepped>(), settings);
    world.until("steps", 1).await;

    let mut conn = world.connect().await;
    request_cancel(&mut conn, world.queue.schema(), &[job])
        .await
        .unwrap();

    world.until("finished where outcome = 'cancelled'", 1).await;
    assert_eq!(stage.notes(), ["one"]);
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_was_declared_dead_records_no_step() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = enqueue(&world, Stepped::GatedInside).await;
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    stage.noted("one").await;

    world.take_away_claims().await;
    stage.open("inside");

    stage.noted("lost").await;
    assert_eq!(world.count(&format!("steps where job_id = {job}")).await, 0);
    process.kill();
}

#[tokio::test]
async fn a_process_that_was_declared_dead_commits_no_step() {
    let world = World::new().await;
    world.sql("create table public.rows (what text)").await;
    let stage = Stage::default();
    enqueue(&world, Stepped::GatedTransaction).await;
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 2));
    stage.noted("inserted").await;

    world.take_away_claims().await;
    stage.open("inside");

    stage.noted("lost").await;
    let rows: i64 = world.value("select count(*) from public.rows").await;
    assert_eq!((rows, world.count("steps").await), (0, 0));
    process.kill();
}

#[tokio::test]
async fn a_sleeping_job_holds_no_slot_and_sleeps_its_whole_time() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = enqueue(&world, Stepped::Sleeps).await;
    let process = world.start(stage.app().register::<Stepped>(), worker("*", 1));
    let of_sleep = "scheduled where due_at > now() + interval '59 minutes' and failures = 0";
    world.until(of_sleep, 1).await;
    assert_eq!(world.count("claimed").await, 0);

    world.make_scheduled_due().await;
    eventually("it sleeps again", async || {
        world.count(&format!("{of_sleep} and attempt = 2")).await == 1
    })
    .await;
    world
        .sql("update queue.steps set finished_at = finished_at - interval '1 hour'")
        .await;
    world.make_scheduled_due().await;

    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["one", "two"]);
    assert_eq!(world.count("attempts").await, 0);
    process.stop().await;
}

#[tokio::test]
async fn a_test_does_not_wait_for_a_sleep() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut process = TestProcess::new(&world.queue, stage.app().register::<Stepped>()).await;

    let asleep = process.perform(Stepped::Sleeps).await;
    let is_promoted = process.make_next_due(1).await;
    let done = process.drain("default").await;

    let left = asleep.retry_after.unwrap();
    assert!(left <= HOUR && left > HOUR / 2, "{left:?}");
    assert_eq!(is_promoted, 1);
    done[0].assert_done();
    assert_eq!(stage.notes(), ["one", "two"]);
}

#[tokio::test]
async fn steps_do_their_work_without_a_database_in_a_test() {
    let stage = Stage::default();

    promptly(Stepped::Sleeps.perform(testing::cx(stage.clone())))
        .await
        .unwrap();

    assert_eq!(stage.notes(), ["one", "two"]);
}

#[tokio::test]
async fn steps_are_cleared_with_their_job() {
    let world = World::new().await;
    notes_of(&world, Stepped::FailsAfter, "finished").await;
    notes_of(&world, Stepped::ChangesType, "failed").await;
    assert_eq!(world.count("steps").await, 2);

    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let all = ClearFilter::default();
    let cleared = clear_finished(&mut conn, schema, &all, Duration::ZERO, None, 9).await;
    assert_eq!(cleared.unwrap().0, 1);
    assert_eq!(world.count("steps").await, 1);
    let cleared = clear_failed(&mut conn, schema, Duration::ZERO, 9).await;

    assert_eq!((cleared.unwrap(), world.count("steps").await), (1, 0));
}

#[tokio::test]
async fn a_killed_process_loses_and_repeats_no_finished_step() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let orders = Orders::of(&world);
    let deeds = vec![Deed::Steps(20); 10];
    let with = |options: Options| options.crashes(100);
    let request = world.queue.enqueue_many(deeds).with(with);
    request.await.unwrap();

    for round in 1..=3 {
        let mut victim = Victim::start(WORKER, &orders);
        eventually("some more steps are done", async || {
            world.count("steps").await >= round * 40
        })
        .await;
        victim.kill().await;
    }
    let _heir = Victim::start(WORKER, &orders);

    world.until("finished where outcome = 'done'", 10).await;
    let written: Vec<(i64, i64)> = world
        .rows("select count(*), count(distinct (job_id, number)) from ledger.steps where in_tx")
        .await;
    assert_eq!(written, [(200, 200)]);
    // Of the other steps only those under way at a kill may have run twice: one per job and kill.
    let run: i64 = world
        .value("select count(*) from ledger.steps where not in_tx")
        .await;
    assert!((200..=230).contains(&run), "{run} steps have run");
    assert_eq!(world.count("steps").await, 400);
    assert_sound(world.pool()).await;
}

/// Makes the first step of a job wait at the lock of a table in between: before its own write, after it,
/// when its result is recorded, when it is committed, and after that.
async fn build_gates(world: &World) {
    sqlx::raw_sql(
        "create table public.at_write (); create table public.at_record ();
         create table public.at_commit (); create table public.afterwards ();

         create function public.pass() returns trigger language plpgsql as $$ begin
             execute format('lock table public.%I in share mode', tg_argv[0]);
             return new;
         end $$;

         create trigger a before insert on ledger.steps for each row when (new.number = 1)
             execute function public.pass('at_write');
         create trigger b before insert on queue.steps for each row when (new.name = 'one')
             execute function public.pass('at_record');
         create constraint trigger c after insert on ledger.steps deferrable initially deferred
             for each row when (new.number = 1) execute function public.pass('at_commit');
         create trigger d before insert on ledger.steps for each row when (new.number = 2)
             execute function public.pass('afterwards');",
    )
    .execute(world.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_step_is_written_once_wherever_its_process_is_killed() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    build_gates(&world).await;
    let orders = Orders::of(&world);
    let blocked = "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'";

    for gate in ["at_write", "at_record", "at_commit", "afterwards"] {
        let with = |options: Options| options.crashes(100);
        let request = world.queue.enqueue_many([Deed::Two]).with(with);
        let job = request.await.unwrap()[0].id();
        let mut closed = world.pool().begin().await.unwrap();
        let lock = format!("lock table public.{gate} in access exclusive mode");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
            .execute(&mut *closed)
            .await
            .unwrap();
        let mut victim = Victim::start(WORKER, &orders);
        eventually("the step is blocked", async || {
            world.value::<i64>(blocked).await > 0
        })
        .await;

        victim.kill().await;
        closed.rollback().await.unwrap();
        let _heir = Victim::start(WORKER, &orders);

        world.until_state(job, "finished").await;
        let rows = format!("select number from ledger.steps where job_id = {job} order by number");
        assert_eq!(world.rows::<(i32,)>(&rows).await, [(1,), (2,)], "{gate}");
    }
    assert_sound(world.pool()).await;
}
