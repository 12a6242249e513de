//! Limits per key: at most that many jobs of a key run, however they end, and blocked jobs go on in
//! order.

use std::time::Duration;

use queue_core::process::{ProcessId, ProcessInfo, register};
use queue_core::transitions::cancel::request_cancel;
use queue_core::transitions::retry_now::retry_now;
use queue_core::{Limits, Options};
use queue_tests::soundness::{assert_tables_sound, until_idle};
use queue_tests::stage::{Note, Stage, gated, note};
use queue_tests::world::{World, without_passes, worker};
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform};
use serde::{Deserialize, Serialize};

fn key() -> Limits {
    Limits::key("k").group("g")
}

/// A job that waits at the gate `go`, and then ends in the way it names.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum End {
    Well,
    InTransaction,
    Retry,
    Fail,
    Discard,
    Snooze,
    Panic,
    Cancelled,
    TimedOut,
}

impl Job for End {
    const KIND: &'static str = "end";

    fn options() -> Options {
        Options::new().attempts(2)
    }

    fn limits(&self) -> Limits {
        key()
    }
}

impl Perform<Stage> for End {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        cx.state().note(format!("{self:?} begins"));
        cx.state().pass(&format!("{self:?}")).await;
        match self {
            Self::Well => Ok(()),
            Self::InTransaction => {
                let mut tx = queue_core::begin(cx.queue().pool()).await?;
                cx.complete_in(&mut tx).await?;
                tx.commit().await?;
                Ok(())
            }
            Self::Panic => panic!("as told"),
            Self::Cancelled | Self::TimedOut => {
                cx.cancelled().await;
                Err("stopped".into())
            }
            Self::Retry | Self::Fail | Self::Discard | Self::Snooze => {
                Err(format!("{self:?}").into())
            }
        }
    }

    fn on_error(error: &BoxError, _: &Attempt) -> Next {
        match error.to_string().as_str() {
            "Fail" => Next::Fail,
            "Discard" => Next::Discard,
            "Snooze" => Next::Snooze(Duration::from_secs(3_600)),
            _ => Next::RetryAfter(Duration::from_secs(3_600)),
        }
    }

    fn timeout() -> Option<Duration> {
        Some(Duration::from_secs(2))
    }
}

#[tokio::test]
async fn every_way_for_a_run_to_end_frees_its_slot_and_starts_the_next_job() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<End>(), without_passes(4));
    let ends = [
        (End::Well, "finished"),
        (End::InTransaction, "finished"),
        (End::Retry, "scheduled"),
        (End::Fail, "failed"),
        (End::Discard, "finished"),
        (End::Snooze, "scheduled"),
        (End::Panic, "scheduled"),
        (End::Cancelled, "finished"),
        (End::TimedOut, "scheduled"),
    ];
    for (end, state) in ends {
        let holder = world.queue.enqueue(end).await.unwrap().id();
        stage.noted(&format!("{end:?} begins")).await;
        let next = note(&world, &format!("after {end:?}"), key()).await;
        world.until_state(next, "blocked").await;
        assert_tables_sound(world.pool()).await;

        if let End::Cancelled = end {
            let schema = world.queue.schema();
            let mut conn = world.connect().await;
            request_cancel(&mut conn, schema, &[holder]).await.unwrap();
        }
        stage.open(&format!("{end:?}"));

        world.until_state(next, "finished").await;
        world.until_state(holder, state).await;
        world.until("slots", 0).await;
    }
    process.stop().await;
}

