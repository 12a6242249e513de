//! Jobs that wait for the end of their children.

use std::collections::BTreeSet;
use std::time::Instant;

use queue_core::batches::{Ended, settle};
use queue_core::events::open_strays;
use queue_core::transitions::Run;
use queue_core::transitions::finish::finish;
use queue_core::{Batch, BatchId, JobId, Options};
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::soundness::{assert_sound, assert_tables_sound};
use queue_tests::stage::Stage;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{Running, World, eventually, worker};
use queue_worker::testing::TestProcess;
use queue_worker::{App, Attempt, BoxError, Cx, Job, Next, Perform};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::shell::Shell;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

/// A query that counts the statements which wait for a lock.
const LOCKED: &str = "select count(*) from pg_stat_activity
     where datname = current_database() and wait_event_type = 'Lock'";

/// A job that others wait for.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Act {
    /// Puts out its number.
    Count(u32),
    /// Fails for good, until the gate `mended` is open.
    Fail,
    /// Is discarded by its own rule.
    Discard,
}

impl Job for Act {
    const KIND: &'static str = "act";

    fn options() -> Options {
        Options::new().queue("children")
    }
}

impl Perform<Stage> for Act {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        match self {
            Self::Count(number) => Ok(cx.output(&number)?),
            Self::Fail if cx.state().is_open("mended") => Ok(()),
            Self::Fail => Err("it fails".into()),
            Self::Discard => Err("discard".into()),
        }
    }

    fn on_error(error: &BoxError, _: &Attempt) -> Next {
        match error.to_string().as_str() {
            "discard" => Next::Discard,
            _ => Next::Fail,
        }
    }
}

/// A job that passes the gate `join`, waits for its children, and notes how they have ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parent(Vec<Act>);

impl Job for Parent {
    const KIND: &'static str = "parent";

    fn options() -> Options {
        Options::new().queue("parents").attempts(1)
    }
}

impl Perform<Stage> for Parent {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let batch = cx.child_batch("children", self.0).await?;
        cx.state().pass("join").await;
        let joined = cx.join(batch).await?;
        cx.state().note(format!("{} done", joined.done));
        for child in cx.children_of::<u32>(batch).await? {
            cx.state().note(format!("{:?}", child.end));
        }
        Ok(())
    }
}

/// A job that waits for a batch, or for its own if none is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Join(Option<BatchId>);

impl Job for Join {
    const KIND: &'static str = "join";
}

impl Perform<Stage> for Join {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let batch = self.0.or(cx.batch()).ok_or("a batch")?;
        cx.join(batch).await?;
        Ok(())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::Fail
    }
}

fn app(stage: &Stage) -> App<Stage> {
    let app = stage.app().register::<Act>();
    app.register::<Parent>().register::<Join>()
}

fn counts(numbers: u32) -> Vec<Act> {
    (1..=numbers).map(Act::Count).collect()
}

async fn enqueue(world: &World, children: Vec<Act>) -> JobId {
    world.queue.enqueue(Parent(children)).await.unwrap().id()
}

/// Starts a process for parents only, whose parent has enqueued its children and is at the gate `join`.
async fn at_the_gate(world: &World, stage: &Stage) -> (JobId, Running) {
    let parent = enqueue(world, counts(2)).await;
    let process = world.start(app(stage), worker("parents", 1));
    world.until("ready where queue = 'children'", 2).await;
    (parent, process)
}

/// Finishes the children, without settling their batch, and returns it.
async fn finish_children(world: &World) -> BatchId {
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    let (process, jobs) = world.claim("children", "act").await;
    let runs: Vec<Run> = jobs.iter().map(|job| Run::not_begun(job.claim)).collect();
    finish(&mut conn, schema, process, &runs).await.unwrap();
    jobs[0].claim.batch().unwrap()
}

async fn settle_batch(world: &World, conn: &mut PgConnection, batch: BatchId) {
    let ended = Ended {
        batches: BTreeSet::from([batch]),
        jobs: BTreeSet::new(),
    };
    let settled = settle(conn, world.queue.schema(), &ended).await.unwrap();
    assert!(settled.has_settled);
}

