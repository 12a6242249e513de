//! A dashboard and commands that read a replica: a hot standby that follows its primary server.

use axum::http::StatusCode;
use queue_core::{Batch, JobId, NewJob, Options, Queue};
use queue_tests::postgres::DedicatedServer;
use queue_tests::world::{eventually, worker};
use queue_worker::dashboard::{Dashboard, Role, Viewer};
use queue_worker::{App, Process, Stop};
use serde_json::json;
use sqlx::PgPool;

use super::Site;
use super::routes::{ROUTES, verbs};
use crate::shell::Shell;

/// A primary server with jobs, and its standby once it has them all.
struct Servers {
    primary: DedicatedServer,
    standby: DedicatedServer,
    pool: PgPool,
    job: JobId,
    batch: i64,
    process: String,
}

impl Servers {
    async fn start() -> Self {
        let primary = DedicatedServer::start().await;
        let standby = primary.standby().await;
        let pool = PgPool::connect_lazy_with(primary.connect_options());
        let queue = Queue::new(pool.clone());
        let untyped = |options| NewJob::untyped("send", &json!({}), options);
        let jobs = [untyped(Options::new()), untyped(Options::new().tag("t"))];
        let job = queue.enqueue_all(jobs).await.unwrap()[0].id();
        let mut batch = Batch::new();
        batch.add_new(untyped(Options::new()));
        let batch = queue.enqueue_batch(batch).await.unwrap().id.0;
        let shell = shell_of(&primary);
        for line in [
            "recurring add default --schedule @daily --kind send",
            "queues pause default --yes",
            "tenants pause default",
        ] {
            shell.print(&line.split(' ').collect::<Vec<_>>()).await;
        }
        let (stop, app) = (Stop::new(), App::new(()));
        let process = Process::new(queue, app, worker("*", 1)).unwrap();
        let running = tokio::spawn(process.run(stop.clone()));
        let listed = async || shell.json(&["processes"]).await[0]["id"].clone();
        eventually("the process has registered", async || {
            listed().await.is_string()
        })
        .await;
        let process = listed().await.as_str().unwrap().to_owned();
        stop.gracefully();
        running.await.unwrap();
        let servers = Self {
            primary,
            standby,
            pool,
            job,
            batch,
            process,
        };
        servers.until_followed().await;
        servers
    }

    async fn until_followed(&self) {
        let asked = "select pg_current_wal_lsn() = replay_lsn from pg_stat_replication";
        eventually("the standby follows", async || {
            let asking = sqlx::query_scalar(asked).fetch_optional(&self.pool);
            asking.await.unwrap() == Some(true)
        })
        .await;
    }

    /// A dashboard of an admin on the standby.
    fn dashboard(&self) -> Site {
        let queue = Queue::new(PgPool::connect_lazy_with(self.standby.connect_options()));
        let dashboard = Dashboard::new(queue);
        Site::of(dashboard.authorize(|_| async { Some(Viewer::new("mira", Role::Admin)) }))
    }
}

fn shell_of(server: &DedicatedServer) -> Shell {
    let mut shell = Shell::without_database();
    shell.url = Some(server.url());
    shell
}

#[tokio::test]
async fn all_pages_of_a_replica_are_read_and_all_acts_are_refused() {
    let servers = Servers::start().await;
    let site = servers.dashboard();

    for (method, path, role) in ROUTES {
        for verb in verbs(method, path) {
            let id = match path.split('/').nth(1) {
                Some("batches") => servers.batch.to_string(),
                Some("processes") => servers.process.clone(),
                _ => servers.job.to_string(),
            };
            let path = path.replace("{verb}", verb).replace("{name}", "default");
            let path = path.replace(
                "/api/v1/batches/{id}",
                &format!("/api/v1/batches/{}", servers.batch),
            );
            let answer = site.send(method, &path.replace("{id}", &id), "").await;
            let is_act = role > Role::Viewer;
            if is_act {
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
                assert!(
                    answer.text.contains("reads a replica"),
                    "{path}: {}",
                    answer.text
                );
            } else {
                assert!(!answer.status.is_server_error(), "{path}: {}", answer.text);
                let is_page =
                    answer.text.starts_with("<!doctype") && answer.status == StatusCode::OK;
                let said = answer.text.contains("Read from a replica, at most");
                assert_eq!(said, is_page, "{path}: {}", answer.text);
            }
        }
    }
    let overview = site.page("/").await;
    assert!(!overview.contains("takes no writes"), "{overview}");
    assert!(!overview.contains("<form method=\"post\""), "{overview}");
}

#[tokio::test]
async fn a_dashboard_of_a_replica_changes_jobs_once_that_is_promoted() {
    let servers = Servers::start().await;
    let site = servers.dashboard();
    let before = site.page("/queues/default").await;
    let promoted = PgPool::connect_lazy_with(servers.standby.connect_options());
    sqlx::query("select pg_promote()")
        .execute(&promoted)
        .await
        .unwrap();

    let is_replica = async || site.page("/").await.contains("Read from a replica");
    eventually("the dashboard finds out", async || !is_replica().await).await;
    let resumed = site
        .press("/queues/default", "/queues/default/resume")
        .await;

    assert!(before.contains("Read from a replica"), "{before}");
    assert_eq!(resumed.status, StatusCode::SEE_OTHER, "{}", resumed.text);
}

#[tokio::test]
async fn commands_that_read_work_on_a_replica_and_others_name_the_primary_server() {
    let servers = Servers::start().await;
    let shell = shell_of(&servers.standby);
    let (job, batch) = (servers.job.to_string(), servers.batch.to_string());

    for line in [
        "jobs",
        "jobs list --state ready",
        &format!("jobs show {job}"),
        "queues",
        "limits",
        "tenants",
        "batches",
        &format!("batches show {batch}"),
        "recurring",
        "recurring show default",
        "processes",
        "stats",
        "migrate status",
    ] {
        shell.print(&line.split(' ').collect::<Vec<_>>()).await;
    }
    let doctor = shell.run(&["doctor"]).await.stdout;
    let doctor = String::from_utf8(doctor).unwrap();
    assert!(doctor.contains("it is a standby"), "{doctor}");
    for line in [
        "enqueue send --force",
        &format!("jobs discard {job} --yes"),
        "queues resume default",
        "recurring pause default",
        "limits set key --to 1",
    ] {
        let refused = shell.refused(3, &line.split(' ').collect::<Vec<_>>()).await;
        assert!(
            refused.contains("give the URL of the primary server"),
            "{line}: {refused}"
        );
    }
    drop(servers.primary);
}