#[tokio::test]
async fn a_limit_holds_for_its_key_and_delays_no_other_key() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    for name in ["a", "b", "c"] {
        gated(&world, name, Limits::key("two").to(2)).await;
    }
    stage.noted("a begins").await;
    stage.noted("b begins").await;
    world.until("blocked where key = 'gated/two'", 1).await;

    gated(&world, "other", Limits::key("other")).await;
    gated(&world, "free", Limits::none()).await;
    stage.noted("other begins").await;
    stage.noted("free begins").await;

    assert_eq!(stage.times("c begins"), 0);
    assert_eq!(world.count("slots where key = 'gated/two'").await, 2);
    stage.open("b");
    stage.noted("c begins").await;
    for name in ["a", "c", "other", "free"] {
        stage.open(name);
    }
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn jobs_without_a_key_are_unlimited_and_kinds_do_not_share_keys() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    let owner = None::<String>;
    gated(&world, "a", Limits::key(owner.clone())).await;
    gated(&world, "b", Limits::key(owner)).await;
    gated(&world, "c", Limits::key("k")).await;
    for name in ["a", "b", "c"] {
        stage.noted(&format!("{name} begins")).await;
    }

    let note = note(&world, "of another kind", Limits::key("k")).await;

    world.until_state(note, "finished").await;
    for name in ["a", "b", "c"] {
        stage.open(name);
    }
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn limits_of_the_call_replace_those_of_the_job() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<End>(), without_passes(10));
    world.queue.enqueue(End::Well).await.unwrap();
    stage.noted("Well begins").await;

    let request = world.queue.enqueue(End::Well).limits(Limits::key("mine"));
    request.await.unwrap();

    stage.noted_times("Well begins", 2).await;
    stage.open("Well");
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn blocked_jobs_go_on_by_priority_and_then_in_order() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    gated(&world, "holder", key()).await;
    stage.noted("holder begins").await;
    for (name, priority) in [("d", 1), ("e", 1), ("b", 0), ("a", -1), ("c", 0)] {
        let request = world.queue.enqueue(Note::new(name)).priority(priority);
        request.limits(key()).await.unwrap();
    }
    world.until("blocked", 5).await;

    stage.open("holder");

    until_idle(&world).await;
    process.stop().await;
    assert_eq!(
        stage.notes()[2..],
        ["a", "b", "c", "d", "e"].map(str::to_owned)
    );
}

#[tokio::test]
async fn jobs_of_a_key_run_in_the_order_they_were_enqueued() {
    let world = World::new().await;
    let stage = Stage::default();
    for number in 0..60 {
        note(&world, &format!("{number:02}"), key()).await;
    }

    let process = world.start(stage.app(), without_passes(4));

    until_idle(&world).await;
    process.stop().await;
    let notes = stage.notes();
    assert!(notes.is_sorted(), "{notes:?}");
    assert_eq!(notes.len(), 60);
}

