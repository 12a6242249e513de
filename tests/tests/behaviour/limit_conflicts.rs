//! A job whose key has no room: it waits, it is discarded, or it replaces the jobs that wait.

use std::time::Duration;

use queue_core::{Conflict, JobId, Limits, Unique};
use queue_tests::soundness::assert_tables_sound;
use queue_tests::stage::{Gated, Note, Stage, note};
use queue_tests::world::{Running, World, worker};
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform, Settings};
use serde::{Deserialize, Serialize};

fn settings() -> Settings {
    let mut settings = worker("*", 4);
    settings.dispatcher.enabled = false;
    settings
}

fn key(conflict: Conflict) -> Limits {
    Limits::key("k").group("g").on_conflict(conflict)
}

/// Starts a process in which a job named `holder` holds the key until its gate opens.
async fn held(world: &World, stage: &Stage, settings: Settings, limits: Limits) -> Running {
    let process = world.start(stage.app().register::<Fails>(), settings);
    let holder = world.queue.enqueue(Gated::new("holder")).limits(limits);
    holder.await.unwrap();
    stage.noted("holder begins").await;
    process
}

async fn outcome(world: &World, job: JobId) -> String {
    world.until_state(job, "finished").await;
    let query = format!("select outcome::text from queue.finished where job_id = {job}");
    world.value(&query).await
}

/// A job that fails once.
#[derive(Serialize, Deserialize)]
struct Fails;

impl Job for Fails {
    const KIND: &'static str = "fails";
}

impl Perform<Stage> for Fails {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        match cx.attempt().number {
            1 => Err("the first time".into()),
            _ => Ok(()),
        }
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::from_secs(3_600))
    }
}

#[tokio::test]
async fn a_discarding_job_without_room_is_discarded_and_frees_its_unique_key() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = held(&world, &stage, settings(), key(Conflict::Discard)).await;

    let refused = world.queue.enqueue(Note::new("refused"));
    let refused = refused
        .limits(key(Conflict::Discard))
        .unique(Unique::by_key("only one"));
    let refused = refused.await.unwrap().id();
    let other = note(
        &world,
        "other",
        Limits::key("other").on_conflict(Conflict::Discard),
    )
    .await;

    assert_eq!(outcome(&world, refused).await, "discarded");
    assert_eq!(outcome(&world, other).await, "done");
    assert_eq!(world.count("unique_keys").await, 0);
    assert_eq!(world.count("finished where attempt = 0").await, 1);
    assert_tables_sound(world.pool()).await;
    stage.open("holder");
    world.until("slots", 0).await;
    let next = note(&world, "next", key(Conflict::Discard)).await;
    assert_eq!(outcome(&world, next).await, "done");
    process.stop().await;
    assert_eq!(stage.times("refused"), 0);
}

#[tokio::test]
async fn a_discarding_job_that_was_claimed_once_is_not_discarded() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Fails>(), worker("*", 4));
    let retried = world.queue.enqueue(Fails).limits(key(Conflict::Discard));
    let retried = retried.await.unwrap().id();
    world.until_state(retried, "scheduled").await;
    process.stop().await;
    let process = held(&world, &stage, worker("*", 4), key(Conflict::Block)).await;

    world.make_scheduled_due().await;

    world.until_state(retried, "blocked").await;
    stage.open("holder");
    assert_eq!(outcome(&world, retried).await, "done");
    process.stop().await;
}

#[tokio::test]
async fn a_discarding_job_that_was_released_waits_for_room() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), settings());
    let given_back = world.queue.enqueue(Gated::new("a"));
    let given_back = given_back
        .limits(key(Conflict::Discard))
        .await
        .unwrap()
        .id();
    stage.noted("a begins").await;
    process.stop_at_once().await;
    assert_eq!(world.state(given_back).await, "ready");
    world
        .sql("insert into queue.limits (name, slots, declared) values ('g/k', 0, false)")
        .await;

    let process = world.start(stage.app(), settings());

    world.until_state(given_back, "blocked").await;
    process.stop().await;
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn the_newest_of_several_replacing_jobs_waits() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = held(&world, &stage, settings(), key(Conflict::Replace)).await;
    let patient = note(&world, "patient", key(Conflict::Block)).await;
    world.until_state(patient, "blocked").await;

    let mut replaced = Vec::new();
    for text in ["first", "second"] {
        let job = note(&world, text, key(Conflict::Replace)).await;
        world.until_state(job, "blocked").await;
        replaced.push(job);
    }
    let newest = note(&world, "newest", key(Conflict::Replace)).await;
    world.until_state(newest, "blocked").await;

    for job in replaced {
        assert_eq!(outcome(&world, job).await, "cancelled");
    }
    assert_eq!(world.count("blocked").await, 2);
    assert_eq!(world.count("claimed").await, 1);
    assert_tables_sound(world.pool()).await;
    stage.open("holder");
    assert_eq!(outcome(&world, newest).await, "done");
    assert_eq!(outcome(&world, patient).await, "done");
    process.stop().await;
    assert_eq!(stage.times("first") + stage.times("second"), 0);
}

#[tokio::test]
async fn the_newest_of_several_replacing_jobs_in_one_claim_stays() {
    let world = World::new().await;
    let stage = Stage::default();
    world
        .sql("insert into queue.limits (name, slots, declared) values ('g/k', 0, false)")
        .await;
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push(note(&world, &format!("{number}"), key(Conflict::Replace)).await);
    }

    let process = world.start(stage.app(), settings());

    let newest = jobs.pop().unwrap();
    world.until_state(newest, "blocked").await;
    for job in jobs {
        assert_eq!(outcome(&world, job).await, "cancelled");
    }
    process.stop().await;
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_job_that_was_claimed_once_is_not_replaced() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<Fails>(), worker("*", 4));
    let retried = world.queue.enqueue(Fails).limits(key(Conflict::Replace));
    let retried = retried.await.unwrap().id();
    world.until_state(retried, "scheduled").await;
    process.stop().await;
    let process = held(&world, &stage, worker("*", 4), key(Conflict::Block)).await;
    world.make_scheduled_due().await;
    world.until_state(retried, "blocked").await;

    let newest = note(&world, "newest", key(Conflict::Replace)).await;

    world.until_state(newest, "blocked").await;
    assert_eq!(world.state(retried).await, "blocked");
    stage.open("holder");
    assert_eq!(outcome(&world, retried).await, "done");
    assert_eq!(outcome(&world, newest).await, "done");
    process.stop().await;
}
