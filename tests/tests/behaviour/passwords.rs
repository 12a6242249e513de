//! Passwords in a password file, which change while programs run.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::shell::{Shell, get, said, stopped_by};
use queue_core::{NewJob, Options, Queue};
use queue_tests::postgres::DedicatedServer;
use queue_tests::world::{World, eventually};
use rustix::process::Signal;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

const TOKEN: &str = "a token of at least thirty-two bytes";

/// A server that asks the role `app` for a password, which is in a file.
struct Guarded {
    server: DedicatedServer,
    owner: PgPool,
    folder: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let server = DedicatedServer::start().await;
        let owner = PgPool::connect_lazy_with(server.connect_options());
        let rules = "local all queue trust\nlocal all app scram-sha-256\n";
        fs::write(server.data_dir().join("pg_hba.conf"), rules).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let guarded = Self {
            server,
            owner,
            folder,
        };
        guarded.execute("select pg_reload_conf()").await;
        guarded.execute("create role app superuser login").await;
        guarded.set_password("first").await;
        guarded
    }

    /// Changes the password of the role and in the file, and ends all connections of the role.
    async fn set_password(&self, password: &str) {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.file()).unwrap();
        writeln!(file, "*:*:*:app:{password}").unwrap();
        let change = format!("alter role app password '{password}'");
        self.execute(&change).await;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
        self.execute(end).await;
    }

    async fn execute(&self, statement: &str) {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        statement.execute(&self.owner).await.unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("passwords")
    }

    async fn accepts(&self, password: &str) -> bool {
        let options = self.server.connect_options().username("app");
        let pool = PgPool::connect_with(options.password(password));
        pool.await.is_ok()
    }

    fn shell(&self) -> Shell {
        let mut shell = Shell::without_database();
        shell.url = Some(self.server.url().replacen("queue@", "app@", 1));
        shell
    }
}

#[tokio::test]
async fn a_worker_process_takes_a_new_password_for_itself_and_for_its_jobs() {
    let guarded = Guarded::start().await;
    let queue = Queue::new(guarded.owner.clone());
    let shell = guarded.shell();
    let mut start = shell.command(&["start"]);
    let process = start.env("PGPASSFILE", guarded.file()).spawn().unwrap();
    // A job that enqueues another one by the pool of the process.
    let run = async |ended: i64| {
        let relay = NewJob::untyped("relay", &json!({}), Options::new());
        let _ = queue.enqueue_all([relay]).await.unwrap();
        eventually(&format!("{ended} jobs have ended"), async || {
            let counting = sqlx::query_scalar("select count(*) from queue.finished");
            counting.fetch_one(&guarded.owner).await.ok() == Some(ended)
        })
        .await;
    };
    run(2).await;

    guarded.set_password("second").await;
    run(4).await;

    assert!(guarded.accepts("second").await);
    assert!(!guarded.accepts("first").await);
    assert!(stopped_by(process, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn a_dashboard_takes_a_new_password() {
    let guarded = Guarded::start().await;
    let file = guarded.file();
    let (child, address) = guarded.shell().dashboard(&[
        ("QUEUE_DASHBOARD_TOKEN", TOKEN),
        ("PGPASSFILE", file.to_str().unwrap()),
    ]);
    let answers = async || {
        let address = address.clone();
        let asking = spawn_blocking(move || get(&address, "/ops/jobs/queues", "Bearer", TOKEN));
        asking.await.unwrap().starts_with("HTTP/1.1 200")
    };
    eventually("a page is shown", &answers).await;

    guarded.set_password("second").await;
    eventually("a page is shown again", &answers).await;

    stopped_by(child, Signal::TERM).await;
}

#[tokio::test]
async fn a_password_file_that_is_not_valid_is_not_logged() {
    let world = World::new().await;
    let shell = Shell::on(&world);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hunter2\n").unwrap();
    let mut command = shell.command(&["stats", "-vvv"]);
    command.env("PGPASSFILE", file.path());
    let output = spawn_blocking(move || command.output().unwrap());

    let said = said(&output.await.unwrap());

    assert!(said.contains("sqlx"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
