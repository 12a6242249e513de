//! A database for each test.
//!
//! All tests share the server that `TEST_DATABASE_URL` names, which `bin/test` starts for the whole
//! suite (see `test-postgres`). Without it, each test process starts a server, which ends with the
//! process. A test's database is a copy of a template that is prepared once.

use std::env;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, Command};
use std::thread;

use anyhow::{Context, Result};
use queue_core::Schema;
use queue_worker::embedded::{Embedded, EmbeddedOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::slot::{Slot, scratch};

/// Prepares a new database for a test.
async fn prepare(connection: &mut PgConnection) -> Result<()> {
    queue_core::migrate::migrate(connection, &Schema::default()).await?;
    Ok(())
}

/// A server for tests: fast, with many connections, and empty at its start.
pub struct TestServer {
    embedded: Embedded,
    slot: Slot,
}

impl TestServer {
    /// Starts a server on a directory of its own.
    ///
    /// # Errors
    /// When there is no Postgres on this machine, or it does not start.
    pub async fn start() -> Result<TestServer> {
        let slot = Slot::take()?;
        stop_leftover(&slot).await?;
        slot.clear()?;
        let embedded = Embedded::start(options(&slot)).await?;
        Ok(TestServer { embedded, slot })
    }

    /// Returns the server's URL, for `TEST_DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        self.embedded.url()
    }

    /// Stops it and removes its data.
    pub async fn stop(self) -> Result<()> {
        self.embedded.stop().await?;
        self.slot.clear()
    }
}

/// Stops a server that an earlier, killed run left behind. Its template may be outdated.
async fn stop_leftover(slot: &Slot) -> Result<()> {
    if slot.has_pid_file() {
        let mut embedded = Embedded::start(options(slot)).await?;
        embedded.stop_server().await?;
    }
    Ok(())
}

/// `QUEUE_TEST_DURABLE` makes it write to the disk, so that the doctor finds nothing wrong with it.
fn options(slot: &Slot) -> EmbeddedOptions {
    EmbeddedOptions {
        data: Some(slot.directory().to_owned()),
        durable: env::var_os("QUEUE_TEST_DURABLE").is_some(),
        settings: vec![("max_connections".to_owned(), "400".to_owned())],
    }
}

/// The database of one test. It is dropped with this value.
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
}

/// Creates a database for one test.
///
/// # Panics
/// When there is no server.
pub async fn database() -> TestDatabase {
    named_database(format!(
        "test_{}_{}",
        process::id(),
        Uuid::now_v7().simple()
    ))
    .await
}

/// Creates a database of a name, which must be free.
///
/// # Panics
/// When there is no server, or the name is taken.
pub async fn named_database(name: String) -> TestDatabase {
    let server = server().await;
    create_database(server, name)
        .await
        .expect("a database for the test should be made")
}

/// Creates a database on the other server, if there is one: with `QUEUE_TEST_SHARDS=2`.
///
/// # Panics
/// When it cannot be created.
pub async fn database_on_other_server() -> Option<TestDatabase> {
    let url = servers_of_test().1?;
    let server = url
        .parse()
        .expect("TEST_OTHER_DATABASE_URL should be a URL");
    let name = format!("test_{}_{}", process::id(), Uuid::now_v7().simple());
    let created = create_database(server, name).await;
    Some(created.expect("a database for the test should be made"))
}

/// Returns the URL of the server for the databases of this test, and of the other one. If there are two, the name
/// of the test chooses, so that both are used.
fn servers_of_test() -> (Option<String>, Option<String>) {
    let url = env::var("TEST_DATABASE_URL").ok();
    let other = env::var("TEST_OTHER_DATABASE_URL").ok();
    let test = thread::current();
    let sum: usize = test
        .name()
        .unwrap_or_default()
        .bytes()
        .map(usize::from)
        .sum();
    if other.is_some() && sum % 2 == 1 {
        (other, url)
    } else {
        (url, other)
    }
}

impl TestDatabase {
    /// Returns the options to connect to it.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Returns its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.connect_options().to_url_lossy().to_string()
    }

    /// Returns a pool of at most five connections to it.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(5)
            .connect_lazy_with(self.connect_options())
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread, because the test's runtime may be shutting down. A database that is not
        // dropped here goes with the server.
        let dropping = thread::spawn(move || block_on(drop_database(&server, &name)));
        let _ = dropping.join();
    }
}

/// A server for one test, which the test may stop and start.
pub struct DedicatedServer {
    embedded: Embedded,
    _directory: TempDir,
}

