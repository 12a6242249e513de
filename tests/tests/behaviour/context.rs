//! Where jobs come from: kept with each job, and restored while it runs.

use std::convert::Infallible;
use std::fs::{File, read_to_string};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn;
use axum::routing::post;
use chrono::{TimeDelta, Utc};
use queue_core::recurring::{Kinds, RecurringJob, Tick, add, fire_next};
use queue_core::schedule::Tz;
use queue_core::{Conflict, Context, EnqueueError, JobId, Limits, NewJob, Options, Queue};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::testing::TestProcess;
use queue_worker::{Attempt, BoxError, Cx, Job, Next, Perform, PerformBlocking, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tower::ServiceExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::shell::Shell;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn acme() -> Context {
    Context::new()
        .tenant("acme")
        .request_id("r-17")
        .user("ann")
        .traceparent(TRACEPARENT)
        .with("locale", "de")
}

/// A job that notes its context, enqueues a [`Note`], and fails if it should.
#[derive(Serialize, Deserialize)]
struct NotesContext {
    fails: bool,
}

impl Job for NotesContext {
    const KIND: &'static str = "notes_context";
}

impl Perform<Stage> for NotesContext {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        tracing::info!("it runs");
        assert_eq!(cx.context(), &Context::current());
        cx.state().note(noted(&Context::current()));
        cx.queue().enqueue(Note::new("child")).await?;
        if self.fails {
            return Err("it fails".into());
        }
        Ok(())
    }

    fn on_error(_: &BoxError, _: &Attempt) -> Next {
        Next::RetryAfter(Duration::ZERO)
    }
}

/// A job on a thread of its own, which notes its context.
#[derive(Serialize, Deserialize)]
struct NotesContextOnAThread;

impl Job for NotesContextOnAThread {
    const KIND: &'static str = "notes_context_on_a_thread";
}

impl PerformBlocking<Stage> for NotesContextOnAThread {
    type Error = Infallible;

    fn perform(self, cx: Cx<Stage>) -> Result<(), Infallible> {
        cx.state().note(noted(&Context::current()));
        Ok(())
    }
}

fn noted(context: &Context) -> String {
    serde_json::to_string(context).unwrap()
}

/// Returns the context of each job, in the order of ids: its tenant and its request.
async fn origins(world: &World) -> Vec<(Option<String>, Option<String>)> {
    world
        .rows("select tenant, context ->> 'request_id' from queue.jobs order by id")
        .await
}

fn of_acme() -> (Option<String>, Option<String>) {
    (Some("acme".to_owned()), Some("r-17".to_owned()))
}

#[tokio::test]
async fn every_way_of_enqueueing_captures_the_current_context() {
    let world = World::new().await;
    let queue = &world.queue;
    let named = || NewJob::untyped("by_name", &json!({}), Options::new());

    let enqueueing = async {
        queue.enqueue(Note::new("one")).await.unwrap();
        let later = queue.enqueue(Note::new("later"));
        later.delay(Duration::from_secs(60)).await.unwrap();
        queue.enqueue_many([Note::new("many")]).await.unwrap();
        queue.enqueue_all([named(), named()]).await.unwrap();
        queue.copy_jobs([Ok(named())]).await.unwrap();
        let mut after = queue.after_commit(world.pool()).await.unwrap();
        after.enqueue(Note::new("after")).unwrap();
        after.commit().await.unwrap();
    };
    acme().scope(enqueueing).await;

    assert_eq!(origins(&world).await, vec![of_acme(); 7]);
}

#[tokio::test]
async fn the_context_that_a_job_is_given_replaces_the_current_one() {
    let world = World::new().await;

    let enqueueing = async {
        let globex = Context::new().tenant("globex");
        world
            .queue
            .enqueue(Note::new("a"))
            .context(globex)
            .await
            .unwrap();
        let none = Context::new();
        world
            .queue
            .enqueue(Note::new("b"))
            .context(none)
            .await
            .unwrap();
    };
    acme().scope(enqueueing).await;

    let globex = (Some("globex".to_owned()), None);
    assert_eq!(origins(&world).await, [globex, (None, None)]);
    assert_eq!(world.count("jobs where context is null").await, 2);
}

