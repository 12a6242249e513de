//! A database for each test.
//!
//! All tests share one server: the one that `TEST_DATABASE_URL` names, which `bin/test` runs for
//! the whole suite (see `test-postgres`), or else one that the test's own process starts and
//! that ends with it. A test's database is a copy of a template that is prepared once.

use std::env;
use std::process;
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

/// Fills a new database with what every test finds in it.
async fn prepare(connection: &mut PgConnection) -> Result<()> {
    queue_core::migrate::migrate(connection, &Schema::default()).await?;
    Ok(())
}

/// A server for tests: fast, with room for many connections, and empty at its start.
pub struct TestServer {
    embedded: Embedded,
    slot: Slot,
}

impl TestServer {
    /// Starts one on a directory of its own.
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

    /// The server's URL, for `TEST_DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        self.embedded.url()
    }

    /// Stops it and removes its data.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(self) -> Result<()> {
        self.embedded.stop().await?;
        self.slot.clear()
    }
}

/// Stops the server of a run that was killed, where the system did not do so. Its template is
/// of another time.
async fn stop_leftover(slot: &Slot) -> Result<()> {
    if slot.has_pid_file() {
        let mut embedded = Embedded::start(options(slot)).await?;
        embedded.stop_server().await?;
    }
    Ok(())
}

fn options(slot: &Slot) -> EmbeddedOptions {
    EmbeddedOptions {
        data: Some(slot.directory().to_owned()),
        durable: false,
        settings: vec![("max_connections".to_owned(), "400".to_owned())],
    }
}

/// A database of one test; dropped with this value.
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
}

/// Makes a database for one test.
///
/// # Panics
/// When there is no server to make it on; a test has nothing to do without.
pub async fn database() -> TestDatabase {
    let server = server().await;
    create_database(server)
        .await
        .expect("a database for the test should be made")
}

impl TestDatabase {
    /// How to connect to it.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.connect_options().to_url_lossy().to_string()
    }

    /// A pool of at most five connections to it.
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
        // The test's runtime may be going down already. What is not dropped here goes with the
        // server.
        let dropping = thread::spawn(move || block_on(drop_database(&server, &name)));
        let _ = dropping.join();
    }
}

/// A server of one test's own, which the test may stop and start.
pub struct DedicatedServer {
    embedded: Embedded,
    _directory: TempDir,
}

impl DedicatedServer {
    /// Starts one, with its database prepared.
    ///
    /// # Panics
    /// When it does not start; a test has nothing to do without.
    pub async fn start() -> DedicatedServer {
        let directory = directory();
        let embedded = Embedded::start(EmbeddedOptions {
            data: Some(directory.path().to_owned()),
            durable: false,
            settings: Vec::new(),
        })
        .await
        .expect("a server for the test should start");
        let mut connection = embedded
            .connect_options()
            .connect()
            .await
            .expect("a server that was started should accept a connection");
        prepare(&mut connection)
            .await
            .expect("the database should be prepared");
        DedicatedServer {
            embedded,
            _directory: directory,
        }
    }

    /// How to connect to its database.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.embedded.connect_options()
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        self.embedded.url()
    }

    /// Stops it as an administrator would: connections are closed.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop_server(&mut self) {
        let stopping = self.embedded.stop_server().await;
        stopping.expect("the server should stop");
    }

    /// Ends it as a crash would: it recovers at its next start.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn crash_server(&mut self) {
        let ending = self.embedded.crash_server().await;
        ending.expect("the server should end");
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
        // Before its directory goes.
        let embedded = &mut self.embedded;
        thread::scope(|scope| {
            let stopping = scope.spawn(|| block_on(async { Ok(embedded.stop_server().await?) }));
            let _ = stopping.join();
        });
    }
}

/// Makes a directory for a server that is removed with the value, and that the user who runs
/// Postgres for root can pass through.
///
/// # Panics
/// When it cannot be made.
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
    let url = match env::var("TEST_DATABASE_URL") {
        Ok(url) => url,
        Err(_) => {
            let start = async || TestServer::start().await.expect("a server should start");
            OWN_SERVER.get_or_init(start).await.url()
        }
    };
    url.parse().expect("TEST_DATABASE_URL should be a URL")
}

async fn create_database(server: PgConnectOptions) -> Result<TestDatabase> {
    let mut connection = server.connect().await?;
    let template = ensure_template(&server, &mut connection).await?;
    let name = format!("test_{}_{}", process::id(), Uuid::now_v7().simple());
    let statement = format!("create database {name} template {template} strategy wal_log");
    execute(&mut connection, statement).await?;
    connection.close().await?;
    Ok(TestDatabase { name, server })
}

/// Makes the template unless another test has. It is prepared under another name: one that was
/// interrupted is never copied.
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
