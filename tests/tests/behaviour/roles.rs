//! The roles of `deploy/roles.sql`, on tables that belong to another role.

use std::time::Duration;

use crate::shell::{Shell, get, stopped_by};
use queue_core::operations::queues::set_fair;
use queue_core::{Batch, Context, Limits, NewJob, Queue, Unique};
use queue_tests::deeds::{Deed, Ledger};
use queue_tests::postgres::DedicatedServer;
use queue_tests::soundness::assert_sound;
use queue_tests::victim::{Orders, Victim};
use queue_tests::world::eventually;
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::spawn_blocking;

const WORKER: &str = env!("CARGO_BIN_EXE_test-worker");
const ROLES: &str = include_str!("../../../deploy/roles.sql");

/// A server of its own, because roles belong to a whole server, and the pool of its superuser.
async fn server() -> (DedicatedServer, PgPool) {
    let server = DedicatedServer::start().await;
    let owner = PgPool::connect_lazy_with(server.connect_options());
    sqlx::raw_sql(ROLES).execute(&owner).await.unwrap();
    Ledger::build(&owner).await;
    (server, owner)
}

/// Makes a login role `app` that is a member of a role, and returns its pool.
async fn app(server: &DedicatedServer, owner: &PgPool, role: &str) -> PgPool {
    let create = format!("create role app login in role {role}");
    execute(owner, &create).await.unwrap();
    PgPool::connect_lazy_with(server.connect_options().username("app"))
}

/// Returns the URL of the server for the role `app`.
fn url(server: &DedicatedServer) -> String {
    server.url().replacen("queue@", "app@", 1)
}

async fn execute(pool: &PgPool, statement: &str) -> Result<u64, sqlx::Error> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    Ok(done.execute(pool).await?.rows_affected())
}

/// Asserts that the rights of a role do not suffice for a statement.
async fn assert_denied(pool: &PgPool, statement: &str) {
    let error = execute(pool, statement).await.unwrap_err();
    let code = error.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
}

async fn until_finished(pool: &PgPool, jobs: i64) {
    eventually(&format!("{jobs} jobs have ended"), async || {
        let counting = sqlx::query_scalar("select count(*) from queue.finished");
        counting.fetch_one(pool).await.ok() == Some(jobs)
    })
    .await;
}

