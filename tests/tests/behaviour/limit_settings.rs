//! Limits that are set at run time: their effect on running and blocked jobs, and what operators see
//! and do.

use std::time::Duration;

use queue_core::inspect::jobs::{JobFilter, count, show};
use queue_core::inspect::limits::{LimitSummary, list};
use queue_core::operations::limits::{LimitSet, LimitSetting, SetBy, reset, set};
use queue_core::transitions::cancel::cancel_waiting;
use queue_core::transitions::clear::{ClearFilter, clear_finished};
use queue_core::transitions::unblock::run_anyway;
use queue_core::{Conflict, JobId, JobState, Limits, Outcome};
use queue_tests::soundness::until_idle;
use queue_tests::stage::{Gated, Stage, gated, note};
use queue_tests::world::{World, eventually, notifications, without_passes, worker};

async fn allow(world: &World, name: &str, to: u32) -> LimitSet {
    set_by(world, name, to, SetBy::Operator).await
}

async fn set_by(world: &World, name: &str, to: u32, by: SetBy) -> LimitSet {
    let setting = LimitSetting {
        to: Some(to),
        rate: None,
    };
    let mut conn = world.connect().await;
    let answer = set(&mut conn, world.queue.schema(), name, setting, by).await;
    answer.unwrap()
}

async fn summaries(world: &World) -> Vec<LimitSummary> {
    let mut conn = world.connect().await;
    list(&mut conn, world.queue.schema(), "", 100)
        .await
        .unwrap()
}

async fn run_blocked(world: &World, job: JobId) -> Vec<JobId> {
    let mut conn = world.connect().await;
    let answer = run_anyway(&mut conn, world.queue.schema(), &[job]).await;
    answer.unwrap()
}

#[tokio::test]
async fn raising_a_limit_unblocks_jobs_at_once_and_lowering_it_lets_running_ones_finish() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    gated(&world, "a", Limits::key("k")).await;
    stage.noted("a begins").await;
    for name in ["b", "c", "d"] {
        gated(&world, name, Limits::key("k")).await;
    }
    world.until("blocked", 3).await;

    let raised = allow(&world, "gated/k", 3).await;
    assert_eq!((raised.unblocked, raised.beyond), (2, 0));
    stage.noted("b begins").await;
    stage.noted("c begins").await;
    let lowered = allow(&world, "gated", 2).await;
    assert_eq!(
        lowered.beyond, 1,
        "the key's own setting is not the group's"
    );
    let lowered = allow(&world, "gated/k", 2).await;

    assert_eq!((lowered.unblocked, lowered.beyond), (0, 1));
    assert_eq!(world.count("claimed").await, 3);
    stage.open("a");
    world.until("slots", 2).await;
    world.until("claimed", 2).await;
    assert_eq!(world.count("blocked").await, 1);
    assert_eq!(stage.times("d begins"), 0);
    stage.open("b");
    stage.noted("d begins").await;
    for name in ["c", "d"] {
        stage.open(name);
    }
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_limit_of_zero_stops_a_group_until_it_is_reset() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    allow(&world, "note", 0).await;
    for key in ["a", "b"] {
        note(&world, key, Limits::key(key)).await;
    }
    world.until("blocked", 2).await;
    let other = note(&world, "other", Limits::key("a").group("g")).await;
    world.until_state(other, "finished").await;
    assert_eq!(stage.notes(), ["other"]);

    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    assert!(reset(&mut conn, schema, "note").await.unwrap());
    assert!(!reset(&mut conn, schema, "note").await.unwrap());

    until_idle(&world).await;
    process.stop().await;
    assert_eq!(stage.notes().len(), 3);
}

