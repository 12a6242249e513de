//! A database for each test.
//!
//! A database is a copy of a template, which is made once for each build of a test program. The server
//! is the one that `TEST_DATABASE_URL` names. Without it, all test programs of a project share a private
//! one, which ends with the last of them.

use std::any::type_name_of_val;
use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;

use queue_core::Queue;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::app::perform::BoxError;
use crate::embedded::{Embedded, EmbeddedOptions};

/// The key of the lock that is held while a template is made.
const TEMPLATE_LOCK: i64 = 0x7175_6575_6574;

/// A database with the tables of the queue, for one test. It is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
}

impl TestDatabase {
    /// Creates a database.
    ///
    /// # Panics
    /// Panics when there is no server, or it does not make the database.
    pub async fn new() -> Self {
        Self::prepared(async |_pool| Ok(())).await
    }

    /// Creates a database with the tables of the application too. They are made once for each build of
    /// the program, in the template.
    ///
    /// # Panics
    /// Panics when there is no server, or it does not make the database.
    pub async fn prepared(prepare: impl AsyncFnOnce(PgPool) -> Result<(), BoxError>) -> Self {
        let created = Self::create(prepare).await;
        created.unwrap_or_else(|error| panic!("could not make a database for the test: {error}"))
    }

    /// Returns a new pool of connections to it.
    pub fn pool(&self) -> PgPool {
        pool(self.server.clone().database(&self.name))
    }

    /// Returns its queue, on a new pool.
    pub fn queue(&self) -> Queue {
        Queue::new(self.pool())
    }

    async fn create(
        prepare: impl AsyncFnOnce(PgPool) -> Result<(), BoxError>,
    ) -> Result<Self, BoxError> {
        let server = server().await?;
        let mut connection = server.connect().await?;
        let template = ensure_template(&server, &mut connection, prepare).await?;
        let name = format!("{template}_{}", Uuid::now_v7().simple());
        let create = format!("create database {name} template {template} strategy wal_log");
        execute(&mut connection, create).await?;
        connection.close().await?;
        Ok(Self { name, server })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("drop database {} with (force)", self.name);
        let server = self.server.clone();
        // On a thread, because the runtime of the test may be ending.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(sqlx::Error::Io)?;
            runtime.block_on(async { execute(&mut server.connect().await?, drop).await })
        });
        let _dropped_with_the_next_template = dropping.join();
    }
}

fn pool(database: PgConnectOptions) -> PgPool {
    let options = PgPoolOptions::new().max_connections(5);
    options.connect_lazy_with(database)
}

/// Shared by the tests of this program. Never dropped: the server notices the end of the program.
static SERVER: OnceCell<Embedded> = OnceCell::const_new();

async fn server() -> Result<PgConnectOptions, BoxError> {
    if let Ok(url) = env::var("TEST_DATABASE_URL") {
        return Ok(url.parse()?);
    }
    let options = EmbeddedOptions {
        durable: false,
        settings: vec![("max_connections".to_owned(), "400".to_owned())],
        ..EmbeddedOptions::default()
    };
    let server = SERVER.get_or_try_init(|| Embedded::start(options)).await?;
    Ok(server.connect_options())
}

/// Makes the template unless there is one of this build, and removes what earlier builds left behind.
/// It is prepared under another name, so that an interrupted preparation is never copied.
async fn ensure_template<P>(
    server: &PgConnectOptions,
    connection: &mut PgConnection,
    prepare: P,
) -> Result<String, BoxError>
where
    P: AsyncFnOnce(PgPool) -> Result<(), BoxError>,
{
    let program = env::current_exe()?;
    let built_at = program.metadata()?.modified()?;
    let family = format!("test_{}", digest((&program, type_name_of_val(&prepare))));
    let template = format!("{family}_{}", digest(built_at));
    let mut lock = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *lock)
        .await?;
    let databases = "select datname from pg_database where starts_with(datname, $1)";
    let there: Vec<String> = sqlx::query_scalar(databases)
        .bind(&family)
        .fetch_all(&mut *lock)
        .await?;
    if !there.contains(&template) {
        let mut maker = server.connect().await?;
        for old in there {
            let _in_use = execute(&mut maker, format!("drop database {old}")).await;
        }
        let fresh = format!("{family}_new");
        execute(&mut maker, format!("create database {fresh}")).await?;
        let pool = pool(server.clone().database(&fresh));
        Queue::new(pool.clone()).migrate().await?;
        prepare(pool.clone()).await?;
        pool.close().await;
        execute(
            &mut maker,
            format!("alter database {fresh} rename to {template}"),
        )
        .await?;
    }
    lock.commit().await?;
    Ok(template)
}

/// Returns a short name for a value, the same in every run of one build.
fn digest(value: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:08x}", hasher.finish() >> 32)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
}
