//! Processes and producers behind a pooler.

use std::time::Duration;

use queue_core::{JobId, Queue, Unique};
use queue_tests::pgbouncer::{PgBouncer, PoolMode};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, eventually, worker};
use queue_worker::config::ServerUrl;
use queue_worker::{App, PLANNER_SETTINGS, Process, Settings, Stop};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Row as _};
use tokio::task::JoinHandle;

use crate::shell::{Shell, said};

const MODES: [PoolMode; 2] = [PoolMode::Session, PoolMode::Transaction];

/// The options of an application behind a pooler.
fn options(world: &World, bouncer: &PgBouncer) -> PgConnectOptions {
    let options: PgConnectOptions = bouncer.url(&world.connect_options()).parse().unwrap();
    options.extra_float_digits(None)
}

fn queue(world: &World, bouncer: &PgBouncer, mode: PoolMode) -> Queue {
    let queue = Queue::new(PgPool::connect_lazy_with(options(world, bouncer)));
    match mode {
        PoolMode::Session => queue,
        PoolMode::Transaction => queue.transaction_pooler(),
    }
}

fn start<S: Send + Sync + 'static>(
    queue: &Queue,
    app: App<S>,
    settings: Settings,
) -> (Stop, JoinHandle<()>) {
    let stop = Stop::new();
    let process = Process::new(queue.clone(), app, settings).unwrap();
    (stop.clone(), tokio::spawn(process.run(stop)))
}

#[tokio::test]
async fn jobs_are_enqueued_and_run_through_a_pooler_in_both_modes() {
    for mode in MODES {
        let world = World::new().await;
        let stage = Stage::default();
        // In transaction mode fewer servers than clients, so that they are shared.
        let servers = if mode == PoolMode::Session { 40 } else { 3 };
        let bouncer = PgBouncer::start(mode, &world.connect_options(), servers);
        let queue = queue(&world, &bouncer, mode);
        let (stop, running) = start(&queue, stage.app(), worker("*", 4));

        let notes = (0..50).map(|n| Note::new(format!("{n}")));
        queue.enqueue_many(notes).await.unwrap();
        let unique = || queue.enqueue(Note::new("u")).unique(Unique::by_key("u"));
        let later = unique().delay(Duration::from_millis(500)).await.unwrap();
        assert_eq!(unique().await.unwrap().id(), later.id());
        let copied = queue_core::NewJob::of(&Note::new("copied"));
        queue.copy_jobs([copied]).await.unwrap();
        world.until("finished where outcome = 'done'", 52).await;

        let id = queue
            .enqueue(Note::new("x"))
            .delay(Duration::from_secs(600))
            .await;
        queue.cancel(id.unwrap().id()).await.unwrap();
        stop.gracefully();
        running.await.unwrap();
        assert_eq!(world.count("processes").await, 0);
        assert_eq!(world.count("finished where outcome = 'cancelled'").await, 1);
    }
}

#[tokio::test]
async fn in_transaction_mode_no_setting_reaches_another_client() {
    let world = World::new().await;
    let stage = Stage::default();
    let bouncer = PgBouncer::start(PoolMode::Transaction, &world.connect_options(), 2);
    let queue = queue(&world, &bouncer, PoolMode::Transaction);
    let read = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings
        where name in ('enable_seqscan', 'enable_hashjoin', 'plan_cache_mode', 'jit', 'search_path',
            'statement_timeout', 'lock_timeout', 'synchronous_commit', 'application_name')";
    let mut other = options(&world, &bouncer)
        .application_name("other")
        .connect()
        .await
        .unwrap();
    let settings = async |conn: &mut sqlx::PgConnection| -> String {
        sqlx::raw_sql(read).fetch_one(conn).await.unwrap().get(0)
    };
    let before = settings(&mut other).await;
    let (stop, running) = start(&queue, stage.app(), worker("*", 4));

    for n in 0..200 {
        queue.enqueue(Note::new(format!("{n}"))).await.unwrap();
        assert_eq!(settings(&mut other).await, before);
    }
    world.until("finished", 200).await;

    stop.gracefully();
    running.await.unwrap();
    other.close().await.unwrap();
}

/// Defaults of a database that would disturb a process.
const DEFAULTS: [&str; 4] = [
    "default_transaction_isolation = serializable",
    "default_transaction_read_only = on",
    "search_path = nowhere",
    "statement_timeout = '1s'",
];

