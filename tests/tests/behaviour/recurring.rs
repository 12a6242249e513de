//! Recurring jobs: each due time becomes one job, even if schedulers die or clocks are wrong.
//!
//! The tests call `fire_next` themselves, with times of their own.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue_core::recurring::{
    Fired, JOBS_MAX, Kinds, Missed, Overlap, RecurringError, RecurringJob, Tick, add,
    clear_firings, fire_next, pause, remove, replace, replan, resume, run,
};
use queue_core::schedule::Tz;
use queue_core::{ARGS_BYTES_MAX, Conflict, LIMITS_MAX, Limits, NewJob, Options};
use queue_tests::world::{World, eventually};
use serde_json::json;
use tokio::task::JoinSet;

/// Makes a recurring job whose jobs are not run in these tests.
fn recurring_job(name: &str, times: &str) -> RecurringJob {
    let job = NewJob::untyped("work", &json!({}), Options::new());
    RecurringJob::of(name, times, job).unwrap()
}

/// Adds a recurring job whose first due time is `first`.
async fn planned(world: &World, recurring: RecurringJob, first: &str) {
    let mut conn = world.connect().await;
    add(&mut conn, world.queue.schema(), &recurring, Tz::UTC)
        .await
        .unwrap();
    plan_from(world, recurring.name(), first).await;
}

async fn plan_from(world: &World, name: &str, first: &str) {
    let schema = world.queue.schema().name();
    let statement =
        format!("update {schema}.recurring_jobs set next_at = '{first}' where name = '{name}'");
    assert_eq!(world.sql(&statement).await, 1);
}

/// Fires everything that is due at a time.
async fn tick(world: &World, now: &str) -> Vec<Fired> {
    let mut conn = world.connect().await;
    let now: DateTime<Utc> = now.parse().unwrap();
    let mut fired = Vec::new();
    loop {
        match fire_next(
            &mut conn,
            world.queue.schema(),
            Some(now),
            &Kinds::default(),
            &[],
        )
        .await
        .unwrap()
        {
            Tick::Idle => return fired,
            Tick::Fired(schedule) => fired.push(schedule),
            left_alone => panic!("{left_alone:?}"),
        }
    }
}

/// Returns the outcome of each due time, in UTC: `08:00 enqueued`.
async fn outcomes(world: &World, name: &str) -> Vec<String> {
    let rows: Vec<(String,)> = world
        .rows(&format!(
            "select to_char(due_at at time zone 'UTC', 'HH24:MI') || ' ' || outcome
             from queue.firings where recurring_job = '{name}' and due_at is not null order by due_at"
        ))
        .await;
    rows.into_iter().map(|(row,)| row).collect()
}

async fn next_at(world: &World, name: &str) -> DateTime<Utc> {
    world
        .value(&format!(
            "select next_at from queue.recurring_jobs where name = '{name}'"
        ))
        .await
}

