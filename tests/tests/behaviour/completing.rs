//! `complete_in`: a job commits its completion together with its writes, or neither.

use queue_core::JobId;
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use queue_worker::{Backoff, Cx, Job, Perform};
use serde::{Deserialize, Serialize};

/// A job that writes a row and completes itself in the same transaction.
#[derive(Serialize, Deserialize)]
struct Book {
    then: Then,
}

#[derive(Serialize, Deserialize)]
enum Then {
    Commit,
    /// Rolls back and fails at the first attempt.
    RollBackOnce,
    /// Never commits, and returns `Ok`.
    Forget,
    /// Waits at the gate `late` before it completes.
    CommitLate,
    /// Commits, and then returns an error.
    CommitAndFail,
}

impl Job for Book {
    const KIND: &'static str = "book";
}

impl Perform<Stage> for Book {
    type Error = anyhow::Error;

    async fn perform(self, cx: Cx<Stage>) -> anyhow::Result<()> {
        cx.state().note("begins");
        let mut tx = cx.queue().pool().begin().await?;
        sqlx::query("insert into public.books (job_id) values ($1)")
            .bind(cx.job_id().0)
            // By a pooler in transaction mode, another client may have a statement of the same name.
            .persistent(false)
            .execute(&mut *tx)
            .await?;
        if let Then::CommitLate = self.then {
            cx.state().pass("late").await;
        }
        let completed = cx.complete_in(&mut tx).await;
        if let Err(error) = completed {
            cx.state().note(error.to_string());
            return Err(error.into());
        }
        match self.then {
            Then::Commit | Then::CommitLate => Ok(tx.commit().await?),
            Then::RollBackOnce if cx.attempt().number > 1 => Ok(tx.commit().await?),
            Then::RollBackOnce => {
                tx.rollback().await?;
                anyhow::bail!("rolled back")
            }
            Then::Forget => Ok(()),
            Then::CommitAndFail => {
                tx.commit().await?;
                anyhow::bail!("too late to fail")
            }
        }
    }

    fn backoff() -> Backoff {
        Backoff::fixed(std::time::Duration::from_millis(20))
    }
}

async fn run(world: &World, stage: &Stage, then: Then, state: &str) -> JobId {
    world.sql("create table public.books (job_id bigint)").await;
    let process = world.start(stage.app().register::<Book>(), worker("*", 1));
    let request = world.queue.enqueue(Book { then }).attempts(2);
    let id = request.await.unwrap().id();
    world.until_state(id, state).await;
    process.stop().await;
    id
}

async fn books(world: &World) -> i64 {
    world.value("select count(*) from public.books").await
}

#[tokio::test]
async fn a_job_commits_its_writes_and_its_completion_together() {
    let (world, stage) = (World::new().await, Stage::default());

    run(&world, &stage, Then::Commit, "finished").await;

    assert_eq!(books(&world).await, 1);
    assert_eq!(
        world
            .count("finished where outcome = 'done' and attempt = 1")
            .await,
        1
    );
    assert_eq!(world.count("attempts").await, 0);
}

#[tokio::test]
async fn a_job_whose_transaction_is_rolled_back_is_retried() {
    let (world, stage) = (World::new().await, Stage::default());

    run(&world, &stage, Then::RollBackOnce, "finished").await;

    assert_eq!(books(&world).await, 1);
    assert_eq!(world.count("finished where attempt = 2").await, 1);
    let error: String = world.value("select error from queue.attempts").await;
    assert_eq!(error, "rolled back");
}

#[tokio::test]
async fn a_job_that_does_not_commit_is_retried_until_its_attempts_are_exhausted() {
    let (world, stage) = (World::new().await, Stage::default());

    run(&world, &stage, Then::Forget, "failed").await;

    assert_eq!(books(&world).await, 0);
    assert_eq!(stage.times("begins"), 2);
    let error: String = world
        .value("select error from queue.attempts where attempt = 2")
        .await;
    let said = "the job returned `Ok` after `complete_in`, but the transaction was not committed";
    assert_eq!(error, said);
}

#[tokio::test]
async fn an_error_after_the_commit_is_ignored() {
    let (world, stage) = (World::new().await, Stage::default());

    run(&world, &stage, Then::CommitAndFail, "finished").await;

    assert_eq!(books(&world).await, 1);
    assert_eq!(world.count("attempts").await, 0);
    assert_eq!(stage.times("begins"), 1);
}

#[tokio::test]
async fn a_job_that_now_belongs_to_another_process_cannot_complete_itself() {
    let (world, stage) = (World::new().await, Stage::default());
    world.sql("create table public.books (job_id bigint)").await;
    let process = world.start(stage.app().register::<Book>(), worker("*", 1));
    let book = Book {
        then: Then::CommitLate,
    };
    let id = world.queue.enqueue(book).await.unwrap().id();
    stage.noted("begins").await;

    world.take_away_claims().await;
    stage.open("late");

    let said = format!("job {id} was taken from this run: roll the transaction back");
    stage.noted(&said).await;
    process.stop().await;
    assert_eq!(books(&world).await, 0);
    assert_eq!(world.state(id).await, "claimed");
}

#[tokio::test]
async fn hooks_run_for_jobs_that_completed_themselves() {
    let (world, stage) = (World::new().await, Stage::default());
    world.sql("create table public.books (job_id bigint)").await;
    let heard = stage.clone();
    let app = stage.app().register::<Book>();
    let app = app.on_finished(move |job| heard.note(format!("heard of {}", job.kind)));
    let process = world.start(app, worker("*", 1));

    for then in [Then::Commit, Then::CommitAndFail] {
        let _ = world.queue.enqueue(Book { then }).await.unwrap();
    }
    let _ = world.queue.enqueue(Note::new("a")).await.unwrap();

    stage.noted_times("heard of book", 2).await;
    stage.noted("heard of note").await;
    process.stop().await;
}
