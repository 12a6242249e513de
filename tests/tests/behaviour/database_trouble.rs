//! The database starts late, goes down, drops connections and answers, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::shell::{Shell, said, stopped_by};
use queue_core::{EnqueueError, Queue, Schema, Unique};
use queue_tests::deeds::{self, Deed, Ledger};
use queue_tests::postgres::DedicatedServer;
use queue_tests::proxy::Proxy;
use queue_tests::soundness::{assert_sound, assert_tables_sound};
use queue_tests::stage::{Note, Stage};
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::{World, eventually};
use queue_worker::{Process, Settings, Stop};
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::task::JoinHandle;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");

/// Settings with short intervals, under which no process is presumed dead.
fn settings(concurrency: usize) -> Settings {
    let mut orders = Orders::to(String::new());
    orders.concurrency = concurrency;
    orders.dead_after = Duration::from_secs(20);
    orders.settings()
}

/// A worker process that runs inside the test.
pub(crate) struct Worker {
    stop: Stop,
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts one on `options`, while its jobs write to the ledger through `ledger`.
    pub(crate) fn start(options: PgConnectOptions, ledger: &PgPool, settings: Settings) -> Self {
        let queue = Queue::new(PgPoolOptions::new().connect_lazy_with(options));
        let app = deeds::app(ledger.clone());
        let process = Process::new(queue, app, settings).expect("a valid process");
        let stop = Stop::new();
        let task = tokio::spawn(process.run(stop.clone()));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.gracefully();
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .expect("the process should end")
            .expect("the process should not panic");
    }
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(5)
        .acquire_timeout(Duration::from_secs(20))
        .connect_lazy_with(options)
}

/// Counts rows; returns nothing if the database does not answer.
async fn count(pool: &PgPool, of: &str) -> Option<i64> {
    let statement = format!("select count(*) from {of}");
    let counting = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(pool);
    counting.await.ok()
}

async fn until(pool: &PgPool, of: &str, rows: i64) {
    let what = format!("there are {rows} rows in {of}");
    eventually(&what, async || count(pool, of).await == Some(rows)).await;
}