#[tokio::test]
async fn a_recurring_job_keeps_the_tenant_but_not_the_request() {
    let world = World::new().await;
    let mut conn = world.connect().await;
    let job = NewJob::untyped("work", &json!({}), Options::new());
    let recurring = acme().sync_scope(|| RecurringJob::of("work", "every minute", job));

    let schema = world.queue.schema();
    add(&mut conn, schema, &recurring.unwrap(), Tz::UTC)
        .await
        .unwrap();
    let now = Some(Utc::now() + TimeDelta::minutes(2));
    let fired = fire_next(&mut conn, schema, now, &Kinds::default(), &[]).await;

    assert!(matches!(fired, Ok(Tick::Fired(_))), "{fired:?}");
    assert!(world.count("jobs").await > 0);
    let kept = "jobs where tenant <> 'acme' or context <> '{\"user\": \"ann\", \"values\": {\"locale\": \"de\"}}'";
    assert_eq!(world.count(kept).await, 0);
}

#[tokio::test]
async fn a_run_has_the_context_of_its_job_and_its_jobs_inherit_it() {
    let world = World::new().await;
    let stage = Stage::default();
    acme()
        .scope(async {
            world
                .queue
                .enqueue(NotesContext { fails: false })
                .await
                .unwrap()
        })
        .await;
    world
        .queue
        .enqueue(NotesContext { fails: false })
        .await
        .unwrap();
    acme()
        .scope(async { world.queue.enqueue(NotesContextOnAThread).await.unwrap() })
        .await;

    let app = stage
        .app()
        .register::<NotesContext>()
        .register_blocking::<NotesContextOnAThread>();
    let process = world.start(app, worker("*", 1));
    world.until_all_ended().await;
    process.stop().await;

    let mut notes = stage.notes();
    notes.sort();
    let acme = noted(&acme());
    assert_eq!(notes, ["child", "child", &acme, &acme, "{}"]);
    let children = "jobs where kind = 'note' and tenant = 'acme' and context ->> 'user' = 'ann'";
    assert_eq!(world.count(children).await, 1);
    assert_eq!(
        world
            .count("jobs where kind = 'note' and tenant is null")
            .await,
        1
    );
}

#[tokio::test]
async fn a_context_that_cannot_be_read_is_an_error_before_the_job_begins() {
    let world = World::new().await;
    let stage = Stage::default();
    let job = world
        .queue
        .enqueue(NotesContext { fails: false })
        .await
        .unwrap()
        .id();
    world
        .sql("update queue.jobs set context = '{\"user\": 7}'")
        .await;

    let process = world.start(stage.app().register::<NotesContext>(), worker("*", 1));
    world.until_state(job, "scheduled").await;
    let notes = stage.notes();
    world.sql("update queue.jobs set context = null").await;
    world.make_scheduled_due().await;
    world.until_state(job, "finished").await;
    process.stop().await;

    assert_eq!(notes, Vec::<String>::new());
    let error: String = world
        .value("select ending || ': ' || error from queue.attempts")
        .await;
    assert!(
        error.starts_with("undecodable: the context of the job cannot be read"),
        "{error}"
    );
}