#[tokio::test]
async fn a_due_time_becomes_a_job_with_the_options_of_the_recurring_job() {
    let world = World::new().await;
    let options = Options::new()
        .queue("night")
        .priority(-3)
        .attempts(2)
        .crashes(4)
        .tag("a")
        .tag("b");
    // A number that no float holds.
    let args: serde_json::Value =
        serde_json::from_str(r#"{"id": 9007199254740993, "to": ["ada"]}"#).unwrap();
    let job = NewJob::untyped("report", &args, options);
    planned(
        &world,
        RecurringJob::of("report", "0 * * * *", job).unwrap(),
        "2100-01-01T08:00Z",
    )
    .await;

    assert!(tick(&world, "2100-01-01T07:59:59Z").await.is_empty());
    let fired = tick(&world, "2100-01-01T08:00:01Z").await;

    assert_eq!(fired[0].firings.len(), 1);
    let with_its_options = "jobs join queue.ready on job_id = id where jobs.kind = 'report' and
        jobs.queue = 'night' and jobs.priority = -3 and attempts_max = 2 and crashes_max = 4 and
        tags = '{a,b}' and args = '{\"id\": 9007199254740993, \"to\": [\"ada\"]}'";
    assert_eq!(world.count(with_its_options).await, 1);
    let job: i64 = world.value("select id from queue.jobs").await;
    assert_eq!(
        world.count(&format!("firings where job_id = {job}")).await,
        1
    );
    assert_eq!(
        next_at(&world, "report").await,
        "2100-01-01T09:00:00Z".parse::<DateTime<Utc>>().unwrap()
    );
    assert!(tick(&world, "2100-01-01T08:00:01Z").await.is_empty());
}

#[tokio::test]
async fn recurring_jobs_work_in_a_schema_of_another_name() {
    let world = World::in_schema("jobs").await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;

    tick(&world, "2100-01-01T08:00:00Z").await;

    assert_eq!(world.count("ready").await, 1);
}

#[tokio::test]
async fn schedulers_that_fire_at_once_enqueue_each_due_time_once() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d"] {
        planned(
            &world,
            recurring_job(name, "* * * * *").missed(Missed::All),
            "2100-01-01T08:00Z",
        )
        .await;
    }

    let mut schedulers = JoinSet::new();
    for _ in 0..6 {
        let (mut conn, schema) = (world.connect().await, world.queue.schema().clone());
        schedulers.spawn(async move {
            let begin: DateTime<Utc> = "2100-01-01T08:00:00Z".parse().unwrap();
            for minute in 0..30 {
                let now = Some(begin + TimeDelta::minutes(minute));
                while !matches!(
                    fire_next(&mut conn, &schema, now, &Kinds::default(), &[])
                        .await
                        .unwrap(),
                    Tick::Idle
                ) {}
            }
        });
    }
    schedulers.join_all().await;
    tick(&world, "2100-01-01T08:29:00Z").await;

    assert_eq!(
        world.count("firings where outcome = 'enqueued'").await,
        4 * 30
    );
    assert_eq!(world.count("jobs").await, 4 * 30);
    let jobs = "firings join queue.jobs on jobs.id = job_id";
    assert_eq!(world.count(jobs).await, 4 * 30);
}

#[tokio::test]
async fn a_scheduler_that_dies_before_the_commit_leaves_nothing() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    world
        .sql(
            "create function block() returns trigger language plpgsql as $$
             begin perform pg_advisory_xact_lock(7); return new; end $$",
        )
        .await;
    world
        .sql(
            "create trigger block before insert on queue.jobs for each row
             execute function block()",
        )
        .await;
    let mut gate = world.connect().await;
    sqlx::query("select pg_advisory_lock(7)")
        .execute(&mut gate)
        .await
        .unwrap();
    let (mut conn, schema) = (world.connect().await, world.queue.schema().clone());
    let now = Some("2100-01-01T08:00:00Z".parse().unwrap());
    let scheduler =
        tokio::spawn(
            async move { fire_next(&mut conn, &schema, now, &Kinds::default(), &[]).await },
        );
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event = 'advisory'";
    eventually("the scheduler is blocked", async || {
        world.value::<i64>(waiting).await == 1
    })
    .await;

    world
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and wait_event = 'advisory'",
        )
        .await;

    assert!(scheduler.await.unwrap().is_err());
    assert_eq!(world.count("firings").await, 0);
    assert_eq!(world.count("jobs").await, 0);
    drop(gate);
    world.sql("drop trigger block on queue.jobs").await;
    tick(&world, "2100-01-01T08:00:00Z").await;
    assert_eq!(world.count("jobs").await, 1);
}

#[tokio::test]
async fn the_policy_enqueues_none_one_or_all_of_the_missed_due_times() {
    let world = World::new().await;
    for (name, missed) in [
        ("skip", Missed::Skip),
        ("once", Missed::Once),
        ("all", Missed::All),
    ] {
        planned(
            &world,
            recurring_job(name, "0 * * * *").missed(missed),
            "2100-01-01T08:00Z",
        )
        .await;
    }

    tick(&world, "2100-01-01T10:30:00Z").await;

    let three = |outcomes: [&str; 3]| -> Vec<String> {
        let hours = ["08:00", "09:00", "10:00"].iter().zip(outcomes);
        hours
            .map(|(hour, outcome)| format!("{hour} {outcome}"))
            .collect()
    };
    assert_eq!(outcomes(&world, "skip").await, three(["missed"; 3]));
    assert_eq!(
        outcomes(&world, "once").await,
        three(["missed", "missed", "enqueued"])
    );
    assert_eq!(outcomes(&world, "all").await, three(["enqueued"; 3]));
    assert_eq!(world.count("jobs").await, 4);
    let missed_have_no_job = "firings where outcome = 'missed' and job_id is null";
    assert_eq!(world.count(missed_have_no_job).await, 5);
}