#[tokio::test]
async fn a_job_of_several_keys_holds_no_slot_until_all_have_room() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    let (a, b) = (Limits::key("a"), Limits::key("b"));
    gated(&world, "holder of b", b.clone()).await;
    stage.noted("holder of b begins").await;

    let both = gated(&world, "both", a.clone().and(b)).await;
    world.until_state(both, "blocked").await;
    assert_eq!(world.count("slots where key = 'gated/a'").await, 0);
    gated(&world, "only a", a).await;
    stage.noted("only a begins").await;
    stage.open("holder of b");
    world.until("blocked where key = 'gated/a'", 1).await;
    assert_eq!(world.count("slots where key = 'gated/b'").await, 0);
    stage.open("only a");

    stage.noted("both begins").await;
    assert_eq!(
        world.count(&format!("slots where job_id = {both}")).await,
        2
    );
    stage.open("both");
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_job_before_its_next_attempt_waits_for_room() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<End>(), worker("*", 4));
    stage.open("Retry");
    let retried = world.queue.enqueue(End::Retry).await.unwrap().id();
    world.until_state(retried, "scheduled").await;
    gated(&world, "holder", key()).await;
    stage.noted("holder begins").await;

    world.make_scheduled_due().await;

    world.until_state(retried, "blocked").await;
    assert_eq!(stage.times("Retry begins"), 1);
    let failures = "select failures::integer * 10 + attempt from queue.blocked";
    assert_eq!(world.value::<i32>(failures).await, 11);
    stage.open("holder");
    world.until_state(retried, "failed").await;
    assert_eq!(stage.times("Retry begins"), 2);
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn retried_and_delayed_jobs_wait_for_room() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app().register::<End>(), worker("*", 4));
    stage.open("Fail");
    let failed = world.queue.enqueue(End::Fail).await.unwrap().id();
    world.until_state(failed, "failed").await;
    gated(&world, "holder", key()).await;
    stage.noted("holder begins").await;

    let mut conn = world.connect().await;
    let retried = retry_now(&mut conn, world.queue.schema(), &[failed]).await;
    assert_eq!(retried.unwrap(), [failed]);
    let delayed = world.queue.enqueue(Note::new("delayed")).limits(key());
    let delayed = delayed
        .delay(Duration::from_secs(3_600))
        .await
        .unwrap()
        .id();
    world.make_scheduled_due().await;

    world.until_state(failed, "blocked").await;
    world.until_state(delayed, "blocked").await;
    stage.open("holder");
    world.until_state(failed, "failed").await;
    world.until_state(delayed, "finished").await;
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_job_released_by_a_stop_is_not_blocked_by_its_own_slot() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(4));
    let job = gated(&world, "a", key()).await;
    stage.noted("a begins").await;

    process.stop_at_once().await;
    assert_eq!(world.state(job).await, "ready");
    assert_eq!(world.count("slots").await, 0);
    let heir = world.start(stage.app(), without_passes(4));

    stage.noted_times("a begins", 2).await;
    assert_eq!(world.count("blocked").await, 0);
    stage.open("a");
    until_idle(&world).await;
    heir.stop().await;
}

#[tokio::test]
async fn a_job_without_a_process_frees_its_slot_when_it_is_recovered() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = gated(&world, "a", key()).await;
    world
        .sql(&format!(
            "with taken as (delete from queue.ready where job_id = {job} returning job_id, seq),
             slot as (insert into queue.slots (key, number, job_id) values ('g/k', 1, {job}))
             insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
             select job_id, seq, gen_random_uuid(), 1, 0, 0, '{{g/k}}', '{{1}}' from taken"
        ))
        .await;
    let waiting = note(&world, "waiting", key()).await;

    let process = world.start(stage.app(), worker("*", 4));
    stage.open("a");

    world.until_state(waiting, "finished").await;
    world.until_state(job, "finished").await;
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn the_jobs_of_a_dead_process_free_their_slots_when_they_are_recovered() {
    let world = World::new().await;
    let stage = Stage::default();
    let dead = ProcessId::new();
    let info = ProcessInfo {
        name: "dead".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        version: "1".to_owned(),
        details: serde_json::json!({}),
    };
    let mut conn = world.connect().await;
    register(&mut conn, world.queue.schema(), dead, &info)
        .await
        .unwrap();
    let job = gated(&world, "a", key()).await;
    world
        .sql(&format!(
            "with taken as (delete from queue.ready where job_id = {job} returning job_id, seq),
             slot as (insert into queue.slots (key, number, job_id) values ('g/k', 1, {job}))
             insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, keys, slots)
             select job_id, seq, '{dead}', 1, 0, 0, '{{g/k}}', '{{1}}' from taken"
        ))
        .await;
    assert_tables_sound(world.pool()).await;
    let mut settings = worker("*", 4);
    settings.process.heartbeat_interval = Duration::from_millis(100);
    settings.process.dead_after = Duration::from_secs(2);
    let process = world.start(stage.app(), settings);
    let waiting = note(&world, "waiting", key()).await;
    world.until_state(waiting, "blocked").await;

    world
        .sql("update queue.processes set heartbeat_at = now() - interval '1 hour' where name = 'dead'")
        .await;

    stage.open("a");
    world.until_state(waiting, "finished").await;
    world.until_state(job, "finished").await;
    assert_eq!(world.count("attempts where ending = 'crash'").await, 1);
    until_idle(&world).await;
    process.stop().await;
}