impl DedicatedServer {
    /// Starts a server, with its database prepared.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> DedicatedServer {
        Self::start_with(&[]).await
    }

    /// Starts a server with settings, with its database prepared.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(settings: &[(&str, &str)]) -> DedicatedServer {
        let server = Self::start_in(directory(), settings).await;
        let mut connection = server
            .connect_options()
            .connect()
            .await
            .expect("a server that was started should accept a connection");
        prepare(&mut connection)
            .await
            .expect("the database should be prepared");
        server
    }

    async fn start_in(directory: TempDir, settings: &[(&str, &str)]) -> DedicatedServer {
        let settings = settings.iter();
        let embedded = Embedded::start(EmbeddedOptions {
            data: Some(directory.path().to_owned()),
            durable: false,
            settings: settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        });
        DedicatedServer {
            embedded: embedded.await.expect("a server for the test should start"),
            _directory: directory,
        }
    }

    /// Starts a standby that follows this server.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn standby(&self) -> DedicatedServer {
        let data = self.data_dir();
        let owner = data.metadata().expect("the owner of the data");
        let directory = directory();
        let home = data.parent().and_then(Path::file_name);
        let home = directory.path().join(home.expect("a folder of the data"));
        let made = fs::DirBuilder::new().mode(0o700).create(&home);
        made.and_then(|()| chown(&home, Some(owner.uid()), Some(owner.gid())))
            .expect("a folder for a server");
        let started = fs::read_to_string(data.join("postmaster.opts"));
        let started = started.expect("the command that started the server");
        let postgres = Path::new(started.split(' ').next().unwrap_or_default());
        let mut copy = Command::new(postgres.with_file_name("pg_basebackup"));
        copy.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            "--username=queue",
        ])
        .arg("--host")
        .arg(self.embedded.socket_dir())
        .arg("--pgdata")
        .arg(home.join("data"))
        .current_dir("/")
        .uid(owner.uid())
        .gid(owner.gid());
        let copied = tokio::process::Command::from(copy).status().await;
        assert!(copied.expect("pg_basebackup").success());
        Self::start_in(directory, &[]).await
    }

    /// Returns the options to connect to its database.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.embedded.connect_options()
    }

    /// Returns the URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        self.embedded.url()
    }

    /// Returns its data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.embedded.data_dir()
    }

    /// Stops it in order, which closes all connections.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop_server(&mut self) {
        let stopping = self.embedded.stop_server().await;
        stopping.expect("the server should stop");
    }

    /// Ends it as a crash would, so that it recovers at its next start.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn crash_server(&mut self) {
        let ending = self.embedded.crash_server().await;
        ending.expect("the server should end");
    }

    /// Starts it again as a standby, which takes no writes.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn become_standby(&mut self) {
        self.stop_server().await;
        let signal = self.embedded.data_dir().join("standby.signal");
        std::fs::write(signal, "").expect("a file in the data directory");
        self.start_server().await;
    }

    /// Starts it again, with the same data and the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_server(&mut self) {
        let starting = self.embedded.start_server().await;
        starting.expect("the server should start again");
    }
}

impl Drop for DedicatedServer {
    fn drop(&mut self) {
        // Stopped before its directory is removed.
        let embedded = &mut self.embedded;
        thread::scope(|scope| {
            let stopping = scope.spawn(|| block_on(async { Ok(embedded.stop_server().await?) }));
            let _ = stopping.join();
        });
    }
}

/// Creates a directory for a server, which is removed with the value. Other users may pass through it,
/// because root runs Postgres as another user.
///
/// # Panics
/// When it cannot be created.
#[must_use]
pub fn directory() -> TempDir {
    use std::os::unix::fs::PermissionsExt;

    tempfile::Builder::new()
        .prefix("queue-test-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir_in(scratch())
        .expect("a temporary directory should be made")
}

static OWN_SERVER: OnceCell<TestServer> = OnceCell::const_new();

async fn server() -> PgConnectOptions {
    let url = match servers_of_test().0 {
        Some(url) => url,
        None => {
            let start = async || TestServer::start().await.expect("a server should start");
            OWN_SERVER.get_or_init(start).await.url()
        }
    };
    url.parse().expect("TEST_DATABASE_URL should be a URL")
}

async fn create_database(server: PgConnectOptions, name: String) -> Result<TestDatabase> {
    let mut connection = server.connect().await?;
    let template = ensure_template(&server, &mut connection).await?;
    let statement = format!("create database {name} template {template} strategy wal_log");
    execute(&mut connection, statement).await?;
    connection.close().await?;
    Ok(TestDatabase { name, server })
}

/// Creates the template unless it exists. It is prepared under another name, so that an interrupted
/// preparation is never copied.
async fn ensure_template(
    server: &PgConnectOptions,
    connection: &mut PgConnection,
) -> Result<&'static str> {
    const TEMPLATE: &str = "queue_template";
    const LOCK: i64 = 0x7175_6575_6574;

    sqlx::query("select pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await?;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(TEMPLATE)
            .fetch_one(&mut *connection)
            .await?;
    if !there {
        let fresh = format!("{TEMPLATE}_new");
        execute(
            connection,
            format!("drop database if exists {fresh} with (force)"),
        )
        .await?;
        execute(connection, format!("create database {fresh}")).await?;
        let mut inside = server.clone().database(&fresh).connect().await?;
        prepare(&mut inside).await?;
        inside.close().await?;
        execute(
            connection,
            format!("alter database {fresh} rename to {TEMPLATE}"),
        )
        .await?;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(&mut *connection)
        .await?;
    Ok(TEMPLATE)
}

async fn drop_database(server: &PgConnectOptions, name: &str) -> Result<()> {
    let mut connection = server.connect().await?;
    execute(
        &mut connection,
        format!("drop database {name} with (force)"),
    )
    .await?;
    Ok(connection.close().await?)
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .with_context(|| format!("could not {statement}"))?;
    Ok(())
}