#[tokio::test]
async fn a_context_that_cannot_be_stored_is_refused() {
    let world = World::new().await;
    let large = Context::new().with("note", "x".repeat(9_000));

    let answer = world.queue.enqueue(Note::new("a")).context(large).await;

    assert!(
        matches!(answer, Err(EnqueueError::Context(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn hooks_are_told_where_a_job_comes_from() {
    let world = World::new().await;
    let seen: Arc<Mutex<Vec<Context>>> = Arc::default();
    let noting = Arc::clone(&seen);
    let stage = Stage::default();
    let app = stage
        .app()
        .on_finished(move |job| noting.lock().unwrap().push(job.context.clone()));
    acme()
        .scope(async { world.queue.enqueue(Note::new("a")).await.unwrap() })
        .await;

    let process = world.start(app, worker("*", 1));
    eventually("the hook is called", async || {
        !seen.lock().unwrap().is_empty()
    })
    .await;
    process.stop().await;

    assert_eq!(*seen.lock().unwrap(), [acme()]);
}

/// Returns what is logged meanwhile.
async fn log_of(doing: impl Future<Output = ()>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let file = Mutex::new(File::create(&path).unwrap());
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(file);
    let _logging = logging.set_default();
    doing.await;
    read_to_string(path).unwrap()
}

/// Runs a job that fails once.
async fn run_a_failing_job(with_user: bool) {
    let world = World::new().await;
    let job = acme()
        .scope(async {
            world
                .queue
                .enqueue(NotesContext { fails: true })
                .await
                .unwrap()
        })
        .await;
    let mut settings = worker("*", 1);
    settings.log.user = with_user;
    let process = world.start(Stage::default().app().register::<NotesContext>(), settings);
    world.until("attempts", 1).await;
    process.stop().await;
    assert!(job.is_new());
}

/// Recovers a job whose process has died, and lets a limit discard another one.
async fn recover_and_discard_a_job() {
    let world = World::new().await;
    let limits = || Limits::key("one").to(1).on_conflict(Conflict::Discard);
    let enqueuing = async {
        world
            .queue
            .enqueue(NotesContext { fails: false })
            .await
            .unwrap();
        assert_eq!(world.claim("default", NotesContext::KIND).await.1.len(), 1);
        for _ in 0..2 {
            world
                .queue
                .enqueue(NotesContext { fails: false })
                .limits(limits())
                .await
                .unwrap();
        }
    };
    acme().scope(enqueuing).await;
    world.sql("delete from queue.processes").await;
    let app = Stage::default().app().register::<NotesContext>();
    let process = world.start(app, worker("*", 2));
    world.until("finished where outcome = 'discarded'", 1).await;
    world.until("attempts where ending = 'crash'", 1).await;
    process.stop().await;
}

#[tokio::test]
async fn log_lines_name_the_tenant_the_request_and_the_trace_but_no_person() {
    let log = log_of(run_a_failing_job(false)).await;

    for text in ["it runs", "failed; retrying"] {
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        for origin in ["acme", "r-17", "4bf92f3577b34da6a3ce929d0e0e4736"] {
            assert!(line.contains(origin), "{line}");
        }
    }
    assert!(!log.contains("ann") && !log.contains("locale"), "{log}");
}

#[tokio::test]
async fn log_lines_name_the_tenant_of_jobs_that_were_recovered_or_left_no_room() {
    let log = log_of(recover_and_discard_a_job()).await;

    for text in ["recovered a job", "left no room"] {
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        assert!(line.contains("tenant=\"acme\""), "{line}");
    }
}

#[tokio::test]
async fn log_lines_name_the_user_only_if_they_may() {
    let log = log_of(run_a_failing_job(true)).await;

    for text in ["it runs", "failed; retrying"] {
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        assert!(line.contains("user=\"ann\""), "{line}");
    }
    assert!(!log.contains("locale"), "{log}");
}

#[tokio::test]
async fn jobs_of_a_tenant_are_listed_by_the_command_line() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let note = || async { world.queue.enqueue(Note::new("a")).await.unwrap().id() };
    let first = acme().scope(note()).await;
    note().await;
    Context::new().tenant("globex").scope(note()).await;
    let second = acme().scope(note()).await;

    let listed = shell
        .json(&["jobs", "list", "--tenant", "acme", "--state", "ready"])
        .await;
    let none = shell
        .json(&["jobs", "list", "--tenant", "acme", "--state", "failed"])
        .await;
    let discarded = shell
        .json(&["jobs", "discard", "--tenant", "globex", "--yes"])
        .await;
    let shown = shell.print(&["jobs", "show", &first.to_string()]).await;
    let whole = shell
        .print(&["jobs", "show", &first.to_string(), "--args"])
        .await;

    let ids: Vec<JobId> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|job| JobId(job["id"].as_i64().unwrap()))
        .collect();
    assert_eq!(ids, [second, first]);
    assert_eq!(none, json!([]));
    assert_eq!(world.count("finished").await, 1, "{discarded}");
    assert!(shown.contains("acme") && shown.contains("r-17"), "{shown}");
    assert!(!shown.contains("ann") && whole.contains("ann"), "{whole}");
}

#[tokio::test]
async fn the_layer_for_axum_takes_the_request_and_the_trace_from_the_headers() {
    let world = World::new().await;
    let enqueue = |queue: Queue| async move {
        queue.enqueue(Note::new("a")).await.unwrap();
    };
    let queue = world.queue.clone();
    let router: Router = Router::new()
        .route("/", post(move || enqueue(queue.clone())))
        .layer(from_fn(web::context));
    let request = |id: &str| {
        let request = Request::post("/").header("x-request-id", id);
        let request = request.header("traceparent", TRACEPARENT);
        request.body(Body::empty()).unwrap()
    };

    router.clone().oneshot(request("r-17")).await.unwrap();
    router.clone().oneshot(request("")).await.unwrap();

    let traced = format!("jobs where context ->> 'traceparent' = '{TRACEPARENT}'");
    assert_eq!(world.count(&traced).await, 2);
    assert_eq!(
        world
            .count("jobs where context ->> 'request_id' = 'r-17'")
            .await,
        1
    );
    let made_up = "jobs where length(context ->> 'request_id') = 36";
    assert_eq!(world.count(made_up).await, 1);
}

#[tokio::test]
async fn a_test_process_runs_jobs_in_their_own_context() {
    let world = World::new().await;
    let stage = Stage::default();
    let mut process = TestProcess::new(&world.queue, stage.app().register::<NotesContext>()).await;

    let running = async {
        let enqueuing = world.queue.enqueue(NotesContext { fails: false });
        enqueuing.context(Context::new()).await.unwrap();
        process.drain("default").await;
    };
    acme().scope(running).await;

    assert_eq!(stage.notes()[0], "{}");
}

/// A job that notes the rows that it can read, in a transaction of its own and in a step.
#[derive(Serialize, Deserialize)]
struct Reads;

impl Job for Reads {
    const KIND: &'static str = "reads";
}

impl Perform<Stage> for Reads {
    type Error = BoxError;

    async fn perform(self, cx: Cx<Stage>) -> Result<(), BoxError> {
        let tenant = cx.context().tenant.clone().unwrap_or_default();
        let in_tx = rows(&mut *cx.begin().await?).await;
        cx.state().note(format!("{tenant}: {in_tx}"));
        let in_step = cx.step_tx("read", async |tx| Ok::<_, BoxError>(rows(tx).await));
        let in_step = in_step.await?;
        cx.state().note(format!("{tenant}: {in_step}"));
        Ok(())
    }
}

async fn rows(conn: &mut PgConnection) -> String {
    let query = "select coalesce(string_agg(name, ', '), 'none') from public.invoices";
    let query = sqlx::query_scalar(query).persistent(false);
    query.fetch_one(conn).await.unwrap()
}

/// Creates a table with a policy, and returns a queue on one connection of a role that must obey it.
async fn with_policy(world: &World) -> Queue {
    let role: String = world
        .value("select current_database()::text || '_app'")
        .await;
    for statement in [
        "create table public.invoices (tenant text, name text)",
        "insert into public.invoices values ('acme', 'a1'), ('globex', 'g1')",
        "alter table public.invoices enable row level security",
        "create policy of_tenant on public.invoices
            using (tenant = current_setting('app.tenant', true))",
        &format!("create role {role} login"),
        &format!("grant select on public.invoices to {role}"),
        &format!("grant usage on schema queue to {role}"),
        &format!("grant all on all tables in schema queue to {role}"),
        &format!("grant all on all sequences in schema queue to {role}"),
    ] {
        world.sql(statement).await;
    }
    let options = PgPoolOptions::new().max_connections(1);
    let set_role = format!("set role {role}");
    let options = options.after_connect(move |conn, _| {
        let set_role = set_role.clone();
        Box::pin(async move { conn.execute(AssertSqlSafe(set_role)).await.map(drop) })
    });
    let pool = options.connect_with(world.connect_options()).await.unwrap();
    Queue::new(pool).tenant_setting("app.tenant")
}

#[tokio::test]
async fn a_job_reads_the_rows_of_its_own_tenant_only() {
    let world = World::new().await;
    let queue = with_policy(&world).await;
    let stage = Stage::default();
    let mut process = TestProcess::new(&queue, stage.app().register::<Reads>()).await;

    for context in [
        Context::new().tenant("acme"),
        Context::new().tenant("globex"),
        Context::new(),
    ] {
        queue.enqueue(Reads).context(context).await.unwrap();
    }
    let performed = process.drain("default").await;
    let left = rows(&mut queue.pool().acquire().await.unwrap()).await;
    let current = Context::new().tenant("acme").scope(queue.begin()).await;
    let of_current = rows(&mut current.unwrap()).await;

    performed.iter().for_each(|job| job.assert_done());
    assert_eq!(
        stage.notes(),
        [
            "acme: a1",
            "acme: a1",
            "globex: g1",
            "globex: g1",
            ": none",
            ": none"
        ]
    );
    assert_eq!((left.as_str(), of_current.as_str()), ("none", "a1"));
    drop(process);
    queue.pool().close().await;
    let role: String = world
        .value("select current_database()::text || '_app'")
        .await;
    world.sql(&format!("drop owned by {role}")).await;
    world.sql(&format!("drop role {role}")).await;
}
