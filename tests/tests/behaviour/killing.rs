//! Worker processes that are killed, stopped or suspended in the middle of their jobs.

use std::time::{Duration, Instant};

use queue_core::{Limits, NewJob, Options};
use queue_tests::deeds::{Block, Deed, Ledger};
use queue_tests::soundness::assert_sound;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{World, eventually};

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

async fn world() -> World {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    world
}

fn orders(world: &World) -> Orders {
    Orders::of(world)
}

async fn enqueue(world: &World, deeds: impl IntoIterator<Item = Deed>) {
    enqueue_with(world, deeds, |options| options).await;
}

async fn enqueue_with(
    world: &World,
    deeds: impl IntoIterator<Item = Deed>,
    change: impl Fn(Options) -> Options,
) {
    let request = world.queue.enqueue_many(deeds).with(change);
    request.await.expect("jobs should be enqueued");
}

fn gated(count: usize) -> Vec<Deed> {
    vec![Deed::Gate("gate".to_owned()); count]
}

/// Waits until the ledger has this many runs that meet a condition.
async fn until_runs(world: &World, of: &str, count: i64) {
    eventually(&format!("{count} runs have {of}"), async || {
        Ledger::runs_where(world.pool(), of).await.unwrap() == count
    })
    .await;
}

#[tokio::test]
async fn the_jobs_of_a_killed_process_run_again_in_another() {
    let world = world().await;
    let mut victim = Victim::start(WORKER, &orders(&world));
    enqueue(&world, gated(4)).await;
    until_runs(&world, "true", 4).await;
    let heir = Victim::start(WORKER, &orders(&world));

    victim.kill().await;
    until_runs(&world, &format!("attempt = 2 and pid = {}", heir.pid()), 4).await;
    Ledger::open_gate(world.pool(), "gate").await;

    world
        .until("finished where outcome = 'done' and attempt = 2", 4)
        .await;
    let crashes = "attempts where ending = 'crash' and version is not null";
    assert_eq!(world.count(crashes).await, 4);
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn a_job_that_keeps_killing_its_process_fails_and_the_others_finish() {
    let world = world().await;
    let orders = orders(&world);
    let bystander = Victim::start(WORKER, &orders.clone().queues("good"));
    enqueue_with(&world, gated(1), |options| options.queue("good")).await;
    until_runs(&world, "true", 1).await;
    enqueue_with(&world, [Deed::Abort], |options| options.queue("bad")).await;

    for _ in 0..3 {
        let crashes = world.count("attempts where ending = 'crash'").await;
        let mut victim = Victim::start(WORKER, &orders.clone().queues("bad"));
        assert!(!victim.ended().await.success());
        world
            .until("attempts where ending = 'crash'", crashes + 1)
            .await;
    }

    world
        .until("failed where crashes = 3 and failures = 0", 1)
        .await;
    enqueue_with(&world, vec![Deed::Quick; 20], |options| {
        options.queue("good")
    })
    .await;
    Ledger::open_gate(world.pool(), "gate").await;
    world.until("finished where attempt = 1", 21).await;
    until_runs(&world, &format!("pid = {}", bystander.pid()), 21).await;
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn jobs_beside_one_that_exits_its_process_finish_in_another() {
    let world = world().await;
    let mut victim = Victim::start(WORKER, &orders(&world));
    enqueue(&world, gated(3)).await;
    until_runs(&world, "true", 3).await;

    enqueue_with(&world, [Deed::Exit], |options| options.crashes(1)).await;
    assert_eq!(victim.ended().await.code(), Some(1));
    let _heir = Victim::start(WORKER, &orders(&world));
    Ledger::open_gate(world.pool(), "gate").await;

    world.until("finished where attempt = 2", 3).await;
    world.until("failed where crashes = 1", 1).await;
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn killing_processes_repeatedly_loses_and_repeats_no_job() {
    let world = world().await;
    enqueue_with(&world, vec![Deed::Quick; 1_500], |options| {
        options.crashes(100)
    })
    .await;
    let orders = orders(&world);
    let mut victims = [(); 2].map(|()| Victim::start(WORKER, &orders));

    for round in 1..=5 {
        eventually("some more jobs are done", async || {
            world.count("finished").await >= round * 150
        })
        .await;
        let mut killed = Victim::start(WORKER, &orders);
        std::mem::swap(&mut victims[round as usize % 2], &mut killed);
        killed.kill().await;
    }

    world.until("finished where outcome = 'done'", 1_500).await;
    assert_sound(world.pool()).await;
    for victim in &mut victims {
        victim.terminate();
        assert!(victim.ended().await.success());
    }
    assert_eq!(world.count("idle_processes").await, 0);
    assert_eq!(world.count("pollers").await, 0);
}

#[tokio::test]
async fn a_terminated_process_finishes_its_running_jobs_and_deregisters() {
    let world = world().await;
    let mut victim = Victim::start(WORKER, &orders(&world));
    enqueue(&world, gated(6)).await;
    until_runs(&world, "true", 4).await;

    victim.terminate();
    world
        .until("processes where stopping_at is not null", 1)
        .await;
    Ledger::open_gate(world.pool(), "gate").await;

    assert!(victim.ended().await.success());
    assert_eq!(world.count("finished where attempt = 1").await, 4);
    assert_eq!(world.count("ready").await, 2);
    assert_eq!(world.count("claimed").await, 0);
    assert_eq!(world.count("processes").await, 0);
    assert_eq!(world.count("idle_processes").await, 0);
    assert_eq!(world.count("pollers").await, 0);
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn jobs_that_outlast_the_shutdown_timeout_become_ready() {
    let world = world().await;
    let mut orders = orders(&world);
    orders.shutdown_timeout = Duration::from_millis(300);
    let mut victim = Victim::start(WORKER, &orders);
    enqueue(&world, [Deed::Long, Deed::Stubborn, Deed::Long]).await;
    world.queue.enqueue(Block).await.unwrap();
    until_runs(&world, "true", 4).await;

    victim.terminate();

    assert!(victim.ended().await.success());
    assert_ready_again(&world, 4).await;
}

#[tokio::test]
async fn signals_of_one_second_count_as_one_and_a_later_term_ends_a_process_at_once() {
    let world = world().await;
    let mut victim = Victim::start(WORKER, &patient(&world));
    enqueue(&world, [Deed::Long, Deed::Stubborn, Deed::Long]).await;
    world.queue.enqueue(Block).await.unwrap();
    until_runs(&world, "true", 4).await;
    for _ in 0..5 {
        victim.terminate();
        // Signals that follow each other at once are merged by the system.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world
        .until("processes where stopping_at is not null", 1)
        .await;
    // The second is what is tested.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.count("claimed").await, 4);

    let asked = Instant::now();
    victim.terminate();

    assert!(victim.ended().await.success());
    assert!(asked.elapsed() < Duration::from_secs(4));
    assert_ready_again(&world, 4).await;
}

#[tokio::test]
async fn quit_ends_a_process_at_once_and_keeps_recorded_completions() {
    let world = world().await;
    let mut victim = Victim::start(WORKER, &patient(&world));
    enqueue(&world, [Deed::Quick, Deed::Long, Deed::Stubborn]).await;
    world.queue.enqueue(Block).await.unwrap();
    until_runs(&world, "true", 4).await;
    world.until("finished", 1).await;

    let asked = Instant::now();
    victim.quit();

    assert!(victim.ended().await.success());
    assert!(asked.elapsed() < Duration::from_secs(4));
    assert_ready_again(&world, 3).await;
    assert_eq!(world.count("finished").await, 1);
}

/// Orders for a worker whose timeouts are longer than these tests wait.
fn patient(world: &World) -> Orders {
    let mut orders = orders(world);
    orders.heartbeat = Duration::from_millis(200);
    orders.dead_after = Duration::from_secs(60);
    orders.shutdown_timeout = Duration::from_secs(60);
    orders.cancel_grace = Duration::from_secs(60);
    orders
}

async fn assert_ready_again(world: &World, jobs: i64) {
    assert_eq!(
        world
            .count("ready where failures = 0 and crashes = 0")
            .await,
        jobs
    );
    assert_eq!(world.count("claimed").await, 0);
    assert_eq!(world.count("attempts").await, 0);
    assert_eq!(world.count("processes").await, 0);
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn a_process_that_was_suspended_loses_its_jobs_and_registers_anew() {
    let world = world().await;
    let frozen = Victim::start(WORKER, &orders(&world).queues("shared,own"));
    enqueue_with(&world, gated(4), |options| options.queue("shared")).await;
    until_runs(&world, "true", 4).await;

    frozen.pause();
    let heir = Victim::start(WORKER, &orders(&world).queues("shared"));
    until_runs(&world, &format!("attempt = 2 and pid = {}", heir.pid()), 4).await;
    Ledger::open_gate(world.pool(), "gate").await;
    world.until("finished where attempt = 2", 4).await;
    frozen.resume();
    enqueue_with(&world, gated(8), |options| options.queue("own")).await;

    world.until("finished", 12).await;
    // Jobs it claimed before it noticed may run under a later attempt number.
    let own = format!("pid = {}", frozen.pid());
    assert!(Ledger::runs_where(world.pool(), &own).await.unwrap() >= 12);
    world
        .until(&format!("processes where pid = {}", frozen.pid()), 1)
        .await;
    let shared = "finished join queue.jobs on id = job_id where queue = 'shared' and attempt = 2";
    assert_eq!(world.count(shared).await, 4);
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn a_process_that_was_suspended_begins_no_job_that_it_had_prefetched() {
    let world = world().await;
    // Their pace lets the process prefetch, and then all slots are taken.
    let quick = || vec![Deed::Quick; 400];
    enqueue(
        &world,
        [quick(), vec![Deed::Sleep(400); 4], quick()].concat(),
    )
    .await;
    let frozen = Victim::start(WORKER, &orders(&world));
    until_runs(&world, "true", 404).await;
    frozen.pause();
    assert!(world.count("claimed").await > 4, "nothing was prefetched");

    let _heir = Victim::start(WORKER, &orders(&world));
    world.until("finished", 804).await;
    frozen.resume();
    enqueue(&world, quick()).await;

    world.until("finished", 1_204).await;
    let late = "finished join ledger.runs using (job_id) where began_at > finished_at";
    assert_eq!(world.count(late).await, 0);
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn a_process_whose_row_is_gone_stops_its_jobs_and_registers_anew() {
    let world = world().await;
    let victim = Victim::start(WORKER, &orders(&world));
    enqueue(&world, gated(2)).await;
    until_runs(&world, "true", 2).await;

    sqlx::query("delete from queue.processes")
        .execute(world.pool())
        .await
        .unwrap();

    until_runs(&world, "attempt = 2", 2).await;
    Ledger::open_gate(world.pool(), "gate").await;
    world.until("finished where attempt = 2", 2).await;
    world
        .until(&format!("processes where pid = {}", victim.pid()), 1)
        .await;
    assert_sound(world.pool()).await;
}

/// Finds moments at which more jobs of a key ran than its limit. A run ends when it records its end
/// or when its job is taken from its process.
const BEYOND_THE_LIMIT: &str = "with run as (
        select runs.job_id, runs.attempt, limits -> 0 ->> 'key' as key,
            (limits -> 0 ->> 'slots')::integer as slots, began_at,
            least(coalesce(runs.ended_at, 'infinity'), coalesce(taken.ended_at, 'infinity')) as ended_at
        from ledger.runs
        join queue.jobs on jobs.id = runs.job_id
        left join queue.attempts as taken on taken.job_id = runs.job_id
            and taken.attempt = runs.attempt
    )
    select format('%s runs of %s at %s', count(*), run.key, run.began_at)
    from run
    join run as beside on beside.key = run.key
        and beside.began_at <= run.began_at
        and beside.ended_at > run.began_at
    where run.ended_at > run.began_at
    group by run.key, run.slots, run.began_at, run.job_id, run.attempt
    having count(*) > run.slots";

#[tokio::test]
async fn killing_and_suspending_processes_exceeds_no_limit_and_leaks_no_slot() {
    const JOBS: i64 = 450;
    let world = world().await;
    let orders = orders(&world);
    let jobs = (0..JOBS).map(|number| {
        let slots = 1 + number.unsigned_abs() % 3;
        let limits = Limits::key(slots.to_string()).to(u32::try_from(slots).unwrap());
        let job = NewJob::of(&Deed::Recorded).unwrap();
        job.with(|options| options.crashes(100).limits(limits.clone()))
    });
    // One call for each, so that all of them become ready.
    for job in jobs {
        world.queue.enqueue_all([job]).await.unwrap();
    }
    let mut victims = [(); 3].map(|()| Victim::start(WORKER, &orders));

    for round in 1..=3_i64 {
        eventually("some more jobs are done", async || {
            world.count("finished").await >= round * JOBS / 6
        })
        .await;
        let which = usize::try_from(round).unwrap() % 3;
        victims[(which + 1) % 3].pause();
        let killed = format!("processes where pid = {}", victims[which].pid());
        victims[which].kill().await;
        victims[which] = Victim::start(WORKER, &orders);
        world.until(&killed, 0).await;
        victims[(which + 1) % 3].resume();
    }

    world.until("finished where outcome = 'done'", JOBS).await;
    let beyond: Vec<(String,)> = world.rows(BEYOND_THE_LIMIT).await;
    assert_eq!(beyond, []);
    assert_eq!(world.count("slots").await, 0);
    assert_sound(world.pool()).await;
    for victim in &mut victims {
        victim.terminate();
        assert!(victim.ended().await.success());
    }
}