#[tokio::test]
async fn a_due_time_that_is_fired_within_a_minute_is_not_missed() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *").missed(Missed::Skip),
        "2100-01-01T08:00Z",
    )
    .await;

    tick(&world, "2100-01-01T08:01:00Z").await;

    assert_eq!(outcomes(&world, "hourly").await, ["08:00 enqueued"]);
}

#[tokio::test]
async fn missed_due_times_beyond_missed_max_share_one_firing() {
    let world = World::new().await;
    let recurring = recurring_job("hourly", "0 * * * *")
        .missed(Missed::All)
        .missed_max(2)
        .unwrap();
    planned(&world, recurring, "2100-01-01T01:00Z").await;

    tick(&world, "2100-01-01T10:30:00Z").await;

    let expected = ["08:00 missed", "09:00 enqueued", "10:00 enqueued"];
    assert_eq!(outcomes(&world, "hourly").await, expected);
    let together = "firings where since = '2100-01-01T01:00Z' and due_at = '2100-01-01T08:00Z'";
    assert_eq!(world.count(together).await, 1);
}

#[tokio::test]
async fn a_database_clock_that_is_set_back_enqueues_no_due_time_twice() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    tick(&world, "2100-01-01T08:00:00Z").await;
    tick(&world, "2100-01-01T09:00:00Z").await;

    assert!(tick(&world, "2100-01-01T07:30:00Z").await.is_empty());
    assert!(tick(&world, "2100-01-01T09:00:00Z").await.is_empty());
    // Even if the plan itself is set back.
    plan_from(&world, "hourly", "2100-01-01T08:00Z").await;
    let fired = tick(&world, "2100-01-01T08:00:00Z").await;

    assert_eq!((fired[0].lost, fired[0].firings.len()), (1, 0));
    assert_eq!(world.count("jobs").await, 2);
    assert_eq!(world.count("firings").await, 2);
}

#[tokio::test]
async fn the_due_times_that_a_database_clock_jumps_over_are_missed() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;

    tick(&world, "2100-01-01T08:00:00Z").await;
    tick(&world, "2100-01-01T11:00:00Z").await;

    let expected = [
        "08:00 enqueued",
        "09:00 missed",
        "10:00 missed",
        "11:00 enqueued",
    ];
    assert_eq!(outcomes(&world, "hourly").await, expected);
}

#[tokio::test]
async fn a_due_time_is_not_due_again_after_its_job_is_cleared() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    tick(&world, "2100-01-01T08:00:00Z").await;
    world.sql("delete from queue.ready").await;
    world.sql("delete from queue.jobs").await;

    plan_from(&world, "hourly", "2100-01-01T08:00Z").await;
    tick(&world, "2100-01-01T08:00:00Z").await;

    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn a_recurring_job_that_is_removed_and_added_again_enqueues_no_due_time_twice() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    tick(&world, "2100-01-01T08:00:00Z").await;

    let mut conn = world.connect().await;
    remove(&mut conn, world.queue.schema(), "hourly")
        .await
        .unwrap();
    assert!(tick(&world, "2100-01-01T09:00:00Z").await.is_empty());
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    tick(&world, "2100-01-01T09:00:00Z").await;

    assert_eq!(
        outcomes(&world, "hourly").await,
        ["08:00 enqueued", "09:00 enqueued"]
    );
    assert_eq!(world.count("jobs").await, 2);
}

