//! Cursors of jobs: a later run goes on where an earlier one has come to.

use std::time::Duration;

use queue_core::{JobId, Options};
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::stage::Stage;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{Running, World, eventually, promptly, worker};
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform, StepError, testing};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

/// A job with a cursor.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Walk {
    /// Goes from 1 to 5, and fails in its first attempt after 3.
    Fails,
    /// Goes from 1 to 5, and passes the gate of each number before it sets the cursor there.
    Gated,
    /// Sets the cursor, and passes the gate `end`.
    Ends,
    /// Sets the cursor 1,000 times.
    Long,
    /// Goes through two rows of three columns, and fails in its first attempt in the second row.
    Nested,
    /// Inserts the rows from 1 to 5 in transactions, and fails in its first attempt in the third.
    Inserts,
    /// Sets the cursor to a text, and reads a number in its second attempt.
    ChangesType,
    /// Sets the cursor once it was taken from its process.
    Late,
    /// Moves the cursor in a transaction once it was taken from its process.
    LateInserts,
}

impl Job for Walk {
    const KIND: &'static str = "walk";

    fn options() -> Options {
        Options::new().attempts(2)
    }
}

impl Perform<Stage> for Walk {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let is_first = cx.attempt().number == 1;
        match self {
            Self::Fails => {
                let mut cursor = cx.cursor::<u8>("rows").await?;
                for number in cursor.get().map_or(1, |last| last + 1)..=5 {
                    fail_if(is_first && number == 4)?;
                    cx.state().note(format!("{number}"));
                    cursor.set(number).await?;
                }
                let again = cx.cursor::<u8>("rows").await?;
                cx.state().note(format!("at {:?}", again.get()));
            }
            Self::Gated => {
                let mut cursor = cx.cursor::<u8>("rows").await?;
                for number in cursor.get().map_or(1, |last| last + 1)..=5 {
                    cx.state().note(format!("{number}"));
                    cx.state().pass(&format!("{number}")).await;
                    cursor.set(number).await?;
                }
            }
            Self::Ends => {
                cx.cursor("rows").await?.set(1).await?;
                cx.state().pass("end").await;
            }
            Self::Long => {
                let mut cursor = cx.cursor("rows").await?;
                for number in 1..=1_000 {
                    cursor.set(number).await?;
                }
            }
            Self::Nested => nested(&cx, is_first).await?,
            Self::Inserts => insert_five(&cx, is_first).await?,
            Self::ChangesType if is_first => {
                cx.cursor("rows").await?.set("text".to_owned()).await?;
                fail_if(true)?;
            }
            Self::ChangesType => drop(cx.cursor::<u8>("rows").await?),
            Self::Late => {
                cx.state().note("begun");
                cx.state().pass("late").await;
                cx.cursor("rows").await?.set(1).await?;
            }
            Self::LateInserts => {
                let mut cursor = cx.cursor("rows").await?;
                let moved = cursor.advance_tx(async |tx, _| {
                    insert(tx, 1).await?;
                    cx.state().note("begun");
                    cx.state().pass("late").await;
                    Ok::<_, BoxError>(Some(1))
                });
                if let Some(StepError::Lost(_)) = moved.await.unwrap_err().downcast_ref() {
                    cx.state().note("lost");
                }
            }
        }
        Ok(())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }
}

/// Goes on after the row and the column that the cursor names.
async fn nested(cx: &Cx<Stage>, is_first: bool) -> Result<(), BoxError> {
    let mut cursor = cx.cursor::<(u8, u8)>("cells").await?;
    let (last_row, last_column) = cursor.get().copied().unwrap_or((1, 0));
    for row in last_row..=2 {
        let first = if row == last_row { last_column + 1 } else { 1 };
        for column in first..=3 {
            fail_if(is_first && (row, column) == (2, 2))?;
            cx.state().note(format!("{row}/{column}"));
            cursor.set((row, column)).await?;
        }
    }
    Ok(())
}