#[tokio::test]
async fn a_worker_role_runs_jobs_and_commands_and_owns_nothing() {
    let (server, owner) = server().await;
    let pool = app(&server, &owner, "queue_worker").await;
    let ledger =
        "grant usage on schema ledger to app; grant all on all tables in schema ledger to app";
    execute(&owner, ledger).await.unwrap();
    let queue = Queue::new(pool.clone());
    let mut shell = Shell::without_database();
    shell.url = Some(url(&server));

    let cancelled = queue.enqueue(Deed::Long).delay(Duration::from_secs(600));
    let cancelled = cancelled.await.unwrap();
    let deeds = [Deed::Quick, Deed::Two, Deed::Parent(2), Deed::Walk(3)];
    queue.enqueue_many(deeds).await.unwrap();
    shell.print(&["queues", "pause", "default"]).await;
    shell.print(&["queues", "resume", "default"]).await;
    let id = cancelled.id().to_string();
    shell.print(&["jobs", "cancel", &id]).await;
    let mut victim = Victim::start(WORKER, &Orders::to(url(&server)));
    until_finished(&owner, 7).await;
    victim.terminate();
    assert!(victim.ended().await.success());
    assert_sound(&owner).await;

    assert_denied(&pool, "create table queue.mine ()").await;
    assert_denied(&pool, "drop table queue.jobs").await;
    assert_denied(&pool, "delete from queue.migrations").await;
    execute(&owner, "create table queue.later (id int)")
        .await
        .unwrap();
    execute(&pool, "insert into queue.later values (1)")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_enqueuer_role_enqueues_in_every_way_but_batches_and_reads_no_arguments() {
    let (server, owner) = server().await;
    let pool = app(&server, &owner, "queue_enqueuer").await;
    let queue = Queue::new(pool.clone());
    let mut conn = owner.acquire().await.unwrap();
    let is_set = set_fair(&mut conn, queue.schema(), "fair", true).await;
    assert!(is_set.unwrap());
    let alone = || Limits::key("k").to(1);

    queue.enqueue(Deed::Quick).await.unwrap();
    let later = queue.enqueue(Deed::Quick).delay(Duration::from_secs(600));
    later.await.unwrap();
    for _ in 0..2 {
        let only = queue.enqueue(Deed::Quick).unique(Unique::by_key("only"));
        only.await.unwrap();
    }
    let mut tx = pool.begin().await.unwrap();
    let limited = queue.enqueue(Deed::Quick).limits(alone());
    limited.tx(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let of_tenant = queue.enqueue(Deed::Quick).queue("fair");
    let of_tenant = of_tenant.context(Context::default().tenant("acme"));
    of_tenant.await.unwrap();
    let jobs = || {
        let new = || NewJob::of(&Deed::Quick).unwrap();
        [0; 2].map(|_| new().with(|options| options.limits(alone())))
    };
    queue.enqueue_all(jobs()).await.unwrap();
    queue.copy_jobs(jobs().map(Ok)).await.unwrap();
    let jobs = sqlx::query_scalar("select count(*) from queue.jobs");
    assert_eq!(jobs.fetch_one(&owner).await.ok(), Some(9_i64));

    assert!(queue.enqueue_batch(Batch::new()).await.is_err());
    assert_denied(&pool, "select args from queue.jobs").await;
    assert_denied(&pool, "update queue.ready set priority = 1").await;
    assert_denied(&pool, "delete from queue.ready").await;
    assert_denied(&pool, "select from queue.signing_key").await;
}

#[tokio::test]
async fn a_viewer_role_reads_all_and_changes_nothing() {
    let (server, owner) = server().await;
    let pool = app(&server, &owner, "queue_viewer").await;
    Queue::new(owner.clone())
        .enqueue(Deed::Quick)
        .await
        .unwrap();
    let mut shell = Shell::without_database();
    shell.url = Some(url(&server));

    assert_eq!(shell.json(&["jobs"]).await.as_array().unwrap().len(), 1);
    shell.print(&["stats"]).await;
    let findings = shell.run(&["doctor"]).await;
    let findings = String::from_utf8(findings.stdout).unwrap();
    assert!(findings.contains("no process"), "{findings}");
    assert!(!findings.contains("lacks"), "{findings}");
    let said = shell.refused(1, &["queues", "pause", "default"]).await;
    assert!(said.contains("permission denied"), "{said}");

    assert_denied(&pool, "delete from queue.ready").await;
    assert_denied(&pool, "select from queue.signing_key").await;
    execute(&owner, "create table queue.later (id int)")
        .await
        .unwrap();
    execute(&pool, "select from queue.later").await.unwrap();
}

#[tokio::test]
async fn a_viewer_role_serves_a_dashboard_that_is_read_only() {
    let (server, owner) = server().await;
    app(&server, &owner, "queue_viewer").await;
    let deed = Queue::new(owner).enqueue(Deed::Quick).await.unwrap();
    let mut shell = Shell::without_database();
    shell.url = Some(url(&server));
    let token = "a token of at least thirty-two bytes";
    let (child, address) = shell.dashboard(&[
        ("QUEUE_DASHBOARD_TOKEN", token),
        ("QUEUE_DASHBOARD_READ_ONLY", "true"),
    ]);

    let job = format!("/jobs/{}", deed.id());
    for page in ["", "/jobs?state=ready", &job, "/queues", "/metrics"] {
        let (address, path) = (address.clone(), format!("/ops/jobs{page}"));
        let asking = spawn_blocking(move || get(&address, &path, "Bearer", token));
        let answer = asking.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{page}: {answer}");
    }
    stopped_by(child, Signal::TERM).await;
}