#[tokio::test]
async fn overlap_skip_enqueues_nothing_until_the_earlier_job_has_ended() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("alone", "0 * * * *").overlap(Overlap::Skip),
        "2100-01-01T08:00Z",
    )
    .await;
    planned(
        &world,
        recurring_job("any", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;

    tick(&world, "2100-01-01T08:00:00Z").await;
    tick(&world, "2100-01-01T09:00:00Z").await;

    assert_eq!(
        outcomes(&world, "alone").await,
        ["08:00 enqueued", "09:00 overlap"]
    );
    assert_eq!(
        outcomes(&world, "any").await,
        ["08:00 enqueued", "09:00 enqueued"]
    );
    let named = "firings as later join queue.firings as earlier on earlier.outcome = 'enqueued'
        and later.reason = 'job ' || earlier.job_id || ' had not ended'
        where later.outcome = 'overlap' and later.job_id is null";
    assert_eq!(world.count(named).await, 1);
}

#[tokio::test]
async fn overlap_skip_enqueues_only_the_first_of_the_missed_due_times() {
    let world = World::new().await;
    let recurring = recurring_job("alone", "0 * * * *")
        .overlap(Overlap::Skip)
        .missed(Missed::All);
    planned(&world, recurring, "2100-01-01T08:00Z").await;

    tick(&world, "2100-01-01T09:30:00Z").await;

    assert_eq!(
        outcomes(&world, "alone").await,
        ["08:00 enqueued", "09:00 overlap"]
    );
}

#[tokio::test]
async fn a_paused_recurring_job_enqueues_nothing_and_its_due_times_are_missed() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    assert!(pause(&mut conn, schema, "hourly").await.unwrap());
    assert!(!pause(&mut conn, schema, "hourly").await.unwrap());
    assert!(tick(&world, "2100-01-01T10:30:00Z").await.is_empty());
    assert!(resume(&mut conn, schema, "hourly").await.unwrap());
    assert!(!resume(&mut conn, schema, "hourly").await.unwrap());
    tick(&world, "2100-01-01T10:30:00Z").await;

    let expected = ["08:00 missed", "09:00 missed", "10:00 enqueued"];
    assert_eq!(outcomes(&world, "hourly").await, expected);
}

#[tokio::test]
async fn jobs_of_a_recurring_job_keep_the_limits_of_its_declaration() {
    let world = World::new().await;
    let limits = Limits::key("a").to(3).on_conflict(Conflict::Discard);
    let rate = Limits::key("b")
        .group("api")
        .rate(10, Duration::from_secs(60));
    let limits = limits.and(rate);
    let job = NewJob::untyped("work", &json!({}), Options::new().limits(limits.clone()));
    let limited = RecurringJob::of("limited", "0 * * * *", job.clone()).unwrap();
    planned(&world, limited, "2100-01-01T08:00:00Z").await;
    world.queue.enqueue_all([job]).await.unwrap();

    tick(&world, "2100-01-01T08:00:01Z").await;

    let kept: Vec<(serde_json::Value,)> = world
        .rows("select limits from queue.jobs order by id")
        .await;
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0], kept[1]);
    assert_eq!(world.count("ready where track = 1").await, 2);
}