async fn insert_five(cx: &Cx<Stage>, is_first: bool) -> Result<(), BoxError> {
    let mut cursor = cx.cursor::<i32>("rows").await?;
    let next = async |tx: &mut sqlx::PgConnection, last: Option<&i32>| {
        let number = last.map_or(1, |last| last + 1);
        if number > 5 {
            return Ok(None);
        }
        insert(tx, number).await?;
        cx.state().note(format!("{number}"));
        fail_if(is_first && number == 3)?;
        Ok::<_, BoxError>(Some(number))
    };
    while cursor.advance_tx(next).await? {}
    Ok(())
}

async fn insert(tx: &mut sqlx::PgConnection, number: i32) -> Result<(), sqlx::Error> {
    sqlx::query("insert into public.rows values ($1)")
        .bind(number)
        .persistent(false)
        .execute(tx)
        .await?;
    Ok(())
}

fn fail_if(fails: bool) -> Result<(), BoxError> {
    if fails {
        Err("it fails".into())
    } else {
        Ok(())
    }
}

async fn start(world: &World, stage: &Stage, job: Walk) -> (JobId, Running) {
    let id = world.queue.enqueue(job).await.unwrap().id();
    let process = world.start(stage.app().register::<Walk>(), worker("*", 2));
    (id, process)
}

/// Runs a job until it has ended, and returns what it noted.
async fn notes_of(world: &World, job: Walk, state: &str) -> Vec<String> {
    let stage = Stage::default();
    let (id, process) = start(world, &stage, job).await;
    world.until_state(id, state).await;
    process.stop().await;
    stage.notes()
}

#[tokio::test]
async fn the_next_attempt_goes_on_after_the_cursor() {
    let world = World::new().await;

    let notes = notes_of(&world, Walk::Fails, "finished").await;

    assert_eq!(notes, ["1", "2", "3", "4", "5", "at Some(5)"]);
}

#[tokio::test]
async fn a_loop_in_a_loop_goes_on_in_the_middle() {
    let world = World::new().await;

    let notes = notes_of(&world, Walk::Nested, "finished").await;

    assert_eq!(notes, ["1/1", "1/2", "1/3", "2/1", "2/2", "2/3"]);
}

#[tokio::test]
async fn a_cursor_is_written_while_its_job_runs() {
    let world = World::new().await;
    let stage = Stage::default();
    let (job, process) = start(&world, &stage, Walk::Gated).await;

    stage.open("1");
    world.until("progress where value::text = '1'", 1).await;
    stage.open("2");
    // No further call is needed for the last place to be written.
    world.until("progress where value::text = '2'", 1).await;

    assert_eq!(world.state(job).await, "claimed");
    for gate in ["3", "4", "5"] {
        stage.open(gate);
    }
    world.until_state(job, "finished").await;
    process.stop().await;
}

#[tokio::test]
async fn a_run_does_not_end_before_the_write_of_its_cursor_that_is_under_way() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut blocking = world.pool().begin().await.unwrap();
    let lock = "lock table queue.progress in share mode";
    sqlx::query(lock).execute(&mut *blocking).await.unwrap();
    let (job, process) = start(&world, &stage, Walk::Ends).await;
    eventually("the write is blocked", async || {
        let blocked = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
                and query like '%insert into queue.progress%'";
        world.value::<i64>(blocked).await == 1
    })
    .await;

    stage.open("end");
    // A process that did not wait would record the end now, and the value could no longer be written. A
    // write waits for locks for 500 ms at most.
    let ended = world.until_state(job, "finished");
    let _it_waits = timeout(Duration::from_millis(100), ended).await;
    blocking.rollback().await.unwrap();

    world.until_state(job, "finished").await;
    assert_eq!(world.count("progress where value::text = '1'").await, 1);
    process.stop().await;
}

#[tokio::test]
async fn a_stopping_process_interrupts_a_job_at_its_cursor_and_another_goes_on() {
    let world = World::new().await;
    let stage = Stage::default();
    stage.open("1");
    stage.open("2");
    let (job, process) = start(&world, &stage, Walk::Gated).await;
    stage.noted("3").await;

    process.ask_to_stop();
    stage.open("3");
    process.ended().await;

    assert_eq!(world.state(job).await, "ready");
    assert_eq!(world.count("progress where value::text = '3'").await, 1);
    stage.open("4");
    stage.open("5");
    let process = world.start(stage.app().register::<Walk>(), worker("*", 2));
    world.until_state(job, "finished").await;
    assert_eq!(stage.notes(), ["1", "2", "3", "4", "5"]);
    assert_eq!(world.count("attempts").await, 0);
    process.stop().await;
}