/// Notes the settings with which the statements of a process run that claim and end jobs.
const NOTE_SETTINGS: [&str; 4] = [
    "create table public.noted (name text, setting text)",
    "create function public.note() returns trigger language plpgsql as
        'begin insert into public.noted select name, setting from pg_settings; return null; end'",
    "create trigger note after insert on queue.claimed execute function public.note()",
    "create trigger note after insert on queue.finished execute function public.note()",
];

#[tokio::test]
async fn in_both_modes_the_statements_of_a_process_run_with_its_settings() {
    for mode in MODES {
        let world = World::new().await;
        let stage = Stage::default();
        world.queue.enqueue(Note::new("a")).await.unwrap();
        let name: String = world.value("select current_database()::text").await;
        let defaults = DEFAULTS.map(|default| format!("alter database {name} set {default}"));
        // A new connection would already have the defaults, and could not set the others.
        let mut conn = world.connect().await;
        for statement in NOTE_SETTINGS
            .into_iter()
            .chain(defaults.iter().map(|set| &**set))
        {
            let statement = AssertSqlSafe(statement.to_owned());
            sqlx::query(statement).execute(&mut conn).await.unwrap();
        }
        let bouncer = PgBouncer::start(mode, &world.connect_options(), 40);
        let queue = queue(&world, &bouncer, mode);
        let (stop, running) = start(&queue, stage.app(), worker("*", 4));

        world.until("finished", 1).await;

        let others = [
            ("transaction_isolation", "read committed"),
            ("search_path", "pg_catalog"),
            ("statement_timeout", "25000"),
        ];
        for (name, value) in PLANNER_SETTINGS.into_iter().chain(others) {
            let noted = format!(
                "select array_agg(distinct setting) from public.noted where name = '{name}'"
            );
            let noted: Vec<String> = world.value(&noted).await;
            assert_eq!(noted, [value], "{mode:?}: {name}");
        }
        stop.gracefully();
        running.await.unwrap();
    }
}

/// Returns how a job fares whose process would poll only in an hour.
async fn wakes(world: &World, queue: &Queue, listen_url: Option<ServerUrl>) -> JobId {
    let stage = Stage::default();
    let mut settings = worker("*", 4);
    settings.workers[0].poll_interval = Duration::from_secs(3_600);
    settings.process.notifications = true;
    settings.process.listen_url = listen_url;
    let (stop, running) = start(queue, stage.app(), settings);
    world.until("idle_processes", 1).await;

    let id = world.queue.enqueue(Note::new("now")).await.unwrap().id();
    stage.noted("now").await;

    stop.gracefully();
    running.await.unwrap();
    id
}

#[tokio::test]
async fn in_transaction_mode_notifications_come_by_the_url_of_the_server() {
    let world = World::new().await;
    let bouncer = PgBouncer::start(PoolMode::Transaction, &world.connect_options(), 5);
    let queue = queue(&world, &bouncer, PoolMode::Transaction);

    let id = wakes(&world, &queue, Some(ServerUrl(world.url()))).await;

    assert_eq!(world.state(id).await, "finished");
}

#[tokio::test]
async fn a_program_says_that_its_pooler_is_in_transaction_mode_and_its_commands_use_the_server() {
    let world = World::new().await;
    let bouncer = PgBouncer::start(PoolMode::Transaction, &world.connect_options(), 5);
    let mut shell = Shell::on(&world);
    shell.url = Some(bouncer.url(&world.connect_options()));

    let said_by_command = shell.refused(2, &["enqueue", "send"]).await;
    let mut enqueue = shell.command(&["enqueue", "send"]);
    let enqueued = enqueue
        .env("QUEUE_LISTEN_URL", world.url())
        .output()
        .unwrap();
    let process = shell.command(&["start"]).spawn().unwrap();
    eventually("the job is finished", async || {
        world.count("finished where outcome = 'done'").await == 1
    })
    .await;
    let process = crate::shell::stopped_by(process, rustix::process::Signal::TERM).await;

    assert!(
        said_by_command.contains("QUEUE_LISTEN_URL"),
        "{said_by_command}"
    );
    assert!(enqueued.status.success(), "{}", said(&enqueued));
    assert!(process.status.success());
    let said = said(&process);
    let mode = "connected through a pooler in transaction mode";
    assert!(said.contains(mode), "{said}");
    assert!(said.contains("only polls"), "{said}");
}