#[tokio::test]
async fn a_run_by_hand_is_recorded_and_does_not_move_the_plan() {
    let world = World::new().await;
    let alone = recurring_job("alone", "0 * * * *").overlap(Overlap::Skip);
    planned(&world, alone, "2100-01-01T08:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    pause(&mut conn, schema, "alone").await.unwrap();
    let before = next_at(&world, "alone").await;

    let first = run(&mut conn, schema, "alone", &Kinds::default())
        .await
        .unwrap();
    let second = run(&mut conn, schema, "alone", &Kinds::default())
        .await
        .unwrap();

    assert_ne!(first, second);
    assert_eq!(
        (world.state(first).await, world.state(second).await),
        ("ready".into(), "ready".into())
    );
    assert_eq!(next_at(&world, "alone").await, before);
    assert_eq!(
        world
            .count("firings where due_at is null and outcome = 'enqueued'")
            .await,
        2
    );
    resume(&mut conn, schema, "alone").await.unwrap();
    tick(&world, "2100-01-01T08:00:00Z").await;
    assert_eq!(outcomes(&world, "alone").await, ["08:00 overlap"]);
}

#[tokio::test]
async fn jitter_delays_the_job_but_not_the_due_time() {
    let world = World::new().await;
    let spread = recurring_job("spread", "0 * * * *")
        .jitter(Duration::from_secs(600))
        .unwrap();
    planned(&world, spread, "2100-01-01T08:00Z").await;

    tick(&world, "2100-01-01T08:00:00Z").await;
    tick(&world, "2100-01-01T09:00:00Z").await;

    let delayed = "firings join queue.scheduled using (job_id)
        where scheduled.due_at between firings.due_at and firings.due_at + interval '10 minutes'";
    assert_eq!(world.count(delayed).await, 2);
    assert_eq!(
        outcomes(&world, "spread").await,
        ["08:00 enqueued", "09:00 enqueued"]
    );
}

#[tokio::test]
async fn only_a_new_schedule_or_zone_moves_the_plan() {
    let world = World::new().await;
    planned(&world, recurring_job("a", "0 * * * *"), "2100-01-01T08:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let planned_at = next_at(&world, "a").await;

    let job = NewJob::untyped("other", &json!([1]), Options::new().queue("slow"));
    let other_job = RecurringJob::of("a", "0 * * * *", job).unwrap();
    assert!(
        !replace(&mut conn, schema, &other_job, Tz::UTC)
            .await
            .unwrap()
    );
    assert_eq!(next_at(&world, "a").await, planned_at);
    assert_eq!(
        world
            .count("recurring_jobs where kind = 'other' and queue = 'slow'")
            .await,
        1
    );

    // It is long overdue, but fires nothing in the past.
    plan_from(&world, "a", "2020-01-01T08:00Z").await;
    let other_times = recurring_job("a", "30 * * * *");
    assert!(
        !replace(&mut conn, schema, &other_times, Tz::UTC)
            .await
            .unwrap()
    );
    assert_eq!(world.count("recurring_jobs where next_at > now()").await, 1);

    plan_from(&world, "a", "2020-01-01T08:00Z").await;
    let other_zone = other_times.zone(Tz::Asia__Kolkata);
    assert!(
        !replace(&mut conn, schema, &other_zone, Tz::UTC)
            .await
            .unwrap()
    );
    assert_eq!(world.count("recurring_jobs where next_at > now()").await, 1);
    assert_eq!(world.count("firings").await, 0);
}

#[tokio::test]
async fn a_long_standstill_is_made_up_for_in_several_transactions() {
    let world = World::new().await;
    let every_minute = recurring_job("minutely", "* * * * *").missed(Missed::All);
    let every_minute = every_minute.missed_max(240).unwrap();
    planned(&world, every_minute, "2100-01-01T08:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let now = "2100-01-01T12:30:30Z";

    let first = fire_next(
        &mut conn,
        schema,
        Some(now.parse().unwrap()),
        &Kinds::default(),
        &[],
    )
    .await
    .unwrap();

    // 271 due times: 30 are decided about in one decision, those that follow one by one.
    let Tick::Fired(first) = first else {
        panic!("{first:?}");
    };
    assert_eq!(first.firings.len(), 1 + JOBS_MAX);
    assert_eq!(world.count("jobs").await, JOBS_MAX as i64);
    assert_eq!(
        next_at(&world, "minutely").await,
        "2100-01-01T10:10:00Z".parse::<DateTime<Utc>>().unwrap()
    );
    let rest = tick(&world, now).await;
    let rest: Vec<usize> = rest.iter().map(|fired| fired.firings.len()).collect();
    assert_eq!(rest, [100, 41]);
    assert_eq!(world.count("jobs").await, 241);
    assert_eq!(
        next_at(&world, "minutely").await,
        "2100-01-01T12:31:00Z".parse::<DateTime<Utc>>().unwrap()
    );
}

#[tokio::test]
async fn a_plan_that_a_wrong_clock_moved_ahead_is_brought_back_and_enqueues_nothing_twice() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("hourly", "0 * * * *"),
        "2030-01-01T08:00Z",
    )
    .await;
    tick(&world, "2030-01-01T08:00:00Z").await;
    // The clock jumps ahead by months, and back.
    tick(&world, "2030-03-01T00:30:00Z").await;
    assert!(tick(&world, "2030-01-01T09:00:00Z").await.is_empty());
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let now = Some("2030-01-01T07:59:00Z".parse().unwrap());

    let replanned = replan(&mut conn, schema, now).await.unwrap();

    assert_eq!(replanned, ["hourly"]);
    tick(&world, "2030-01-01T09:00:00Z").await;
    let in_january = "firings where outcome = 'enqueued' and due_at < '2030-02-01'";
    assert_eq!(world.count(in_january).await, 2);
    assert_eq!(world.count("jobs").await, 3);
    assert_eq!(
        next_at(&world, "hourly").await,
        "2030-01-01T10:00:00Z".parse::<DateTime<Utc>>().unwrap()
    );
}

#[tokio::test]
async fn a_plan_that_is_rightly_far_ahead_or_paused_or_unreadable_is_left_alone() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("yearly", "@yearly"),
        "2031-01-01T00:00Z",
    )
    .await;
    for name in ["nearby", "paused", "strange"] {
        planned(&world, recurring_job(name, "@hourly"), "2030-06-09T10:00Z").await;
    }
    plan_from(&world, "nearby", "2030-06-02T10:30Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    pause(&mut conn, schema, "paused").await.unwrap();
    world
        .sql("update queue.recurring_jobs set schedule = 'every blue moon' where name = 'strange'")
        .await;
    let now = Some("2030-06-01T10:00:00Z".parse().unwrap());

    let replanned = replan(&mut conn, schema, now).await.unwrap();

    assert_eq!(replanned, [""; 0]);
}