#[tokio::test]
async fn a_cursor_that_moves_often_is_written_seldom() {
    let world = World::new().await;
    world.sql("create table public.writes (value json)").await;
    world
        .sql(
            "create function public.note() returns trigger language plpgsql as
             $$ begin insert into public.writes values (new.value); return new; end $$",
        )
        .await;
    world
        .sql(
            "create trigger note after insert or update on queue.progress
             for each row execute function public.note()",
        )
        .await;

    notes_of(&world, Walk::Long, "finished").await;

    let writes: i64 = world.value("select count(*) from public.writes").await;
    assert!((1..100).contains(&writes), "{writes} writes");
    assert_eq!(world.count("progress where value::text = '1000'").await, 1);
}

#[tokio::test]
async fn what_is_written_with_the_cursor_is_written_once() {
    let world = World::new().await;
    world.sql("create table public.rows (number integer)").await;

    let notes = notes_of(&world, Walk::Inserts, "finished").await;

    assert_eq!(notes, ["1", "2", "3", "3", "4", "5"]);
    let rows: Vec<(i32,)> = world.rows("select number from public.rows").await;
    assert_eq!(rows, [1, 2, 3, 4, 5].map(|number| (number,)));
}

#[tokio::test]
async fn a_cursor_of_another_type_is_an_error_of_its_job() {
    let world = World::new().await;

    notes_of(&world, Walk::ChangesType, "failed").await;

    let error: String = world
        .value("select error from queue.attempts where attempt = 2")
        .await;
    let what = "the place of the cursor `rows` does not fit its type: invalid type";
    assert!(error.starts_with(what), "{error}");
}

#[tokio::test]
async fn a_process_that_was_declared_dead_writes_no_cursor() {
    let world = World::new().await;
    world.sql("create table public.rows (number integer)").await;
    for job in [Walk::Late, Walk::LateInserts] {
        let stage = Stage::default();
        let (_, process) = start(&world, &stage, job).await;
        stage.noted("begun").await;

        world.take_away_claims().await;
        stage.open("late");
        process.stop().await;

        assert_eq!(world.count("progress").await, 0);
        world.sql("delete from queue.claimed").await;
    }
    let rows: i64 = world.value("select count(*) from public.rows").await;
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn cursors_move_without_a_database_in_a_test() {
    let stage = Stage::default();

    let mut second = testing::attempt();
    second.number = 2;
    let queue = testing::cx(()).queue().clone();

    promptly(Walk::Nested.perform(testing::cx_of(stage.clone(), queue, second)))
        .await
        .unwrap();

    assert_eq!(stage.notes().len(), 6);
}

#[tokio::test]
async fn a_killed_process_loses_at_most_a_second_of_a_cursor() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let orders = Orders::of(&world);
    let with = |options: Options| options.crashes(100);
    let request = world.queue.enqueue_many([Deed::Walk(400)]).with(with);
    request.await.unwrap();

    for round in 1..=2 {
        let mut victim = Victim::start(WORKER, &orders);
        eventually("some more rounds are noted", async || {
            let written = "coalesce(max(value::text::integer), 0) from queue.progress";
            world.value::<i32>(&format!("select {written}")).await >= round * 100
        })
        .await;
        victim.kill().await;
    }
    let _heir = Victim::start(WORKER, &orders);

    world.until("finished where outcome = 'done'", 1).await;
    let (rounds, runs): (i64, i64) = world
        .rows("select count(distinct number), count(*) from ledger.steps")
        .await[0];
    assert_eq!(rounds, 400);
    // A round takes 10 ms or more, and a write may take a little.
    assert!(runs <= 400 + 2 * 130, "{runs} rounds have run");
}
