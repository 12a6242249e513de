//! Encryption at rest: what is encrypted, who can read it, and what happens without a key.

use std::time::Duration;

use queue_core::inspect::jobs::{list_with_args, show};
use queue_core::inspect::{JobDetails, JobFilter};
use queue_core::operations::keys::{Rotated, rotate};
use queue_core::recurring::{Kinds, RecurringJob, Tick, add, change, fire_next, register, run};
use queue_core::schedule::Tz;
use queue_core::{Batch, EnqueueError, JobId, Keys, NewJob, Options, Queue, Unique};
use queue_tests::stage::Stage;
use queue_tests::world::{World, eventually, worker};
use queue_worker::dashboard::Role;
use queue_worker::{App, Attempt, BoxError, ChildEnd, Cx, Job, Next, Perform, Process};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dashboard::Site;
use crate::shell::{Shell, said};

/// What must not be found in the tables.
const CARD: &str = "4929-1234";

const OLD: &str = "old:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "new:HxQVFhcYGRobHB0eHwABAgMEBQYHCAkKCwwNDg8QERI=";

/// A job whose first attempt fails behind a step and a cursor.
#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    account: String,
}

impl Charge {
    fn new() -> Self {
        Self {
            account: CARD.to_owned(),
        }
    }
}

impl Job for Charge {
    const KIND: &'static str = "charge";
    const ENCRYPTED: bool = true;
}

impl Perform<Stage> for Charge {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let card = async || {
            cx.state().note("step");
            Ok::<_, BoxError>(self.account.clone())
        };
        let stepped: String = cx.step("card", card).await?;
        let mut cursor = cx.cursor::<String>("place").await?;
        let place = cursor.get().cloned();
        cursor.set(self.account.clone()).await?;
        cx.output(&self.account)?;
        cx.progress(1, 2);
        if cx.attempt().number == 1 {
            return Err("it fails".into());
        }
        cx.state().note(format!("{stepped} {place:?}"));
        Ok(())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }
}

/// A job whose arguments are of another type than they were.
#[derive(Debug, Serialize, Deserialize)]
struct ChargeByNumber {
    account: i64,
}

impl Job for ChargeByNumber {
    const KIND: &'static str = Charge::KIND;
    const ENCRYPTED: bool = true;
}

impl Perform<Stage> for ChargeByNumber {
    type Error = BoxError;