#[tokio::test]
async fn the_largest_allowed_recurring_job_can_be_enqueued() {
    let world = World::new().await;
    // The longest arguments, without the spaces that Postgres adds.
    let args = json!(vec![0; ARGS_BYTES_MAX / 2 - 1]);
    let job = NewJob::untyped("work", &args, Options::new());
    let large = RecurringJob::of("large", "0 * * * *", job).unwrap();
    planned(&world, large, "2100-01-01T08:00Z").await;
    // The most limits that a job may have, and one more for the recurring job.
    let limits = (0..LIMITS_MAX).map(|n| Limits::key(n.to_string()).group("recurring"));
    let limits = limits.fold(Limits::none(), Limits::and);
    let job = NewJob::untyped("work", &json!({}), Options::new().limits(limits));
    let limited = RecurringJob::of("0", "0 * * * *", job).unwrap();
    planned(
        &world,
        limited.overlap(Overlap::Queued),
        "2100-01-01T08:00Z",
    )
    .await;

    tick(&world, "2100-01-01T08:00:00Z").await;

    for name in ["large", "0"] {
        assert_eq!(outcomes(&world, name).await, ["08:00 enqueued"]);
    }
}

#[tokio::test]
async fn a_name_that_is_taken_or_unknown_is_an_error() {
    let world = World::new().await;
    planned(&world, recurring_job("a", "0 * * * *"), "2100-01-01T08:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());

    let again = add(
        &mut conn,
        schema,
        &recurring_job("a", "30 * * * *"),
        Tz::UTC,
    )
    .await;

    assert!(matches!(again, Err(RecurringError::Taken(name)) if name == "a"));
    assert_eq!(
        next_at(&world, "a").await.to_rfc3339(),
        "2100-01-01T08:00:00+00:00"
    );
    for answer in [
        pause(&mut conn, schema, "b").await.err(),
        resume(&mut conn, schema, "b").await.err(),
        remove(&mut conn, schema, "b").await.err(),
        run(&mut conn, schema, "b", &Kinds::default()).await.err(),
    ] {
        assert!(matches!(answer, Some(RecurringError::Unknown(name)) if name == "b"));
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_enqueued_is_recorded_and_the_plan_moves_on() {
    let world = World::new().await;
    for name in ["refused", "rejected", "good"] {
        planned(
            &world,
            recurring_job(name, "0 * * * *"),
            "2100-01-01T08:00Z",
        )
        .await;
    }
    // One is rejected by `queue-core`, the other by the server.
    world
        .sql("update queue.recurring_jobs set queue = 'two words' where name = 'refused'")
        .await;
    world
        .sql("update queue.recurring_jobs set kind = 'cursed' where name = 'rejected'")
        .await;
    world
        .sql("alter table queue.jobs add constraint no_curse check (kind <> 'cursed')")
        .await;

    tick(&world, "2100-01-01T08:00:00Z").await;
    world
        .sql("alter table queue.jobs drop constraint no_curse")
        .await;
    tick(&world, "2100-01-01T09:00:00Z").await;

    assert_eq!(
        outcomes(&world, "refused").await,
        ["08:00 failed", "09:00 failed"]
    );
    assert_eq!(
        outcomes(&world, "rejected").await,
        ["08:00 failed", "09:00 enqueued"]
    );
    assert_eq!(
        outcomes(&world, "good").await,
        ["08:00 enqueued", "09:00 enqueued"]
    );
    let told = "firings where reason like '%two words%' or reason like '%no_curse%'";
    assert_eq!(world.count(told).await, 3);
}

#[tokio::test]
async fn an_unreadable_recurring_job_is_left_alone_and_does_not_block_others() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("strange", "0 * * * *"),
        "2100-01-01T07:00Z",
    )
    .await;
    planned(
        &world,
        recurring_job("plain", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    world
        .sql("update queue.recurring_jobs set schedule = 'every blue moon' where name = 'strange'")
        .await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let now = Some("2100-01-01T08:00:00Z".parse().unwrap());

    let first = fire_next(&mut conn, schema, now, &Kinds::default(), &[])
        .await
        .unwrap();
    let Tick::Unreadable { name, reason } = first else {
        panic!("{first:?}");
    };
    let second = fire_next(
        &mut conn,
        schema,
        now,
        &Kinds::default(),
        std::slice::from_ref(&name),
    )
    .await
    .unwrap();

    assert_eq!(name, "strange");
    assert!(reason.contains("blue moon"), "{reason}");
    assert!(matches!(second, Tick::Fired(fired) if fired.name == "plain"));
    // A program that can read it finds it unchanged.
    assert_eq!(
        next_at(&world, "strange").await.to_rfc3339(),
        "2100-01-01T07:00:00+00:00"
    );
    assert_eq!(
        world.count("firings where recurring_job = 'strange'").await,
        0
    );
}

#[tokio::test]
async fn a_recurring_job_that_the_server_rejects_is_reported_and_does_not_block_others() {
    let world = World::new().await;
    planned(
        &world,
        recurring_job("cursed", "0 * * * *"),
        "2100-01-01T07:00Z",
    )
    .await;
    planned(
        &world,
        recurring_job("plain", "0 * * * *"),
        "2100-01-01T08:00Z",
    )
    .await;
    world
        .sql("alter table queue.firings add constraint no_curse check (recurring_job <> 'cursed')")
        .await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let now = Some("2100-01-01T08:00:00Z".parse().unwrap());

    let first = fire_next(&mut conn, schema, now, &Kinds::default(), &[])
        .await
        .unwrap();
    let Tick::Failed { name, error } = first else {
        panic!("{first:?}");
    };
    let second = fire_next(
        &mut conn,
        schema,
        now,
        &Kinds::default(),
        std::slice::from_ref(&name),
    )
    .await
    .unwrap();

    assert_eq!(name, "cursed");
    assert!(error.to_string().contains("no_curse"), "{error}");
    assert!(matches!(second, Tick::Fired(fired) if fired.name == "plain"));
    assert_eq!(
        next_at(&world, "cursed").await.to_rfc3339(),
        "2100-01-01T07:00:00+00:00"
    );
}

#[tokio::test]
async fn old_firings_are_cleared_except_the_last_of_each_recurring_job() {
    let world = World::new().await;
    for name in ["stays", "goes"] {
        planned(
            &world,
            recurring_job(name, "0 * * * *").missed(Missed::All),
            "2100-01-01T08:00Z",
        )
        .await;
    }
    tick(&world, "2100-01-01T10:30:00Z").await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    run(&mut conn, schema, "stays", &Kinds::default())
        .await
        .unwrap();
    remove(&mut conn, schema, "goes").await.unwrap();
    world
        .sql("update queue.firings set fired_at = fired_at - interval '40 days'")
        .await;
    let month = Duration::from_secs(30 * 86_400);

    assert_eq!(
        clear_firings(&mut conn, schema, month * 2, 100)
            .await
            .unwrap(),
        0
    );
    assert_eq!(clear_firings(&mut conn, schema, month, 4).await.unwrap(), 4);
    assert_eq!(
        clear_firings(&mut conn, schema, month, 100).await.unwrap(),
        2
    );

    assert_eq!(outcomes(&world, "stays").await, ["10:00 enqueued"]);
    assert_eq!(world.count("firings").await, 1);
}