#[tokio::test]
async fn a_setting_of_a_key_overrides_its_group_and_a_group_overrides_the_job() {
    let world = World::new().await;
    let stage = Stage::default();
    allow(&world, "gated", 3).await;
    allow(&world, "gated/own", 2).await;
    let process = world.start(stage.app(), worker("*", 20));
    for name in ["a", "b", "c", "d"] {
        gated(&world, name, Limits::key("own").to(5)).await;
        gated(&world, name, Limits::key("other")).await;
    }

    world.until("slots where key = 'gated/own'", 2).await;
    world.until("slots where key = 'gated/other'", 3).await;
    world.until("blocked", 3).await;

    for name in ["a", "b", "c", "d"] {
        stage.open(name);
    }
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn the_configuration_does_not_overwrite_limits_of_operators() {
    let world = World::new().await;

    let declared = set_by(&world, "import", 2, SetBy::Configuration).await;
    let again = set_by(&world, "import", 3, SetBy::Configuration).await;
    let operator = set_by(&world, "import", 4, SetBy::Operator).await;
    let too_late = set_by(&world, "import", 5, SetBy::Configuration).await;

    assert!(declared.is_in_force && again.is_in_force && operator.is_in_force);
    assert!(!too_late.is_in_force);
    let slots: Vec<(i32, bool)> = world.rows("select slots, declared from queue.limits").await;
    assert_eq!(slots, [(4, false)]);
}

#[tokio::test]
async fn a_limit_of_a_queue_holds_across_processes() {
    let world = World::new().await;
    let stage = Stage::default();
    allow(&world, "@queue/default", 3).await;
    let processes = [(); 2].map(|()| world.start(stage.app(), worker("*", 2)));
    let names: Vec<String> = (0..8).map(|number| format!("{number}")).collect();
    for name in &names {
        gated(&world, name, Limits::none()).await;
    }
    let elsewhere = world.queue.enqueue(Gated::new("elsewhere")).queue("other");
    elsewhere.await.unwrap();

    stage.noted("elsewhere begins").await;
    world.until("claimed", 4).await;
    world.until("slots where key = '@queue/default'", 3).await;
    assert_eq!(world.count("ready").await, 5);
    assert_eq!(world.count("blocked").await, 0);

    let unbegun = |stage: &Stage| {
        let begun = names
            .iter()
            .filter(|name| stage.times(&format!("{name} begins")) > 0);
        names.len() - begun.count()
    };
    eventually("every job that holds a slot has begun", async || {
        unbegun(&stage) == 5
    })
    .await;
    stage.open("elsewhere");
    for name in &names {
        stage.open(name);
        assert!(world.count("slots").await <= 3);
    }
    until_idle(&world).await;
    assert_eq!(unbegun(&stage), 0);
    for process in processes {
        process.stop().await;
    }
}

#[tokio::test]
async fn the_first_job_under_a_limit_of_its_kind_does_not_wait_for_the_poll_interval() {
    let world = World::new().await;
    let stage = Stage::default();
    allow(&world, "@kind/note", 1).await;
    let mut settings = worker("*", 10);
    if notifications() {
        settings.workers[0].poll_interval = Duration::from_secs(3_600);
    }
    let process = world.start(stage.app(), settings);
    if notifications() {
        world.until("idle_processes", 1).await;
    }

    let first = note(&world, "first", Limits::none()).await;

    world.until_state(first, "finished").await;
    process.stop().await;
}

#[tokio::test]
async fn a_limit_of_a_kind_holds_for_jobs_without_limits() {
    let world = World::new().await;
    let stage = Stage::default();
    allow(&world, "@kind/gated", 1).await;
    let process = world.start(stage.app(), worker("*", 10));
    for name in ["a", "b"] {
        gated(&world, name, Limits::none()).await;
    }
    let other = note(&world, "other", Limits::none()).await;

    world.until_state(other, "finished").await;
    world.until("blocked where key = '@kind/gated'", 1).await;
    assert_eq!(world.count("slots where key = '@kind/gated'").await, 1);

    let mut conn = world.connect().await;
    reset(&mut conn, world.queue.schema(), "@kind/gated")
        .await
        .unwrap();
    stage.noted("a begins").await;
    stage.noted("b begins").await;
    for name in ["a", "b"] {
        stage.open(name);
    }
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_stuck_job_loses_its_slot_after_the_duration_and_frees_no_other() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), worker("*", 10));
    let hold = |hours: u64| Limits::key("k").duration(Duration::from_secs(hours * 3_600));
    gated(&world, "stuck", hold(1)).await;
    stage.noted("stuck begins").await;
    let next = gated(&world, "next", hold(1)).await;
    world.until_state(next, "blocked").await;

    world
        .sql("update queue.slots set expires_at = clock_timestamp()")
        .await;
    stage.noted("next begins").await;
    let last = gated(&world, "last", hold(1)).await;
    world.until_state(last, "blocked").await;
    stage.open("stuck");
    stage.noted("stuck ends").await;
    world.until("claimed", 1).await;

    let holders: Vec<(i64,)> = world.rows("select job_id from queue.slots").await;
    assert_eq!(holders, [(next.0,)]);
    assert_eq!(world.state(last).await, "blocked");
    stage.open("next");
    stage.open("last");
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_blocked_job_can_be_run_anyway() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    let holder = gated(&world, "holder", Limits::key("k")).await;
    stage.noted("holder begins").await;
    let hurried = gated(&world, "hurried", Limits::key("k")).await;
    let patient = gated(&world, "patient", Limits::key("k")).await;
    world.until("blocked", 2).await;

    assert_eq!(run_blocked(&world, holder).await, []);
    assert_eq!(run_blocked(&world, hurried).await, [hurried]);

    stage.noted("hurried begins").await;
    assert_eq!(world.state(patient).await, "blocked");
    assert_eq!(
        world
            .count(&format!("slots where job_id = {hurried}"))
            .await,
        0
    );
    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    let shown = show(&mut conn, schema, hurried).await.unwrap().unwrap();
    assert!(shown.let_run_at.is_some());
    stage.open("hurried");
    world.until_state(hurried, "finished").await;
    assert_eq!(world.state(patient).await, "blocked");
    stage.open("holder");
    stage.open("patient");
    until_idle(&world).await;
    process.stop().await;

    let which = ClearFilter::default();
    clear_finished(&mut conn, schema, &which, Duration::ZERO, None, 10)
        .await
        .unwrap();
    assert_eq!(world.count("bypasses").await, 0);
}