#[tokio::test]
async fn a_parent_holds_no_slot_and_goes_on_with_the_outputs_of_its_children() {
    let (world, stage) = (World::new().await, Stage::default());
    stage.open("join");
    let parent = enqueue(&world, counts(3)).await;

    let process = world.start(app(&stage), worker("*", 1));

    world.until_state(parent, "finished").await;
    let outputs = ["Done(Some(1))", "Done(Some(2))", "Done(Some(3))"];
    assert_eq!(stage.notes(), [&["3 done"], &outputs[..]].concat());
    assert_eq!(world.count("attempts").await, 0);
    assert_eq!(world.count("waits").await, 0);
    process.stop().await;
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_parent_learns_which_children_failed_or_were_discarded_or_cancelled() {
    let (world, stage) = (World::new().await, Stage::default());
    stage.open("join");
    let parent = enqueue(&world, vec![Act::Fail, Act::Discard, Act::Count(3)]).await;
    let process = world.start(app(&stage), worker("parents", 1));
    world.until_state(parent, "scheduled").await;
    let last: JobId = world
        .value("select max(id) from queue.jobs where kind = 'act'")
        .await;
    world.queue.cancel(last).await.unwrap();

    let children = world.start(app(&stage), worker("children", 1));

    world.until_state(parent, "finished").await;
    let ends = ["0 done", r#"Failed("it fails")"#, "Discarded", "Cancelled"];
    assert_eq!(stage.notes(), ends);
    process.stop().await;
    children.stop().await;
}

#[tokio::test]
async fn a_parent_without_children_goes_on_at_once() {
    let (world, stage) = (World::new().await, Stage::default());
    stage.open("join");
    let mut process = TestProcess::new(&world.queue, app(&stage)).await;

    process.perform(Parent(Vec::new())).await.assert_done();

    assert_eq!(stage.notes(), ["0 done"]);
}

#[tokio::test]
async fn a_test_runs_a_parent_with_its_children() {
    let (world, stage) = (World::new().await, Stage::default());
    stage.open("join");
    let mut process = TestProcess::new(&world.queue, app(&stage)).await;

    process.perform(Parent(counts(1))).await;
    process.drain("children").await;
    let ended = process.drain("parents").await;

    ended[0].assert_done();
    assert_eq!(stage.notes(), ["1 done", "Done(Some(1))"]);
}

#[tokio::test]
async fn a_batch_that_ends_before_a_wait_is_committed_wakes_the_parent() {
    let (world, stage) = (World::new().await, Stage::default());
    let (parent, process) = at_the_gate(&world, &stage).await;
    let mut blocking = world.pool().begin().await.unwrap();
    blocking
        .execute("select from queue.claimed for no key update")
        .await
        .unwrap();
    stage.open("join");
    eventually("the end of the run is blocked", async || {
        world.value::<i64>(LOCKED).await == 1
    })
    .await;

    let batch = finish_children(&world).await;
    settle_batch(&world, &mut world.connect().await, batch).await;
    blocking.rollback().await.unwrap();

    world.until_state(parent, "finished").await;
    assert_eq!(stage.notes()[0], "2 done");
    process.stop().await;
}

#[tokio::test]
async fn a_batch_whose_end_is_committed_after_a_wait_wakes_the_parent() {
    let (world, stage) = (World::new().await, Stage::default());
    let (parent, process) = at_the_gate(&world, &stage).await;
    let batch = finish_children(&world).await;
    let mut conn = world.connect().await;
    let mut ending = conn.begin().await.unwrap();
    // It has looked for parents that wait, and found none.
    settle_batch(&world, &mut ending, batch).await;

    stage.open("join");
    world.until_state(parent, "scheduled").await;
    eventually("the parent's process waits for this end", async || {
        world.value::<i64>(LOCKED).await == 1
    })
    .await;
    ending.commit().await.unwrap();

    world.until_state(parent, "finished").await;
    assert_eq!(stage.notes()[0], "2 done");
    process.stop().await;
}

#[tokio::test]
async fn a_parent_whose_process_died_before_it_looked_for_its_batch_is_found() {
    let (world, stage) = (World::new().await, Stage::default());
    let (parent, process) = at_the_gate(&world, &stage).await;
    stage.open("join");
    world.until_state(parent, "scheduled").await;
    process.stop().await;
    let batch = finish_children(&world).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let mut wait = world.pool().begin().await.unwrap();
    // A wait that is locked is one that is not committed yet.
    wait.execute("select from queue.waits for update")
        .await
        .unwrap();
    settle_batch(&world, &mut conn, batch).await;
    wait.rollback().await.unwrap();
    assert_eq!(world.state(parent).await, "scheduled");

    let last = open_strays(&mut conn, schema, JobId(0)).await.unwrap();

    assert_eq!(last, Some(parent));
    assert_eq!(world.state(parent).await, "ready");
}

#[tokio::test]
async fn killed_parents_and_children_lose_and_repeat_nothing() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let orders = Orders::of(&world);
    let with = |options: Options| options.crashes(100);
    let parents = vec![Deed::Parent(50); 10];
    let request = world.queue.enqueue_many(parents).with(with);
    request.await.unwrap();

    for round in 1..=3 {
        let mut victim = Victim::start(WORKER, &orders);
        eventually("some more jobs are done", async || {
            world.count("finished").await >= round * 100
        })
        .await;
        victim.kill().await;
    }
    let _heir = Victim::start(WORKER, &orders);

    world.until("finished where outcome = 'done'", 510).await;
    let written: Vec<(i64, i32, i32)> = world
        .rows("select count(*), min(number), max(number) from ledger.steps")
        .await;
    assert_eq!(written, [(10, 50, 50)]);
    assert_eq!(world.count("jobs").await, 510);
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn a_parent_waits_for_ten_thousand_children() {
    let (world, stage) = (World::new().await, Stage::default());
    stage.open("join");
    let mut process = worker("*", 100);
    process.maintenance.enabled = false;
    let process = world.start(app(&stage), process);
    let began = Instant::now();

    let parent = enqueue(&world, counts(10_000)).await;

    world.until("jobs", 10_001).await;
    let enqueued = began.elapsed();
    for thousands in 1..=10 {
        eventually("another thousand children are done", async || {
            world.count("finished").await >= thousands * 1_000
        })
        .await;
    }
    world.until_state(parent, "finished").await;
    println!("enqueued in {enqueued:?}, joined in {:?}", began.elapsed());
    assert_eq!(stage.notes().len(), 10_001);
    assert_eq!(stage.notes()[10_000], "Done(Some(10000))");
    process.stop().await;
}

#[tokio::test]
async fn a_retried_child_leaves_the_numbers_of_its_parent_as_they_were() {
    let (world, stage) = (World::new().await, Stage::default());
    stage.open("join");
    let parent = enqueue(&world, vec![Act::Fail]).await;
    let process = world.start(app(&stage), worker("*", 1));
    world.until_state(parent, "finished").await;

    stage.open("mended");
    let child: JobId = world.value("select job_id from queue.failed").await;
    world.queue.retry(child).await.unwrap();

    world.until_state(child, "finished").await;
    let joined: String = world
        .value("select result::text from queue.steps where name like 'join/%'")
        .await;
    assert!(joined.contains(r#""failed":1"#), "{joined}");
    process.stop().await;
}

#[tokio::test]
async fn a_job_cannot_wait_for_its_own_batch_or_for_none() {
    let (world, stage) = (World::new().await, Stage::default());
    let mut batch = Batch::new();
    batch.add(&Join(None)).unwrap();
    world.queue.enqueue_batch(batch).await.unwrap();
    let mut process = TestProcess::new(&world.queue, app(&stage)).await;

    let own = process.drain("default").await.remove(0);
    let none = process.perform(Join(Some(BatchId(99_999)))).await;

    let own = own.error.unwrap();
    assert!(own.contains("the job is a part of batch"), "{own}");
    assert_eq!(none.error.unwrap(), "there is no batch 99999 to wait for");
}

#[tokio::test]
async fn a_parent_waits_for_an_open_batch_until_it_is_closed() {
    let (world, stage) = (World::new().await, Stage::default());
    let shell = Shell::on(&world);
    let open = world.queue.enqueue_batch(Batch::new().open());
    let batch = open.await.unwrap().id;
    let parent = world.queue.enqueue(Join(Some(batch))).await.unwrap().id();
    let process = world.start(app(&stage), worker("*", 1));
    world.until_state(parent, "scheduled").await;
    let shown = shell.print(&["jobs", "show", &parent.to_string()]).await;

    world.queue.close_batch(batch).await.unwrap();

    world.until_state(parent, "finished").await;
    assert!(
        shown.contains(&format!("the end of batch {batch}")),
        "{shown}"
    );
    process.stop().await;
}