async fn enqueue(pool: &PgPool, deeds: impl IntoIterator<Item = Deed>) {
    let queue = Queue::new(pool.clone());
    let enqueueing = queue.enqueue_many(deeds);
    enqueueing
        .with(|options| options.crashes(100))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_worker_that_starts_before_its_database_waits_for_it() {
    let mut server = DedicatedServer::start().await;
    let ledger = pool(server.connect_options());
    Ledger::build(&ledger).await;
    enqueue(&ledger, [Deed::Quick]).await;
    server.stop_server().await;

    let mut victim = Victim::start(WORKER, &Orders::to(server.url()));
    server.start_server().await;

    until(&ledger, "queue.finished", 1).await;
    victim.terminate();
    assert!(victim.ended().await.success());
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_worker_whose_database_never_answered_stops_on_request() {
    let nowhere = "postgres://nobody@localhost/none?host=/nonexistent".to_owned();
    let mut victim = Victim::start(WORKER, &Orders::to(nowhere));

    eventually("the worker listens for signals", async || {
        listens_for_term(victim.pid())
    })
    .await;
    victim.terminate();

    assert!(victim.ended().await.success());
}

/// Returns whether the kernel lists a handler for TERM for a process.
fn listens_for_term(pid: i32) -> bool {
    const TERM_BIT: u64 = 1 << 14;

    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & TERM_BIT != 0)
}

#[tokio::test]
async fn a_worker_without_tables_works_once_they_exist() {
    let world = World::new().await;
    world.sql("drop schema queue cascade").await;
    Ledger::build(world.pool()).await;
    let missing = world.queue.enqueue(Deed::Quick).await;
    assert!(matches!(missing, Err(EnqueueError::NotMigrated(_))));
    let refused = "select xact_rollback from pg_stat_database where datname = current_database()";
    let before: i64 = world.value(refused).await;
    let options = (*world.pool().connect_options()).clone();
    let worker = Worker::start(options, world.pool(), settings(2));
    eventually("the worker has looked for the tables", async || {
        world.value::<i64>(refused).await > before
    })
    .await;

    let mut conn = world.connect().await;
    queue_core::migrate::migrate(&mut conn, &Schema::default())
        .await
        .unwrap();
    world.queue.enqueue(Deed::Quick).await.unwrap();

    world.until("finished", 1).await;
    worker.stop().await;
}

/// Terminates random other connections to a database until `enough` is set.
async fn terminate_at_random(options: PgConnectOptions, enough: Arc<AtomicBool>) -> u32 {
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    let mut terminated = 0;
    while !enough.load(Ordering::Relaxed) {
        let ended: i64 = sqlx::query_scalar(
            "select count(*) from (
                select pg_terminate_backend(pid)
                from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and random() < 0.3
            ) as ended",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        terminated += u32::try_from(ended).unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    terminated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminating_random_connections_loses_and_repeats_no_job() {
    let world = World::new().await;
    let options = (*world.pool().connect_options()).clone();
    let ledger = pool(options.clone());
    Ledger::build(&ledger).await;
    enqueue(&ledger, vec![Deed::Quick; 3_000]).await;

    let workers = [(); 2].map(|()| Worker::start(options.clone(), &ledger, settings(10)));
    let enough = Arc::new(AtomicBool::new(false));
    let terminating = tokio::spawn(terminate_at_random(options, Arc::clone(&enough)));
    eventually("most jobs are done", async || {
        count(&ledger, "queue.finished").await >= Some(2_500)
    })
    .await;
    enough.store(true, Ordering::Relaxed);

    assert!(terminating.await.unwrap() > 20);
    until(&ledger, "queue.finished where outcome = 'done'", 3_000).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(count(&ledger, "queue.claimed").await, Some(0));
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_random_answers_loses_and_repeats_no_job() {
    let world = World::new().await;
    let options = (*world.pool().connect_options()).clone();
    let ledger = pool(options.clone());
    Ledger::build(&ledger).await;
    let proxy = Proxy::before(&options);
    enqueue(&ledger, vec![Deed::Quick; 2_000]).await;

    proxy.lose_one_in(6);
    let worker = || Worker::start(proxy.connect_options(), &ledger, settings(10));
    let workers = [worker(), worker()];
    eventually("some answers are lost", async || proxy.lost() >= 15).await;
    proxy.lose_one_in(0);

    until(&ledger, "queue.finished where outcome = 'done'", 2_000).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(count(&ledger, "queue.claimed").await, Some(0));
    assert_eq!(count(&ledger, "queue.processes").await, Some(0));
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn jobs_are_released_and_run_when_the_answer_to_their_claim_is_lost() {
    let world = World::new().await;
    let options = (*world.pool().connect_options()).clone();
    Ledger::build(world.pool()).await;
    let proxy = Proxy::before(&options);
    proxy.lose_one("-- ready -> claimed");
    let worker = Worker::start(proxy.connect_options(), world.pool(), settings(4));

    enqueue(world.pool(), vec![Deed::Quick; 3]).await;

    world.until("finished where outcome = 'done'", 3).await;
    assert_eq!(proxy.lost(), 1);
    assert_eq!(world.count("attempts").await, 0);
    worker.stop().await;
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn a_hook_runs_once_when_the_answer_to_a_completion_is_lost() {
    let world = World::new().await;
    let options = (*world.pool().connect_options()).clone();
    Ledger::build(world.pool()).await;
    let proxy = Proxy::before(&options);
    proxy.lose_one("-- claimed -> finished (done)");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let app = deeds::app(world.pool().clone()).on_finished(move |job| {
        let _told = tell.send(job.job_id);
    });
    let queue = Queue::new(PgPoolOptions::new().connect_lazy_with(proxy.connect_options()));
    let process = Process::new(queue, app, settings(4)).unwrap();
    let stop = Stop::new();
    let task = tokio::spawn(process.run(stop.clone()));

    let enqueued = world.queue.enqueue(Deed::Quick).await.unwrap();

    let first = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
    assert_eq!(first.unwrap(), Some(enqueued.id()));
    assert_eq!(proxy.lost(), 1);
    stop.gracefully();
    task.await.unwrap();
    assert!(told.try_recv().is_err());
    assert_sound(world.pool()).await;
}

/// How a server goes down.
#[derive(Clone, Copy)]
enum Down {
    Stopped,
    Crashed,
}

async fn survives(how: Down) {
    let mut server = DedicatedServer::start().await;
    let ledger = pool(server.connect_options());
    Ledger::build(&ledger).await;
    enqueue(&ledger, vec![Deed::Quick; 2_000]).await;
    let workers = [(); 2].map(|()| Worker::start(server.connect_options(), &ledger, settings(10)));

    for round in 1..=2 {
        eventually("some more jobs are done", async || {
            count(&ledger, "queue.finished").await >= Some(round * 300)
        })
        .await;
        match how {
            Down::Stopped => server.stop_server().await,
            Down::Crashed => server.crash_server().await,
        }
        let impatient = PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(200))
            .connect_lazy_with(server.connect_options());
        let refused = Queue::new(impatient).enqueue(Deed::Quick).await;
        assert!(matches!(refused, Err(EnqueueError::Database(_))));
        server.start_server().await;
    }

    until(&ledger, "queue.finished where outcome = 'done'", 2_000).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(count(&ledger, "queue.claimed").await, Some(0));
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarting_the_server_loses_and_repeats_no_job() {
    survives(Down::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_crash_loses_and_repeats_no_job() {
    survives(Down::Crashed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_finish_while_the_database_is_down_are_recorded_afterwards() {
    let mut server = DedicatedServer::start().await;
    let ledger = pool(server.connect_options());
    Ledger::build(&ledger).await;
    let worker = Worker::start(server.connect_options(), &ledger, settings(4));
    enqueue(&ledger, vec![Deed::Gate("gate".to_owned()); 4]).await;
    until(&ledger, "ledger.runs", 4).await;

    server.stop_server().await;
    server.start_server().await;
    eventually("the gate can be opened", async || {
        count(&ledger, "queue.jobs").await.is_some()
    })
    .await;
    Ledger::open_gate(&ledger, "gate").await;

    until(
        &ledger,
        "queue.finished where outcome = 'done' and attempt = 1",
        4,
    )
    .await;
    worker.stop().await;
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_logged_once_and_its_end_once() {
    let mut server = DedicatedServer::start().await;
    let mut shell = Shell::without_database();
    shell.url = Some(server.url());
    shell.print(&["migrate"]).await;
    let pool = pool(server.connect_options());
    let child = shell.command(&["start"]).spawn().unwrap();
    until(&pool, "queue.processes", 1).await;

    server.stop_server().await;
    // Every part of the process retries several times meanwhile.
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.start_server().await;
    shell.print(&["enqueue", "send"]).await;
    until(&pool, "queue.finished", 1).await;
    let log = said(&stopped_by(child, Signal::TERM).await);

    let lines = |level: &str| log.lines().filter(|line| line.contains(level)).count();
    assert!((1..=4).contains(&lines(" WARN ")), "{log}");
    assert_eq!(lines(" ERROR "), 0, "{log}");
    assert_eq!(lines("the database answers again"), 1, "{log}");
}

/// The parts of a process that hold a connection after a job: claims, the completer, the heartbeat, and all
/// services together. Sweeps connect only when there may be late jobs.
const PARTS: i64 = 4;

async fn connections(world: &World) -> i64 {
    let counting = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name like 'queue %'";
    world.value(counting).await
}

/// Makes a role for workers, and returns its name.
async fn worker_role(world: &World) -> String {
    let role: String = world.value("select current_database() || '_worker'").await;
    world
        .sql(&format!("create role {role} superuser login"))
        .await;
    role
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_while_logins_are_refused_is_recorded_once() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let role = worker_role(&world).await;
    let proxy = Proxy::before(&world.connect_options());
    let options = proxy.connect_options().username(&role);
    let worker = Worker::start(options, world.pool(), settings(4));
    enqueue(world.pool(), [Deed::DeafGate("gate".to_owned())]).await;
    world.until("claimed", 1).await;
    eventually("the job runs", async || {
        Ledger::runs_where(world.pool(), "true").await.unwrap() == 1
    })
    .await;

    world.sql(&format!("alter role {role} nologin")).await;
    let terminate =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
    world.sql(&terminate).await;
    Ledger::open_gate(world.pool(), "gate").await;
    let before = proxy.accepted();
    eventually(
        "every service has tried to log in several times",
        async || proxy.accepted() > before + 40,
    )
    .await;
    world.sql(&format!("alter role {role} login")).await;

    world
        .until("finished where outcome = 'done' and attempt = 1", 1)
        .await;
    assert_eq!(Ledger::runs_where(world.pool(), "true").await.unwrap(), 1);
    assert_eq!(world.count("attempts").await, 0);
    worker.stop().await;
    world.sql(&format!("drop role {role}")).await;
    assert_sound(world.pool()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_waits_for_a_lock_delays_no_other() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let options = (*world.pool().connect_options()).clone();
    let worker = Worker::start(options, world.pool(), settings(50));
    enqueue(world.pool(), vec![Deed::DeafGate("gate".to_owned()); 40]).await;
    world.until("claimed", 40).await;

    let mut conn = world.connect().await;
    let mut tx = conn.begin().await.unwrap();
    let locked: i64 =
        sqlx::query_scalar("select job_id from queue.claimed order by job_id limit 1 for update")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    Ledger::open_gate(world.pool(), "gate").await;
    world.until("finished", 39).await;
    enqueue(world.pool(), vec![Deed::Quick; 10]).await;
    world.until("finished", 49).await;
    tx.rollback().await.unwrap();

    world
        .until("finished where outcome = 'done' and attempt = 1", 50)
        .await;
    world
        .until(&format!("finished where job_id = {locked}"), 1)
        .await;
    worker.stop().await;
    assert_sound(world.pool()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_the_server_rejects_is_retried_until_accepted() {
    let world = World::new().await;
    Ledger::build(world.pool()).await;
    let refuse = "create function ledger.refuse() returns trigger language plpgsql as $$
        begin
            raise exception 'not today' using errcode = 'P0001';
        end $$";
    world.sql(refuse).await;
    let trigger = "create trigger refuse before insert on queue.finished
        for each row execute function ledger.refuse()";
    world.sql(trigger).await;
    let proxy = Proxy::before(&world.connect_options());
    let worker = Worker::start(proxy.connect_options(), world.pool(), settings(4));
    enqueue(world.pool(), vec![Deed::Quick; 3]).await;
    eventually("all jobs have run", async || {
        Ledger::runs_where(world.pool(), "true").await.unwrap() == 3
    })
    .await;
    // Each rejection costs a connection.
    let before = proxy.accepted();
    eventually("completions were rejected", async || {
        proxy.accepted() > before + 5
    })
    .await;

    world.sql("drop trigger refuse on queue.finished").await;

    world
        .until("finished where outcome = 'done' and attempt = 1", 3)
        .await;
    worker.stop().await;
    assert_sound(world.pool()).await;
}

#[tokio::test]
async fn every_service_reconnects_after_its_connection_was_terminated() {
    let world = World::new().await;
    let options = (*world.pool().connect_options()).clone();
    Ledger::build(world.pool()).await;
    let mut settings = settings(4);
    settings.maintenance.interval = Duration::from_millis(100);
    settings.retention.finished = Some(Duration::ZERO);
    let worker = Worker::start(options, world.pool(), settings);
    enqueue(world.pool(), [Deed::Quick]).await;
    world.until("jobs", 0).await;

    for _ in 0..2 {
        eventually("every part is connected", async || {
            connections(&world).await >= PARTS
        })
        .await;
        world
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name like 'queue %'",
            )
            .await;

        // Promoted, claimed, finished, cleared.
        let later = world
            .queue
            .enqueue(Deed::Quick)
            .delay(Duration::from_millis(100));
        later.await.unwrap();
        world.until("jobs", 0).await;
        // Recovered, because its process has no row.
        world
            .queue
            .enqueue(Deed::Quick)
            .queue("stray")
            .at(far())
            .await
            .unwrap();
        let stray = "with stray as (
                delete from queue.scheduled returning job_id
            )
            insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes)
            select job_id, job_id, gen_random_uuid(), 1, 0, 0 from stray";
        assert_eq!(world.sql(stray).await, 1);
        world.until("jobs", 0).await;
        // The heartbeat.
        world
            .sql("update queue.processes set heartbeat_at = 'epoch'")
            .await;
        world
            .until("processes where heartbeat_at > 'epoch'", 1)
            .await;
    }

    worker.stop().await;
}

fn far() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now() + chrono::Duration::days(1)
}

#[tokio::test]
async fn defaults_of_the_database_disturb_neither_processes_nor_enqueueing() {
    let world = World::new().await;
    let name: String = world.value("select current_database()::text").await;
    for default in [
        "default_transaction_isolation = serializable",
        "search_path = nowhere",
        "datestyle = 'SQL, DMY'",
    ] {
        world
            .sql(&format!("alter database {name} set {default}"))
            .await;
    }
    let queue = Queue::new(pool(world.connect_options()));
    let stage = Stage::default();
    let process = Process::new(queue.clone(), stage.app(), settings(20)).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));

    let mut enqueuing = tokio::task::JoinSet::new();
    for task in 0..5 {
        let queue = queue.clone();
        enqueuing.spawn(async move {
            for n in 0..60 {
                let unique = Unique::by_key(format!("{}", n % 7));
                let request = queue
                    .enqueue(Note::new(format!("{task} {n}")))
                    .unique(unique);
                let _ = request.await.unwrap();
            }
        });
    }
    enqueuing.join_all().await;
    world.until_all_ended().await;
    stop.gracefully();
    running.await.unwrap();
    assert_eq!(world.count("attempts").await, 0);
    assert_tables_sound(world.pool()).await;
}

#[tokio::test]
async fn an_enqueue_on_a_read_only_database_says_that_it_takes_no_writes() {
    let world = World::new().await;
    let name: String = world.value("select current_database()::text").await;
    world
        .sql(&format!(
            "alter database {name} set default_transaction_read_only = on"
        ))
        .await;

    let queue = Queue::new(pool(world.connect_options()));
    let refused = queue.enqueue(Note::new("a")).await;
    let said = Shell::on(&world)
        .refused(3, &["enqueue", "greet", "--force"])
        .await;

    assert!(matches!(refused, Err(EnqueueError::ReadOnly(_))));
    assert!(said.contains("takes no writes"), "{said}");
    assert!(!said.contains("lost the connection"), "{said}");
}