#[tokio::test]
async fn a_job_blocked_by_its_kind_can_be_run_anyway() {
    let world = World::new().await;
    let stage = Stage::default();
    allow(&world, "@kind/gated", 1).await;
    let process = world.start(stage.app(), worker("*", 10));
    gated(&world, "holder", Limits::none()).await;
    stage.noted("holder begins").await;
    let hurried = gated(&world, "hurried", Limits::none()).await;
    world.until_state(hurried, "blocked").await;

    assert_eq!(run_blocked(&world, hurried).await, [hurried]);

    stage.noted("hurried begins").await;
    assert_eq!(world.count("slots").await, 1);
    stage.open("hurried");
    stage.open("holder");
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn a_key_is_shown_with_its_holders_waiting_jobs_and_origin() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    let holder = gated(&world, "holder", Limits::key("k").to(1)).await;
    stage.noted("holder begins").await;
    let waiting = gated(&world, "waiting", Limits::key("k").to(1)).await;
    world.until_state(waiting, "blocked").await;

    let [key] = &summaries(&world).await[..] else {
        panic!("{:?}", summaries(&world).await);
    };
    assert_eq!(
        (key.key.as_str(), key.to, key.in_use),
        ("gated/k", Some(1), 1)
    );
    assert_eq!((&key.holders[..], key.waiting.count), (&[holder][..], 1));
    assert_eq!(key.set_by, "job");
    assert!(key.waiting_since.is_some());
    set_by(&world, "gated", 1, SetBy::Operator).await;
    set_by(&world, "@queue/mail", 7, SetBy::Configuration).await;
    let said: Vec<_> = summaries(&world).await;
    let said: Vec<_> = said.iter().map(|key| (&*key.key, &*key.set_by)).collect();
    assert_eq!(
        said,
        [
            ("@queue/mail", "configuration"),
            ("gated", "operator"),
            ("gated/k", "operator, for gated")
        ]
    );

    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    let shown = show(&mut conn, schema, waiting).await.unwrap().unwrap();
    assert_eq!(shown.state, JobState::Blocked);
    assert_eq!(shown.blocked_on.as_deref(), Some("gated/k"));
    assert_eq!(shown.blocked_by.len(), 1);
    assert_eq!(shown.blocked_by[0].job_id, holder);
    assert!(shown.blocked_by[0].since.is_some());
    assert!(shown.blocked_at.is_some());
    let shown = show(&mut conn, schema, holder).await.unwrap().unwrap();
    assert_eq!(shown.holds_slots_of, ["gated/k"]);
    let filter = JobFilter {
        states: vec![JobState::Blocked],
        ..JobFilter::default()
    };
    assert_eq!(
        count(&mut conn, schema, &filter, 10).await.unwrap().count,
        1
    );
    stage.open("holder");
    stage.open("waiting");
    until_idle(&world).await;
    process.stop().await;
}

#[tokio::test]
async fn blocked_jobs_can_be_cancelled_and_discarded() {
    let world = World::new().await;
    let stage = Stage::default();
    let process = world.start(stage.app(), without_passes(10));
    gated(&world, "holder", Limits::key("k")).await;
    stage.noted("holder begins").await;
    let cancelled = gated(&world, "cancelled", Limits::key("k")).await;
    let discarded = gated(&world, "discarded", Limits::key("k")).await;
    let kept = gated(
        &world,
        "kept",
        Limits::key("k").on_conflict(Conflict::Block),
    )
    .await;
    world.until("blocked", 3).await;

    let mut conn = world.connect().await;
    let schema = world.queue.schema();
    for (job, outcome) in [
        (cancelled, Outcome::Cancelled),
        (discarded, Outcome::Discarded),
    ] {
        let ended = cancel_waiting(&mut conn, schema, &[job], outcome).await;
        assert_eq!(ended.unwrap(), [job]);
        let query = format!("select outcome::text from queue.finished where job_id = {job}");
        assert_eq!(world.value::<String>(&query).await, outcome.as_str());
    }

    stage.open("holder");
    stage.open("kept");
    world.until_state(kept, "finished").await;
    until_idle(&world).await;
    process.stop().await;
}