    async fn perform(self, _: Cx<Stage>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A job that charges cards as its children, and reads their outputs.
#[derive(Debug, Serialize, Deserialize)]
struct ChargeAll;

impl Job for ChargeAll {
    const KIND: &'static str = "charge_all";
    const ENCRYPTED: bool = true;
}

impl Perform<Stage> for ChargeAll {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let batch = cx.child_batch("all", [Charge::new()]).await?;
        cx.join(batch).await?;
        for child in cx.children_of::<String>(batch).await? {
            if let ChildEnd::Done(Some(output)) = child.end {
                cx.state().note(format!("child {output}"));
            }
        }
        Ok(())
    }
}

fn keys(text: &str) -> Keys {
    text.parse().unwrap()
}

async fn world_with(text: &str) -> World {
    let mut world = World::new().await;
    world.queue = world.queue.encryption_keys(keys(text));
    world
}

fn app(stage: &Stage) -> App<Stage> {
    stage.app().register::<Charge>().register::<ChargeAll>()
}

/// Returns the tables in which a text is found.
async fn tables_with(world: &World, text: &str) -> Vec<String> {
    let tables: Vec<(String,)> = world
        .rows("select table_name::text from information_schema.tables where table_schema = 'queue'")
        .await;
    let mut found = Vec::new();
    for (table,) in tables {
        let rows = format!("{table} as row where row::text like '%{text}%'");
        if world.count(&rows).await > 0 {
            found.push(table);
        }
    }
    found
}

async fn shown(queue: &Queue, world: &World, job: JobId) -> JobDetails {
    let mut conn = world.connect().await;
    let details = show(&mut conn, queue.schema(), job).await.unwrap();
    details.unwrap()
}

async fn error_of(world: &World, job: JobId) -> String {
    let query = format!(
        "select error from queue.attempts where job_id = {job} order by attempt desc limit 1"
    );
    world.value(&query).await
}

/// Enqueues jobs in every way, and returns how many.
async fn enqueue_in_every_way(world: &World) -> i64 {
    let (queue, new) = (&world.queue, || NewJob::of(&Charge::new()).unwrap());
    queue.enqueue(Charge::new()).await.unwrap();
    let delayed = queue.enqueue(Charge::new());
    delayed.delay(Duration::from_millis(1)).await.unwrap();
    queue
        .enqueue_many([Charge::new(), Charge::new()])
        .await
        .unwrap();
    queue.copy_jobs([Ok(new())]).await.unwrap();
    let mut tx = queue.after_commit(world.pool()).await.unwrap();
    tx.enqueue(Charge::new()).unwrap();
    tx.commit().await.unwrap();
    let mut batch = Batch::new();
    batch.add_new(new());
    let batch = batch.on_completion(&Charge::new()).unwrap();
    queue.enqueue_batch(batch).await.unwrap();
    let unique = new().with(|options| options.unique(Unique::by_args()));
    let recurring = RecurringJob::of("nightly", "@daily", unique).unwrap();
    let mut conn = world.connect().await;
    let schema = queue.schema();
    add(&mut conn, schema, &recurring, Tz::UTC).await.unwrap();
    world
        .sql("update queue.recurring_jobs set next_at = now()")
        .await;
    let fired = fire_next(&mut conn, schema, None, &Kinds::default(), &[]).await;
    assert!(matches!(fired, Ok(Tick::Fired(_))), "{fired:?}");
    queue.enqueue(ChargeAll).await.unwrap();
    10
}

#[tokio::test]
async fn nothing_of_an_encrypted_job_is_readable_in_the_tables() {
    let world = world_with(NEW).await;
    let stage = Stage::default();
    let jobs = enqueue_in_every_way(&world).await;
    assert_eq!(world.count("jobs").await, jobs);

    let process = world.start(app(&stage), worker("*", 2));
    world.until("finished", jobs + 1).await;
    process.stop().await;

    assert_eq!(tables_with(&world, CARD).await, [""; 0]);
    let found = ["jobs", "progress", "recurring_jobs", "steps"];
    let mut encrypted = tables_with(&world, "$encrypted").await;
    encrypted.sort();
    assert_eq!(encrypted, found);
    let each = format!("{CARD} Some(\"{CARD}\")");
    assert_eq!(stage.times(&each), 10);
    assert_eq!(stage.times("step"), 10);
    assert_eq!(stage.times(&format!("child {CARD}")), 1);
    // What everybody may know stays readable.
    let done: i64 = world
        .count("progress where name = '@done' and value ->> 'of' = '2'")
        .await;
    assert_eq!(done, 10);
}

#[tokio::test]
async fn a_job_without_its_key_is_retried_and_runs_once_the_key_is_there() {
    let mut world = world_with(OLD).await;
    let stage = Stage::default();
    let job = world.queue.enqueue(Charge::new()).await.unwrap().id();

    world.queue = world.queue.encryption_keys(keys(NEW));
    let process = world.start(app(&stage), worker("*", 2));
    world.until_state(job, "scheduled").await;
    process.stop().await;

    let error = error_of(&world, job).await;
    let what = "the arguments of the job are encrypted with the key `old`, which this process does not have: \
                add it to QUEUE_ENCRYPTION_KEYS";
    assert_eq!(error, what);
    world.queue = world.queue.encryption_keys(keys(&format!("{NEW},{OLD}")));
    world.make_scheduled_due().await;
    let process = world.start(app(&stage), worker("*", 2));
    world.until_state(job, "finished").await;
    process.stop().await;
    assert_eq!(
        world
            .count("steps where result::text like '%\"new\"%'")
            .await,
        1
    );
}

#[tokio::test]
async fn arguments_that_were_changed_or_moved_are_not_run() {
    let world = world_with(NEW).await;
    let stage = Stage::default();
    let moved = world.queue.enqueue(ChargeAll).await.unwrap().id();
    let changed = world.queue.enqueue(Charge::new()).await.unwrap().id();
    let other = format!("(select args from queue.jobs where id = {changed})");
    world
        .sql(&format!(
            "update queue.jobs set args = {other} where id = {moved}"
        ))
        .await;
    world
        .sql(&format!(
            "update queue.jobs set args = jsonb_set(args, '{{$encrypted,data}}', to_jsonb(
                'AAAA' || substr(args #>> '{{$encrypted,data}}', 5)))
             where id = {changed}"
        ))
        .await;

    let process = world.start(app(&stage), worker("*", 2));
    for job in [moved, changed] {
        world.until_state(job, "scheduled").await;
        let error = error_of(&world, job).await;
        let what =
            "the arguments of the job are not readable with the key `new`: the value was changed";
        assert!(error.starts_with(what), "{error}");
    }
    process.stop().await;
    assert!(stage.notes().is_empty());
}

#[tokio::test]
async fn the_error_of_arguments_that_do_not_fit_does_not_repeat_them() {
    let world = world_with(NEW).await;
    let job = world.queue.enqueue(Charge::new()).await.unwrap().id();

    let app = Stage::default().app().register::<ChargeByNumber>();
    let process = world.start(app, worker("*", 2));
    world.until_state(job, "scheduled").await;
    process.stop().await;

    let error = error_of(&world, job).await;
    assert!(
        error.contains("do not fit the job's type: line 1"),
        "{error}"
    );
    assert_eq!(tables_with(&world, CARD).await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_written_or_run_without_keys() {
    let world = World::new().await;

    let refused = world.queue.enqueue(Charge::new()).await.unwrap_err();
    let mut batch = Batch::new();
    batch.add(&Charge::new()).unwrap();
    let of_batch = world.queue.enqueue_batch(batch).await.unwrap_err();
    let copied = world
        .queue
        .copy_jobs([NewJob::of(&Charge::new())])
        .await
        .unwrap_err();
    let recurring = RecurringJob::new("nightly", "@daily", Charge::new()).unwrap();
    let mut conn = world.connect().await;
    let added = add(&mut conn, world.queue.schema(), &recurring, Tz::UTC).await;
    let process = Process::new(world.queue.clone(), app(&Stage::default()), worker("*", 1));

    let what = "jobs of the kind `charge` are encrypted, and this process has no key: set \
                QUEUE_ENCRYPTION_KEYS, or call `Queue::encryption_keys`";
    assert_eq!(refused.to_string(), what);
    assert!(matches!(of_batch, EnqueueError::NoKeys(_)));
    assert!(matches!(copied.source, EnqueueError::NoKeys(_)));
    assert!(added.is_err());
    assert!(process.err().unwrap().to_string().contains(what));
    for table in ["jobs", "batches", "recurring_jobs"] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn arguments_are_shown_only_to_whom_has_the_key() {
    let world = world_with(NEW).await;
    let stage = Stage::default();
    let job = world.queue.enqueue(Charge::new()).await.unwrap().id();
    let process = world.start(app(&stage), worker("*", 2));
    world.until_state(job, "finished").await;
    process.stop().await;
    let keyless = Queue::new(world.pool().clone());
    let filter = JobFilter {
        args: Some(RawValue::from_string(format!(r#"{{"account": "{CARD}"}}"#)).unwrap()),
        ..JobFilter::default()
    };

    let open = shown(&world.queue, &world, job).await;
    let closed = shown(&keyless, &world, job).await;
    let mut conn = world.connect().await;
    let found = list_with_args(&mut conn, world.queue.schema(), &filter, None, 10).await;
    let all = JobFilter::default();
    let listed = list_with_args(&mut conn, keyless.schema(), &all, None, 10).await;

    assert_eq!(open.args.get(), format!(r#"{{"account":"{CARD}"}}"#));
    assert_eq!(open.progress.output.unwrap().get(), format!("\"{CARD}\""));
    let what = "encrypted with the key `new`, which this process does not have";
    for args in [&closed.args, listed.unwrap()[0].args.as_ref().unwrap()] {
        assert!(args.get().contains(what), "{args}");
    }
    assert!(closed.progress.output.unwrap().get().contains(what));
    assert!(closed.progress.cursors[0].place.get().contains(what));
    assert!(found.unwrap().is_empty());
}

#[tokio::test]
async fn the_dashboard_shows_arguments_only_with_the_key() {
    let mut world = world_with(NEW).await;
    let job = world.queue.enqueue(Charge::new()).await.unwrap().id();
    let page = async |world: &World, path: &str| {
        let site = Site::open(world, Role::Operator);
        site.get(path).await.text
    };
    let of_job = format!("/jobs/{job}");

    let operator = page(&world, &of_job).await;
    let search = format!("/jobs?state=ready&arg=account:{CARD}");
    let found = page(&world, &search).await;
    world.queue = Queue::new(world.pool().clone());
    let without = page(&world, &of_job).await;

    assert!(operator.contains(CARD), "{operator}");
    assert!(
        found.contains("Encrypted arguments are not searched."),
        "{found}"
    );
    assert!(
        without.contains("encrypted with the key `new`"),
        "{without}"
    );
    assert!(!without.contains("$encrypted"), "{without}");
}

#[tokio::test]
async fn a_recurring_job_is_declared_again_without_a_change_and_waits_for_its_key() {
    let world = world_with(OLD).await;
    let (schema, mut conn) = (world.queue.schema(), world.connect().await);
    let declared = || {
        let unique = |options: Options| options.unique(Unique::by_args());
        let job = NewJob::of(&Charge::new()).unwrap().with(unique);
        [RecurringJob::of("nightly", "@daily", job).unwrap()]
    };
    let first = register(&mut conn, schema, "shop", &declared(), Tz::UTC)
        .await
        .unwrap();
    let again = register(&mut conn, schema, "shop", &declared(), Tz::UTC)
        .await
        .unwrap();
    let elsewhere = register(&mut conn, schema, "other", &declared(), Tz::UTC)
        .await
        .unwrap();
    world
        .sql("update queue.recurring_jobs set next_at = now()")
        .await;
    let keyless = Queue::new(world.pool().clone()).encryption_keys(keys(NEW));

    let kinds = Kinds::default();
    let unreadable = fire_next(&mut conn, keyless.schema(), None, &kinds, &[])
        .await
        .unwrap();
    let not_run = run(&mut conn, keyless.schema(), "nightly", &kinds).await;
    assert_eq!(world.count("firings").await, 0);
    let fired = fire_next(&mut conn, schema, None, &kinds, &[])
        .await
        .unwrap();
    let duplicate = run(&mut conn, schema, "nightly", &kinds).await;

    assert_eq!(first.added, ["nightly"]);
    assert_eq!((again.changed.len(), again.collisions.len()), (0, 0));
    assert_eq!(elsewhere.collisions.len(), 0);
    assert!(matches!(unreadable, Tick::Unreadable { reason, .. } if reason.contains("key `old`")));
    assert!(not_run.unwrap_err().to_string().contains("key `old`"));
    assert!(matches!(fired, Tick::Fired(_)));
    // The key of the arguments is the same as that of a job that was not enqueued by a schedule.
    assert!(duplicate.is_err(), "{duplicate:?}");
    let job = world
        .queue
        .enqueue(Charge::new())
        .unique(Unique::by_args())
        .await
        .unwrap();
    assert!(!job.is_new());
}

/// Rotates page by page until the end, or until some pages are done.
async fn rotate_pages(world: &World, queue: &Queue, pages: usize, only_counts: bool) -> Rotated {
    let (mut conn, schema) = (world.connect().await, queue.schema());
    let mut all = Rotated::default();
    let mut after = Some(0);
    for _ in 0..pages {
        let Some(from) = after else { break };
        let keys = schema.keys().unwrap();
        let page = rotate(&mut conn, schema, keys, from, 2, only_counts)
            .await
            .unwrap();
        all.rotated += page.rotated;
        all.unreadable += page.unreadable;
        for (key, count) in page.found {
            *all.found.entry(key).or_default() += count;
        }
        after = page.last;
    }
    all
}

#[tokio::test]
async fn a_change_by_a_program_that_does_not_know_the_kind_stays_encrypted() {
    let world = world_with(NEW).await;
    let (schema, mut conn) = (world.queue.schema(), world.connect().await);
    let nightly = RecurringJob::new("nightly", "@daily", Charge::new()).unwrap();
    add(&mut conn, schema, &nightly, Tz::UTC).await.unwrap();

    let args = serde_json::json!({"account": CARD});
    let untyped = NewJob::untyped("charge", &args, Options::new());
    let hourly = RecurringJob::of("nightly", "@hourly", untyped).unwrap();
    change(&mut conn, schema, hourly, Tz::UTC).await.unwrap();

    assert_eq!(
        world
            .count("recurring_jobs where schedule = '@hourly'")
            .await,
        1
    );
    assert_eq!(tables_with(&world, CARD).await, [""; 0]);
}

#[tokio::test]
async fn after_a_rotation_the_old_key_is_not_needed() {
    let mut world = world_with(OLD).await;
    let stage = Stage::default();
    // A job that has run once, others that wait, and a recurring job.
    let failed = world.queue.enqueue(Charge::new()).await.unwrap().id();
    let process = world.start(app(&stage), worker("*", 1));
    world.until_state(failed, "finished").await;
    process.stop().await;
    let jobs = 1 + enqueue_in_every_way(&world).await;
    let both = world
        .queue
        .clone()
        .encryption_keys(keys(&format!("{NEW},{OLD}")));
    // One step, the output and the cursor, the recurring job, and the arguments.
    let values = u64::try_from(jobs).unwrap() + 4;

    let counted = rotate_pages(&world, &both, 100, true).await;
    assert_eq!((counted.found["old"], counted.rotated), (values, 0));
    let begun = rotate_pages(&world, &both, 1, false).await;
    assert_eq!(begun.rotated, 6);
    let rotated = rotate_pages(&world, &both, 100, false).await;
    assert_eq!((rotated.rotated, rotated.unreadable), (values - 6, 0));

    assert_eq!(tables_with(&world, "\"old\"").await, [""; 0]);
    world.queue = world.queue.encryption_keys(keys(NEW));
    let process = world.start(app(&stage), worker("*", 2));
    world.until("finished", jobs + 1).await;
    process.stop().await;
    assert_eq!(
        shown(&world.queue, &world, failed)
            .await
            .progress
            .output
            .unwrap()
            .get(),
        format!("\"{CARD}\"")
    );
    let mut conn = world.connect().await;
    run(
        &mut conn,
        world.queue.schema(),
        "nightly",
        &Kinds::default(),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_rotation_leaves_what_it_cannot_decrypt_and_what_was_changed_meanwhile() {
    let world = world_with(OLD).await;
    world.queue.enqueue(Charge::new()).await.unwrap();
    let changed = world.queue.enqueue(Charge::new()).await.unwrap().id();
    let without = world.queue.clone().encryption_keys(keys(NEW));
    let both = world
        .queue
        .clone()
        .encryption_keys(keys(&format!("{NEW},{OLD}")));

    let kept = rotate_pages(&world, &without, 100, false).await;
    assert_eq!(
        (kept.found["old"], kept.rotated, kept.unreadable),
        (2, 0, 2)
    );
    // The rotation reads the value, waits for the lock, and finds another one.
    let mut tx = world.pool().begin().await.unwrap();
    sqlx::query("update queue.jobs set args = '\"changed\"' where id = $1")
        .bind(changed.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    let rotating = rotate_pages(&world, &both, 100, false);
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%new::jsonb%'";
    let changing = async {
        eventually("the rotation waits", async || {
            world.value::<i64>(waiting).await > 0
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (rotated, ()) = tokio::join!(rotating, changing);

    assert_eq!((rotated.found["old"], rotated.rotated), (2, 1));
    assert_eq!(world.count("jobs where args = '\"changed\"'").await, 1);
}

#[tokio::test]
async fn keys_of_the_environment_are_those_of_commands() {
    let world = world_with(OLD).await;
    let shell = Shell::on(&world);
    let job = world.queue.enqueue(Charge::new()).await.unwrap().id();
    let run = async |keys: &str, line: &[&str]| {
        let mut command = shell.command(line);
        command.env("QUEUE_ENCRYPTION_KEYS", keys);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
        (output.status.code().unwrap(), text)
    };
    let (both, job) = (format!("{NEW},{OLD}"), job.to_string());

    let (_, closed) = run(NEW, &["jobs", "show", &job, "--args"]).await;
    let (_, open) = run(&both, &["jobs", "show", &job, "--args"]).await;
    let (code, invalid) = run("new:AAAA", &["check"]).await;
    let without = shell.refused(2, &["keys", "rotate"]).await;
    let (_, counted) = run(&both, &["keys", "rotate", "--dry-run"]).await;
    let (partly, kept) = run(NEW, &["keys", "rotate"]).await;
    let (fine, rotated) = run(&both, &["keys", "rotate"]).await;
    let (_, enqueued) = run(
        NEW,
        &["enqueue", "secret", "--args", r#"{"word": "4929-1234"}"#],
    )
    .await;

    assert!(
        closed.contains("encrypted with the key `old`") && !closed.contains(CARD),
        "{closed}"
    );
    assert!(open.contains(CARD), "{open}");
    assert!(
        code == 2 && invalid.contains("does not have 32 bytes"),
        "{invalid}"
    );
    assert!(without.contains("set QUEUE_ENCRYPTION_KEYS"), "{without}");
    assert!(
        counted.contains("found 1 value of the key old"),
        "{counted}"
    );
    assert!(
        partly == 1 && kept.contains("could not decrypt 1 value"),
        "{kept}"
    );
    assert!(
        fine == 0 && rotated.contains("encrypted 1 value with the key new"),
        "{rotated}"
    );
    assert_eq!(
        world
            .count("audit where what = 'rotate' and target = 'keys'")
            .await,
        2
    );
    assert_eq!(
        world.count("jobs where kind = 'secret'").await,
        1,
        "{enqueued}"
    );
    assert_eq!(tables_with(&world, CARD).await, [""; 0]);
}
