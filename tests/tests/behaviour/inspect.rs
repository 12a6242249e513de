//! What operators see, and what they do to queues.

use std::time::Duration;

use queue_core::depths::sample;
use queue_core::inspect::{Count, JobFilter, doctor, jobs, processes, queues, recurring, stats};
use queue_core::operations::queues::{Place, clear, pause, resume};
use queue_core::recurring::{RecurringJob, add};
use queue_core::schedule::Tz;
use queue_core::transitions::retry_now::retry_now;
use queue_core::{BatchId, JobId, JobState, NewJob, Options, Schema};
use queue_tests::world::{World, worker};
use queue_worker::{App, Cx, Job, Next, Perform};
use serde::{Deserialize, Serialize};
use serde_json::json;

const DEAD_AFTER: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Good;

impl Job for Good {
    const KIND: &'static str = "good";
}

impl Perform<()> for Good {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<()>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

/// A job that fails: for good, or with another attempt to come.
#[derive(Serialize, Deserialize)]
struct Bad {
    again: bool,
}

impl Job for Bad {
    const KIND: &'static str = "bad";
}

impl Perform<()> for Bad {
    type Error = std::io::Error;

    async fn perform(self, _cx: Cx<()>) -> Result<(), std::io::Error> {
        let word = if self.again { "again" } else { "for good" };
        Err(std::io::Error::other(format!("it broke {word}\nhere")))
    }

    fn on_error(error: &std::io::Error, _attempt: &queue_worker::Attempt) -> Next {
        if error.to_string().contains("again") {
            Next::RetryAfter(Duration::from_secs(3600))
        } else {
            Next::Fail
        }
    }
}

fn app() -> App<()> {
    App::new(()).register::<Good>().register::<Bad>()
}

async fn enqueue(world: &World, kind: &'static str, options: Options) -> JobId {
    let job = NewJob::untyped(kind, &json!({"secret": kind}), options);
    world.queue.enqueue_all([job]).await.unwrap()[0].id()
}

async fn list(world: &World, filter: &JobFilter) -> Vec<JobId> {
    let mut conn = world.pool().acquire().await.unwrap();
    let found = jobs::list(&mut conn, world.queue.schema(), filter, None, 100).await;
    found.unwrap().iter().map(|job| job.id).collect()
}

async fn checks(world: &World) -> Vec<&'static str> {
    let mut conn = world.pool().acquire().await.unwrap();
    let findings = doctor::examine(&mut conn, world.queue.schema(), DEAD_AFTER).await;
    let about_jobs = |check: &&str| !["server_setting", "connections", "horizon"].contains(check);
    let checks = findings.unwrap().into_iter().map(|finding| finding.check);
    checks.filter(about_jobs).collect()
}

#[tokio::test]
async fn each_part_of_a_filter_selects_jobs() {
    let world = World::new().await;
    let plain = enqueue(&world, "a", Options::new()).await;
    let mail = enqueue(&world, "a", Options::new().queue("mail")).await;
    let tagged = enqueue(&world, "b", Options::new().tag("eu").tag("new")).await;
    let later = enqueue(&world, "b", Options::new().delay(DEAD_AFTER)).await;

    let any = JobFilter::default();
    assert_eq!(list(&world, &any).await, [later, tagged, mail, plain]);
    let in_queue = JobFilter {
        queue: Some("mail".into()),
        ..any.clone()
    };
    assert_eq!(list(&world, &in_queue).await, [mail]);
    let of_kind = JobFilter {
        kind: Some("a".into()),
        ..any.clone()
    };
    assert_eq!(list(&world, &of_kind).await, [mail, plain]);
    let with_tag = JobFilter {
        tag: Some("new".into()),
        ..any.clone()
    };
    assert_eq!(list(&world, &with_tag).await, [tagged]);
    let scheduled = JobFilter {
        states: vec![JobState::Scheduled],
        ..any.clone()
    };
    assert_eq!(list(&world, &scheduled).await, [later]);
    let named = JobFilter {
        ids: Some(vec![plain, JobId(9_999)]),
        ..any.clone()
    };
    assert_eq!(list(&world, &named).await, [plain]);
    let none_named = JobFilter {
        ids: Some(Vec::new()),
        ..any.clone()
    };
    assert_eq!(list(&world, &none_named).await, []);
    let old = JobFilter {
        older_than: Some(Duration::from_secs(3600)),
        ..any
    };
    assert_eq!(list(&world, &old).await, []);
    world
        .sql(
            "update queue.jobs set created_at = now() - interval '61 minutes' where queue = 'mail'",
        )
        .await;
    assert_eq!(list(&world, &old).await, [mail]);
}

