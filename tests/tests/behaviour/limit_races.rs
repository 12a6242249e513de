//! Concurrent claims and ends of runs of one key: no limit is exceeded, no slot leaks, and no blocked
//! job is left behind.

use std::convert::Infallible;
use std::time::Duration;

use queue_core::operations::limits::{LimitSetting, SetBy, reset, set};
use queue_core::process::{ProcessId, ProcessInfo, register};
use queue_core::transitions::Run;
use queue_core::transitions::claim::{ClaimedJob, Lane, Track, claim};
use queue_core::transitions::claim_limited::{LimitedClaim, after_claim, claim_limited};
use queue_core::transitions::end::release_unknown;
use queue_core::transitions::finish::finish;
use queue_core::transitions::unblock::unblock;
use queue_core::{JobId, Limits, NewJob, Options, Schema};
use queue_tests::soundness::assert_tables_sound;
use queue_tests::stage::Stage;
use queue_tests::world::{World, eventually, worker};
use queue_worker::{Cx, Job, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

/// A process whose claims the test makes.
struct ManualProcess {
    process: ProcessId,
    conn: PgConnection,
}

impl ManualProcess {
    async fn new(world: &World) -> Self {
        let process = ProcessId::new();
        let info = ProcessInfo {
            name: format!("process {process}"),
            host: "here".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            details: json!({}),
        };
        let mut conn = world.connect().await;
        register(&mut conn, &Schema::default(), process, &info)
            .await
            .unwrap();
        Self { process, conn }
    }

    /// Claims up to `limit` jobs, and examines no more than that.
    async fn claim(&mut self, limit: usize) -> LimitedClaim {
        self.claim_of(&[Track::Unblocked, Track::Limited], limit)
            .await
    }

    /// Claims from the lanes of some tracks.
    async fn claim_of(&mut self, tracks: &[Track], limit: usize) -> LimitedClaim {
        let lanes: Vec<Lane> = tracks.iter().copied().map(lane).collect();
        let (schema, kinds) = (Schema::default(), ["k".to_owned()]);
        let conn = &mut self.conn;
        let claiming = claim_limited(conn, &schema, self.process, &lanes, &kinds, limit, limit);
        let claim = claiming.await.unwrap();
        let following = after_claim(&mut self.conn, &schema, self.process, &claim);
        following.await.unwrap();
        claim
    }

    /// Claims jobs as a worker that knows of no limit does.
    async fn claim_unaware(&mut self) -> Vec<ClaimedJob> {
        let (schema, kinds) = (Schema::default(), ["k".to_owned()]);
        let (conn, lanes) = (&mut self.conn, [lane(Track::Open)]);
        let claimed = claim(conn, &schema, self.process, &lanes, &kinds, 10).await;
        claimed.unwrap()
    }

    /// Finishes a job, and unblocks the next jobs of its keys.
    async fn finish(&mut self, job: &ClaimedJob) {
        let run = Run {
            claim: job.claim,
            ran: Duration::from_millis(1),
        };
        let schema = Schema::default();
        let ended = finish(&mut self.conn, &schema, self.process, &[run]).await;
        assert_eq!(ended.unwrap(), [job.claim.job_id()]);
        unblock(&mut self.conn, &schema, &job.keys).await.unwrap();
    }

    async fn execute(&mut self, statement: &'static str) {
        sqlx::query(statement)
            .execute(&mut self.conn)
            .await
            .unwrap();
    }
}

fn lane(track: Track) -> Lane {
    Lane {
        queue: "default".to_owned(),
        priority: 0,
        track,
        above: 0,
        up_to: i64::MAX,
    }
}

async fn enqueue(world: &World, limits: Limits) -> JobId {
    let job = NewJob::untyped("k", &json!(1), Options::new().limits(limits));
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

fn ids(claim: &LimitedClaim) -> Vec<JobId> {
    claim.jobs.iter().map(|job| job.claim.job_id()).collect()
}

/// Waits until a statement waits for a lock.
async fn until_waiting(world: &World) {
    until_so_many_wait(world, 1).await;
}

async fn until_so_many_wait(world: &World, count: i64) {
    eventually("statements wait for locks", async || {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        world.value::<i64>(waiting).await >= count
    })
    .await;
}

#[tokio::test]
async fn a_job_does_not_overtake_one_that_was_unblocked_into_a_lane_that_the_claim_does_not_know() {
    let world = World::new().await;
    let mut process = ManualProcess::new(&world).await;
    let first = enqueue(&world, Limits::key("a")).await;
    let second = enqueue(&world, Limits::key("a")).await;
    let claimed = process.claim(2).await;
    assert_eq!(ids(&claimed), [first]);
    let third = enqueue(&world, Limits::key("a")).await;
    process.finish(&claimed.jobs[0]).await;
    assert_eq!(world.state(second).await, "ready");

    let unaware = process.claim_of(&[Track::Limited], 2).await;
    assert_eq!(ids(&unaware), []);
    assert_eq!(world.state(third).await, "blocked");

    let claimed = process.claim(2).await;
    assert_eq!(ids(&claimed), [second]);
    process.finish(&claimed.jobs[0]).await;
    assert_eq!(ids(&process.claim(2).await), [third]);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_job_of_a_rate_is_claimed_while_an_unblocked_one_of_its_key_is_ready() {
    let world = World::new().await;
    let mut process = ManualProcess::new(&world).await;
    let period = Duration::from_millis(50);
    let limits = || Limits::key("a").rate(1, period);
    let first = enqueue(&world, limits()).await;
    let second = enqueue(&world, limits()).await;
    assert_eq!(ids(&process.claim(2).await), [first]);
    assert_eq!(world.state(second).await, "blocked");
    tokio::time::sleep(period).await;
    let keys = ["k/a".to_owned()];
    unblock(&mut process.conn, &Schema::default(), &keys)
        .await
        .unwrap();
    assert_eq!(world.state(second).await, "ready");
    let third = enqueue(&world, limits()).await;

    let claimed = process.claim_of(&[Track::Limited], 2).await;

    assert_eq!(ids(&claimed), [third]);
}

#[tokio::test]
async fn concurrent_claims_do_not_both_get_the_last_slot() {
    let world = World::new().await;
    let (mut first, mut second) = (
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
    );
    let jobs = [
        enqueue(&world, Limits::key("a")).await,
        enqueue(&world, Limits::key("a")).await,
    ];
    first.execute("begin").await;
    assert_eq!(ids(&first.claim(1).await), [jobs[0]]);

    let (claimed, ()) = tokio::join!(second.claim(10), async {
        until_waiting(&world).await;
        first.execute("commit").await;
    });

    assert_eq!(ids(&claimed), []);
    assert_eq!(claimed.parked.len(), 1);
    assert_eq!(world.count("slots").await, 1);
    assert_eq!(world.state(jobs[1]).await, "blocked");
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_job_blocked_while_its_key_is_freed_goes_on_without_a_pass() {
    let world = World::new().await;
    let (mut holder, mut claimer) = (
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
    );
    enqueue(&world, Limits::key("a")).await;
    let held = holder.claim(1).await.jobs.remove(0);
    let waiting = enqueue(&world, Limits::key("a")).await;
    let beside = enqueue(&world, Limits::key("b")).await;
    // Once any limit is set at run time, one statement decides about all jobs.
    world
        .sql("insert into queue.limits (name, slots, declared) values ('other', 1, false)")
        .await;
    let mut obstacle = ManualProcess::new(&world).await;
    obstacle.execute("begin").await;
    obstacle
        .execute("insert into queue.slots (key, number, job_id) values ('k/b', 1, 0)")
        .await;

    // The claim has seen the key full, and waits for a slot of another key before it blocks the job.
    let (claimed, ()) = tokio::join!(claimer.claim(10), async {
        until_waiting(&world).await;
        holder.finish(&held).await;
        assert_eq!(world.count("slots").await, 0);
        obstacle.execute("rollback").await;
    });

    assert_eq!(ids(&claimed), [beside]);
    assert_eq!(claimed.parked.len(), 1);
    assert_eq!(world.state(waiting).await, "ready");
    assert_eq!(ids(&claimer.claim(10).await), [waiting]);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_job_that_gets_only_some_of_its_slots_keeps_none() {
    let world = World::new().await;
    let (mut other, mut claimer) = (
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
    );
    let b = enqueue(&world, Limits::key("b")).await;
    other.execute("begin").await;
    assert_eq!(ids(&other.claim(1).await), [b]);
    let both = enqueue(&world, Limits::key("a").and(Limits::key("b"))).await;

    let (claimed, ()) = tokio::join!(claimer.claim(10), async {
        until_waiting(&world).await;
        other.execute("commit").await;
    });

    assert_eq!(ids(&claimed), []);
    assert_eq!(world.state(both).await, "ready");
    assert_eq!(world.count("slots where key = 'k/a'").await, 0);
    assert_eq!(world.count("ready where failures = 0").await, 1);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_claim_that_waited_for_a_slot_counts_the_starts_of_the_time_after_it() {
    let world = World::new().await;
    let (mut claimer, mut other, mut obstacle) = (
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
    );
    let rate = || Limits::key("rate").rate(1, Duration::from_secs(10));
    let waiting = enqueue(&world, rate().and(Limits::key("slot"))).await;
    let first = enqueue(&world, rate()).await;
    obstacle.execute("begin").await;
    obstacle
        .execute("insert into queue.slots (key, number, job_id) values ('k/slot', 1, 0)")
        .await;

    // For a claim that counts by the time at which it began, this start is more than a second too late: it looks
    // like one of a clock that was put back, and would not count.
    let (claimed, ()) = tokio::join!(claimer.claim(1), async {
        until_waiting(&world).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(ids(&other.claim(1).await), [first]);
        obstacle.execute("rollback").await;
    });

    assert_eq!(ids(&claimed), []);
    assert_eq!(world.state(waiting).await, "ready");
    assert_eq!(world.count("slots").await, 0);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_claim_that_waited_for_one_rate_counts_the_starts_of_another_meanwhile() {
    let world = World::new().await;
    let (mut claimer, mut other, mut obstacle) = (
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
    );
    let rate = |key| Limits::key(key).rate(1, Duration::from_secs(10));
    let waiting = enqueue(&world, rate("a").and(rate("b"))).await;
    let first = enqueue(&world, rate("b")).await;
    obstacle.execute("begin").await;
    obstacle
        .execute(
            "insert into queue.rates (key, next_at, space, burst, granted)
             values ('k/a', now(), interval '10 seconds', 1, 1)",
        )
        .await;

    // The claim has read the time when it waits, and this start is more than a second after it.
    let (claimed, ()) = tokio::join!(claimer.claim(1), async {
        until_waiting(&world).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(ids(&other.claim(1).await), [first]);
        obstacle.execute("rollback").await;
    });

    assert_eq!(ids(&claimed), []);
    assert_eq!(world.state(waiting).await, "ready");
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn rates_are_locked_in_the_order_of_keys_also_those_that_are_new() {
    let world = World::new().await;
    let (mut claimer, mut other, mut obstacle) = (
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
        ManualProcess::new(&world).await,
    );
    let rate = |key| Limits::key(key).rate(10, Duration::from_secs(10));
    let first = enqueue(&world, rate("a").and(rate("b"))).await;
    let second = enqueue(&world, rate("a").and(rate("b"))).await;
    world
        .sql(
            "insert into queue.rates (key, next_at, space, burst, granted)
             values ('k/b', now(), interval '1 second', 10, 1)",
        )
        .await;
    obstacle.execute("begin").await;
    obstacle
        .execute("select from queue.rates where key = 'k/b' for update")
        .await;

    let (claimed, also) = tokio::join!(claimer.claim(1), async {
        until_waiting(&world).await;
        // It waits for the claim, which has the key already, and gives up.
        let mut late = world.connect().await;
        let creating = sqlx::raw_sql(
            "set lock_timeout = '100ms';
             insert into queue.rates (key, next_at, space, burst, granted)
             values ('k/a', now(), interval '1 second', 10, 1)",
        );
        creating.execute(&mut late).await.unwrap_err();
        let (also, ()) = tokio::join!(other.claim(1), async {
            until_so_many_wait(&world, 2).await;
            obstacle.execute("commit").await;
        });
        also
    });

    assert_eq!(ids(&claimed), [first]);
    assert_eq!(ids(&also), [second]);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn an_unblocked_job_without_room_returns_to_the_front_of_its_key() {
    let world = World::new().await;
    let (mut process, schema) = (ManualProcess::new(&world).await, Schema::default());
    enqueue(&world, Limits::key("a")).await;
    let first = enqueue(&world, Limits::key("a")).await;
    let second = enqueue(&world, Limits::key("a")).await;
    let held = process.claim(10).await.jobs.remove(0);
    process.finish(&held).await;
    assert_eq!(world.state(first).await, "ready");
    assert_eq!(world.state(second).await, "blocked");

    let mut operator = world.connect().await;
    let none = LimitSetting {
        to: Some(0),
        rate: None,
    };
    let none = set(&mut operator, &schema, "k/a", none, SetBy::Operator);
    none.await.unwrap();
    assert_eq!(process.claim(10).await.parked.len(), 1);
    assert_eq!(world.state(first).await, "blocked");
    assert!(reset(&mut operator, &schema, "k/a").await.unwrap());

    assert_eq!(ids(&process.claim(10).await), [first]);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn a_worker_that_does_not_know_a_new_limit_does_not_exceed_it() {
    let world = World::new().await;
    let (mut unaware, schema) = (ManualProcess::new(&world).await, Schema::default());
    let job = enqueue(&world, Limits::none()).await;
    let mut operator = world.connect().await;
    for name in ["@queue/default", "@kind/k"] {
        let setting = LimitSetting {
            to: Some(0),
            rate: None,
        };
        let setting = set(&mut operator, &schema, name, setting, SetBy::Operator).await;
        assert!(setting.unwrap().is_in_force);

        assert!(unaware.claim_unaware().await.is_empty(), "{name}");

        assert!(reset(&mut operator, &schema, name).await.unwrap());
    }
    assert_eq!(unaware.claim_unaware().await[0].claim.job_id(), job);
}

#[tokio::test]
async fn a_claim_unknown_to_its_process_is_released_with_its_slot() {
    let world = World::new().await;
    let mut forgetful = ManualProcess::new(&world).await;
    let job = enqueue(&world, Limits::key("a")).await;
    assert_eq!(ids(&forgetful.claim(1).await), [job]);

    let schema = Schema::default();
    let released = release_unknown(&mut forgetful.conn, &schema, forgetful.process, &[]).await;

    assert_eq!(released.unwrap(), [job]);
    assert_eq!(world.count("slots").await, 0);
    assert_tables_sound(world.pool()).await;
    assert_eq!(ids(&forgetful.claim(1).await), [job]);
}

/// A job that notes its beginning and its end, with a round trip in between.
#[derive(Serialize, Deserialize)]
struct Brief(Vec<String>);

impl Job for Brief {
    const KIND: &'static str = "brief";
}

impl Perform<Stage> for Brief {
    type Error = Infallible;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        for key in &self.0 {
            cx.state().note(format!("{key} begins"));
        }
        let round_trip = sqlx::raw_sql("select 1").execute(cx.queue().pool());
        round_trip.await.expect("a round trip");
        for key in &self.0 {
            cx.state().note(format!("{key} ends"));
        }
        Ok(())
    }
}

/// Returns the most jobs of a key that ran at the same time.
fn most_at_once(notes: &[String], key: &str) -> usize {
    let (begins, ends) = (format!("{key} begins"), format!("{key} ends"));
    let (mut running, mut most) = (0, 0);
    for note in notes {
        running += usize::from(*note == begins);
        running -= usize::from(*note == ends);
        most = most.max(running);
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_run_all_jobs_and_exceed_no_limit() {
    const JOBS: usize = 400;
    let world = World::new().await;
    let stage = Stage::default();
    let start = || world.start(stage.app().register::<Brief>(), worker("*", 4));
    let processes = [(); 3].map(|()| start());
    let mut random = fastrand::Rng::with_seed(7);

    // Key 1 has one slot, key 2 two and key 3 three. Some jobs have two keys, in either order.
    for _ in 0..JOBS / 20 {
        let jobs = (0..20).map(|_| {
            let mut keys = vec![random.usize(1..=3)];
            let other = random.usize(1..=3);
            if random.bool() && other != keys[0] {
                keys.push(other);
            }
            let limits = keys.iter().map(|key| {
                let slots = u32::try_from(*key).unwrap();
                Limits::key(key.to_string()).to(slots)
            });
            let limits = limits.fold(Limits::none(), Limits::and);
            let job = Brief(keys.iter().map(ToString::to_string).collect());
            NewJob::of(&job)
                .unwrap()
                .with(|options| options.limits(limits.clone()))
        });
        let jobs: Vec<NewJob> = jobs.collect();
        world.queue.enqueue_all(jobs).await.unwrap();
        assert_tables_sound(world.pool()).await;
    }

    world
        .until("finished where outcome = 'done'", JOBS as i64)
        .await;
    for process in processes {
        process.stop().await;
    }
    let notes = stage.notes();
    for key in 1..=3 {
        let most = most_at_once(&notes, &key.to_string());
        assert!(most <= key, "{most} jobs of key {key} ran at once");
    }
    assert!(
        most_at_once(&notes, "3") > 1,
        "no two jobs ran at the same time"
    );
    assert_eq!(world.count("slots").await, 0);
    assert_eq!(world.count("attempts").await, 0);
    assert_tables_sound(world.pool()).await;
}