#[tokio::test]
async fn pages_and_batches_have_no_gap_and_no_overlap() {
    let world = World::new().await;
    for _ in 0..5 {
        let _id = enqueue(&world, "a", Options::new()).await;
    }
    let (any, schema) = (JobFilter::default(), world.queue.schema());
    let mut conn = world.pool().acquire().await.unwrap();

    let first = jobs::ids(&mut conn, schema, &any, None, 3).await.unwrap();
    let below = first.last().copied();
    let second = jobs::ids(&mut conn, schema, &any, below, 3).await.unwrap();

    assert_eq!((first.len(), second.len()), (3, 2));
    let mut all = [first, second].concat();
    assert_eq!(all, list(&world, &any).await);
    all.dedup();
    assert_eq!(all.len(), 5);
    let count = jobs::count(&mut conn, schema, &any, 5).await.unwrap();
    assert_eq!(
        count,
        Count {
            count: 5,
            at_least: false
        }
    );
    let count = jobs::count(&mut conn, schema, &any, 4).await.unwrap();
    assert_eq!(
        count,
        Count {
            count: 4,
            at_least: true
        }
    );
}

#[tokio::test]
async fn a_failed_job_is_shown_with_its_attempt_and_error() {
    let world = World::new().await;
    let process = world.start(app(), worker("*", 2));
    let id = world
        .queue
        .enqueue(Bad { again: false })
        .tag("x")
        .await
        .unwrap()
        .id();
    world.until("failed", 1).await;
    process.stop().await;

    let mut conn = world.pool().acquire().await.unwrap();
    let schema = world.queue.schema();
    let job = jobs::show(&mut conn, schema, id).await.unwrap().unwrap();

    assert_eq!(
        (job.state, job.attempt, job.failures),
        (JobState::Failed, 1, Some(1))
    );
    assert_eq!(
        (job.args.get(), job.tags),
        (r#"{"again": false}"#, vec!["x".to_owned()])
    );
    assert!(job.failed_at.is_some() && job.run_seconds.is_some());
    assert_eq!(job.attempts.len(), 1);
    assert_eq!(job.attempts[0].error, "it broke for good\nhere");
    let summary = &jobs::list(&mut conn, schema, &JobFilter::default(), None, 9)
        .await
        .unwrap()[0];
    assert_eq!(summary.error.as_deref(), Some("it broke for good"));

    retry_now(&mut conn, schema, &[id]).await.unwrap();
    let job = jobs::show(&mut conn, schema, id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts.len()), (JobState::Ready, 1));
    assert!(
        jobs::show(&mut conn, schema, JobId(9_999))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_finished_job_is_shown_with_its_outcome_and_times() {
    let world = World::new().await;
    let process = world.start(app(), worker("*", 2));
    let id = world.queue.enqueue(Good).await.unwrap().id();
    world.until("finished", 1).await;
    process.stop().await;

    let mut conn = world.pool().acquire().await.unwrap();
    let job = jobs::show(&mut conn, world.queue.schema(), id)
        .await
        .unwrap()
        .unwrap();

    assert_eq!(job.outcome.as_deref(), Some("done"));
    assert!(job.started_at.is_some() && job.finished_at.is_some() && job.run_seconds.is_some());
    assert!(job.attempts.is_empty());
}

#[tokio::test]
async fn queues_are_shown_with_their_waiting_jobs() {
    let world = World::new().await;
    let _ready = enqueue(&world, "a", Options::new().queue("mail")).await;
    let _later = enqueue(&world, "a", Options::new().queue("night").delay(DEAD_AFTER)).await;
    let mut conn = world.pool().acquire().await.unwrap();
    let schema = world.queue.schema();
    pause(&mut conn, schema, "quiet").await.unwrap();

    let queues = queues::list(&mut conn, schema).await.unwrap();

    let seen: Vec<_> = queues
        .iter()
        .map(|queue| {
            (
                queue.name.as_str(),
                queue.ready,
                queue.scheduled,
                queue.paused_at.is_some(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("mail", 1, 0, false),
            ("night", 0, 1, false),
            ("quiet", 0, 0, true)
        ]
    );
    assert!(queues[0].latency_seconds.is_some());
    assert_eq!(queues[1].latency_seconds, None);
}

#[tokio::test]
async fn the_latency_of_a_queue_is_the_age_of_its_oldest_ready_job() {
    let world = World::new().await;
    let old = enqueue(&world, "a", Options::new()).await;
    let _new = enqueue(&world, "a", Options::new()).await;
    world
        .sql(&format!(
            "update queue.ready set ready_at = ready_at - interval '90 seconds' where job_id = {old}"
        ))
        .await;
    let mut conn = world.pool().acquire().await.unwrap();

    let queues = queues::list(&mut conn, world.queue.schema()).await.unwrap();

    let latency = queues[0].latency_seconds.unwrap();
    assert!((90.0..150.0).contains(&latency), "{latency}");
}

#[tokio::test]
async fn queues_of_many_jobs_are_listed_as_the_last_sample_counted_them() {
    let world = World::new().await;
    let mut conn = world.pool().acquire().await.unwrap();
    let schema = world.queue.schema();
    pause(&mut conn, schema, "quiet").await.unwrap();
    world
        .sql(
            "insert into queue.ready (job_id, seq, queue, kind, priority)
             select n, n, 'mail', 'k', 0 from generate_series(1, 20001) as n",
        )
        .await;
    sample(&mut conn, schema).await.unwrap();
    world.sql("delete from queue.ready where job_id = 1").await;
    let _ = enqueue(&world, "a", Options::new().queue("new")).await;

    let queues = queues::list_bounded(&mut conn, schema).await.unwrap();
    let seen: Vec<_> = queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.ready, queue.sampled_at.is_some()))
        .collect();
    assert_eq!(seen, [("mail", 20_001, true), ("quiet", 0, true)]);
    assert!(queues[0].latency_seconds.is_some() && queues[1].paused_at.is_some());
    let new = queues::show(&mut conn, schema, "new").await.unwrap();
    assert_eq!(
        new.map(|queue| (queue.ready, queue.sampled_at)),
        Some((1, None))
    );

    world
        .sql("update queue.depths set at = at - interval '4 minutes'")
        .await;
    let counted = queues::list_bounded(&mut conn, schema).await.unwrap();
    assert_eq!((counted[0].ready, counted[0].sampled_at), (20_000, None));
}

#[tokio::test]
async fn pausing_or_resuming_twice_changes_nothing() {
    let world = World::new().await;
    let mut conn = world.pool().acquire().await.unwrap();
    let schema = world.queue.schema();

    assert!(pause(&mut conn, schema, "mail").await.unwrap());
    assert!(!pause(&mut conn, schema, "mail").await.unwrap());
    assert!(resume(&mut conn, schema, "mail").await.unwrap());
    assert!(!resume(&mut conn, schema, "mail").await.unwrap());
    assert!(!resume(&mut conn, schema, "never_seen").await.unwrap());
    assert!(pause(&mut conn, schema, "mail*").await.is_err());
}

#[tokio::test]
async fn a_resumed_queue_is_served_again() {
    let world = World::new().await;
    let mut conn = world.pool().acquire().await.unwrap();
    pause(&mut conn, world.queue.schema(), "default")
        .await
        .unwrap();
    let process = world.start(app(), worker("*", 2));
    let _new = world.queue.enqueue(Good).await.unwrap();
    let _new = world.queue.enqueue(Good).queue("other").await.unwrap();
    world.until("finished", 1).await;
    assert_eq!(world.count("ready where queue = 'default'").await, 1);

    resume(&mut conn, world.queue.schema(), "default")
        .await
        .unwrap();

    world.until("finished", 2).await;
    process.stop().await;
}

#[tokio::test]
async fn clearing_a_queue_discards_its_ready_jobs_and_no_others() {
    let world = World::new().await;
    for priority in [0, -5, 7, 0, 3] {
        let _id = enqueue(&world, "a", Options::new().queue("mail").priority(priority)).await;
    }
    let _later = enqueue(&world, "a", Options::new().queue("mail").delay(DEAD_AFTER)).await;
    let _other = enqueue(&world, "a", Options::new()).await;
    let mut conn = world.pool().acquire().await.unwrap();
    let mut batches = Vec::new();
    let mut place = Some(Place::FRONT);

    while let Some(from) = place {
        let batch = clear(&mut conn, world.queue.schema(), "mail", from, 2)
            .await
            .unwrap();
        batches.push(batch.discarded.len());
        place = batch.next;
    }

    assert_eq!(batches, [2, 2, 1, 0]);
    assert_eq!(world.count("finished where outcome = 'discarded'").await, 5);
    assert_eq!(
        (world.count("scheduled").await, world.count("ready").await),
        (1, 1)
    );
}

#[tokio::test]
async fn processes_are_shown_with_what_they_serve() {
    let world = World::new().await;
    let process = world.start(app(), worker("mail,*", 3));
    world.until("processes", 1).await;
    let mut conn = world.pool().acquire().await.unwrap();

    let found = processes::list(&mut conn, world.queue.schema())
        .await
        .unwrap();

    assert_eq!(found[0].details["kinds"], json!(["bad", "good"]));
    assert_eq!(found[0].details["concurrency"], json!(3));
    assert!(found[0].silent_seconds < DEAD_AFTER.as_secs_f64());
    process.stop().await;
}

#[tokio::test]
async fn stats_count_jobs_endings_and_errors() {
    let world = World::new().await;
    let process = world.start(app(), worker("*", 4));
    let _new = world.queue.enqueue(Good).await.unwrap();
    world
        .queue
        .enqueue_many([Bad { again: false }, Bad { again: true }])
        .await
        .unwrap();
    world.until("finished", 1).await;
    world.until("attempts", 2).await;
    process.stop().await;
    let mut conn = world.pool().acquire().await.unwrap();

    let figures = stats::gather(&mut conn, world.queue.schema(), 1_000)
        .await
        .unwrap();

    let counts = JobState::ALL.map(|state| figures.jobs.of(state).count);
    assert_eq!(counts, [1, 0, 0, 0, 1, 1]);
    let hour = figures.last_hour;
    assert_eq!(
        (hour.done, hour.failed, hour.errors, hour.discarded),
        (1, 1, 2, 0)
    );
    assert_eq!(figures.last_minute, hour);
    assert_eq!(figures.oldest_ready_seconds, None);
    let kinds = |kinds: &[stats::KindCount]| -> Vec<(String, i64)> {
        kinds
            .iter()
            .map(|each| (each.kind.clone(), each.count))
            .collect()
    };
    assert_eq!(kinds(&figures.failed_by_kind), [("bad".to_owned(), 1)]);
    assert_eq!(kinds(&figures.errors_by_kind), [("bad".to_owned(), 2)]);
}

#[tokio::test]
async fn the_doctor_finds_nothing_when_all_is_well() {
    let world = World::new().await;
    let process = world.start(app(), worker("*", 2));
    world.until("processes", 1).await;
    assert_eq!(checks(&world).await, [""; 0]);
    process.stop().await;
    assert_eq!(checks(&world).await, ["no_live_process"]);
}

#[tokio::test]
async fn the_doctor_distinguishes_unserved_queues_unknown_kinds_and_failed_jobs() {
    let world = World::new().await;
    let process = world.start(app(), worker("default,paused", 2));
    let _new = world.queue.enqueue(Bad { again: false }).await.unwrap();
    let _unknown = enqueue(&world, "typo", Options::new()).await;
    let _unserved = enqueue(&world, "good", Options::new().queue("nowhere")).await;
    let mut conn = world.pool().acquire().await.unwrap();
    pause(&mut conn, world.queue.schema(), "paused")
        .await
        .unwrap();
    let _paused = enqueue(&world, "good", Options::new().queue("paused")).await;
    world.until("failed", 1).await;

    let mut found = checks(&world).await;

    found.sort_unstable();
    assert_eq!(
        found,
        [
            "failed_jobs",
            "paused_queue",
            "queue_not_served",
            "unknown_kind"
        ]
    );
    process.stop().await;
}

#[tokio::test]
async fn recurring_jobs_are_shown_with_their_next_time_and_last_firing() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    recurring_job(&world, "hourly").await;
    world
        .sql(
            "insert into queue.firings (recurring_job, due_at, fired_at, outcome, job_id, reason)
             values ('hourly', '2030-01-01T08:00Z', '2030-01-01T08:00:01Z', 'enqueued', 7, null),
                ('hourly', '2030-01-01T09:00Z', '2030-01-01T09:00:01Z', 'failed', null, 'why'),
                ('hourly', null, '2030-01-01T08:30Z', 'enqueued', 8, null)",
        )
        .await;

    let listed = recurring::list(&mut conn, schema).await.unwrap();
    let shown = recurring::show(&mut conn, schema, "hourly", 2)
        .await
        .unwrap()
        .unwrap();

    assert_eq!(listed[0].last_outcome.as_deref(), Some("failed"));
    assert_eq!(listed[0].words, shown.words);
    assert_eq!(shown.upcoming.len(), 5);
    assert_eq!(shown.next_at, shown.upcoming.first().copied());
    let firings: Vec<_> = shown
        .firings
        .iter()
        .map(|firing| {
            (
                firing.outcome.as_str(),
                firing.due_at.is_some(),
                firing.job_id,
            )
        })
        .collect();
    assert_eq!(
        firings,
        [("failed", true, None), ("enqueued", false, Some(JobId(8)))]
    );
    assert_eq!(shown.firings[0].reason.as_deref(), Some("why"));
    assert!(
        recurring::show(&mut conn, schema, "other", 2)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_recurring_job_with_an_unreadable_schedule_is_shown_too() {
    let world = World::new().await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    recurring_job(&world, "strange").await;
    world
        .sql("update queue.recurring_jobs set schedule = 'every blue moon'")
        .await;

    let listed = recurring::list(&mut conn, schema).await.unwrap();
    let shown = recurring::show(&mut conn, schema, "strange", 2)
        .await
        .unwrap()
        .unwrap();

    assert_eq!((&listed[0].words, &shown.words), (&None, &None));
    assert_eq!(shown.schedule, "every blue moon");
    assert!(shown.upcoming.is_empty());
}

#[tokio::test]
async fn the_doctor_finds_overdue_recurring_jobs() {
    let world = World::new().await;
    for name in ["late", "paused", "coming"] {
        recurring_job(&world, name).await;
    }
    world
        .sql(
            "update queue.recurring_jobs set next_at = now() - interval '1 hour' where name <> 'coming'",
        )
        .await;
    world
        .sql("update queue.recurring_jobs set paused_at = now() where name = 'paused'")
        .await;
    let mut conn = world.connect().await;

    let findings = doctor::examine(&mut conn, world.queue.schema(), DEAD_AFTER)
        .await
        .unwrap();

    let finding = findings
        .iter()
        .find(|finding| finding.check == "overdue_recurring_jobs")
        .unwrap();
    assert!(finding.what.contains("late"), "{}", finding.what);
    assert!(!finding.what.contains("paused") && !finding.what.contains("coming"));
}

async fn recurring_job(world: &World, name: &str) {
    let job = NewJob::untyped("good", &json!({}), Options::new());
    let recurring = RecurringJob::of(name, "@hourly", job).unwrap();
    let mut conn = world.connect().await;
    add(&mut conn, world.queue.schema(), &recurring, Tz::UTC)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_doctor_reports_missing_tables() {
    let world = World::new().await;
    let mut conn = world.pool().acquire().await.unwrap();
    let elsewhere = Schema::named("elsewhere").unwrap();
    let findings = doctor::examine(&mut conn, &elsewhere, DEAD_AFTER)
        .await
        .unwrap();
    assert_eq!(findings[0].check, "not_migrated");
}

/// A role that exists on every server and has no rights here except those granted.
const READER_ROLE: &str = "pg_signal_backend";

#[tokio::test]
async fn a_role_with_select_rights_may_inspect_everything() {
    let world = World::new().await;
    let _id = enqueue(&world, "a", Options::new()).await;
    let mut conn = world.pool().acquire().await.unwrap();
    let granted = sqlx::raw_sql(
        "grant usage on schema queue to pg_signal_backend;
         grant select on all tables in schema queue to pg_signal_backend;
         set role pg_signal_backend",
    );
    granted.execute(&mut *conn).await.unwrap();
    let role: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(role, READER_ROLE);
    let schema = world.queue.schema();

    let findings = doctor::examine(&mut conn, schema, DEAD_AFTER)
        .await
        .unwrap();

    assert!(
        findings
            .iter()
            .any(|finding| finding.check == "no_live_process")
    );
    stats::gather(&mut conn, schema, 1_000).await.unwrap();
    queues::list(&mut conn, schema).await.unwrap();
    processes::list(&mut conn, schema).await.unwrap();
    recurring::list(&mut conn, schema).await.unwrap();
    recurring::show(&mut conn, schema, "a", 9).await.unwrap();
    let listed = jobs::list(&mut conn, schema, &JobFilter::default(), None, 9).await;
    assert_eq!(listed.unwrap().len(), 1);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn the_jobs_of_a_batch_are_found_with_other_filters() {
    let world = World::new().await;
    for number in 0..6 {
        let batch = 70 + number % 2;
        let job = NewJob::untyped("k", &json!(number), Options::new());
        let id = world.queue.enqueue_all([job]).await.unwrap()[0].id();
        world
            .sql(&format!(
                "update queue.jobs set batch_id = {batch} where id = {id}"
            ))
            .await;
    }
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let filter = JobFilter {
        batch: Some(BatchId(71)),
        ..JobFilter::default()
    };
    let found = jobs::list(&mut conn, schema, &filter, None, 10)
        .await
        .unwrap();
    assert_eq!(found.len(), 3);
    let below = Some(found[0].id);
    let older = jobs::ids(&mut conn, schema, &filter, below, 10)
        .await
        .unwrap();
    assert_eq!(older, [found[1].id, found[2].id]);
    let failed = JobFilter {
        states: vec![JobState::Failed],
        ..filter
    };
    let none = jobs::count(&mut conn, schema, &failed, 10).await.unwrap();
    assert_eq!(none.count, 0);
}

/// Adds many ready jobs, of which only the first has a tag.
async fn many_with_one_tagged(world: &World) {
    world
        .sql(
            "insert into queue.jobs (id, priority, attempts_max, crashes_max, kind, queue, args, tags)
             select n, 0, 10, 3, 'k', 'q', '1', case when n = 1 then '{rare}'::text[] end
             from generate_series(1, 25000) as n",
        )
        .await;
    world
        .sql(
            "insert into queue.ready (job_id, seq, priority, kind, queue)
             select id, id, 0, kind, queue from queue.jobs",
        )
        .await;
}

#[tokio::test]
async fn a_look_without_an_index_stops_and_goes_on_where_it_stopped() {
    let world = World::new().await;
    many_with_one_tagged(&world).await;
    let (mut conn, schema) = (world.connect().await, world.queue.schema());
    let mut filter = JobFilter {
        tag: Some("rare".to_owned()),
        ..JobFilter::default()
    };

    let (mut below, mut looks, mut found) = (None, 0, Vec::new());
    while looks == 0 || below.is_some() {
        let looked = jobs::look(&mut conn, schema, &filter, below, 50)
            .await
            .unwrap();
        let back_to = looked.back_to.map(|(job, _)| job);
        assert!(back_to.is_none_or(|job| below.is_none_or(|below| job < below)));
        (below, looks) = (back_to, looks + 1);
        found.extend(looked.jobs.into_iter().map(|job| job.id));
    }

    assert_eq!(found, [JobId(1)]);
    assert!(looks >= 2, "20,000 jobs at most");
    let counted = jobs::count_newest(&mut conn, schema, &filter, 1_000)
        .await
        .unwrap();
    assert_eq!((counted.count, counted.at_least), (0, true));
    filter.ids = Some(vec![JobId(1), JobId(2)]);
    let looked = jobs::look(&mut conn, schema, &filter, None, 50)
        .await
        .unwrap();
    assert_eq!((looked.jobs.len(), looked.back_to), (1, None));
    let all = JobFilter::default();
    let looked = jobs::look(&mut conn, schema, &all, None, 50).await.unwrap();
    assert_eq!((looked.jobs.len(), looked.back_to), (50, None));
}
