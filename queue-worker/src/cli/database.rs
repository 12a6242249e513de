//! The database of a command.

use std::env;
use std::time::Duration;

use queue_core::{Keys, Queue, Schema};
use rustls::CertificateError;
use sqlx::{Connection, Executor as _, PgConnection, PgPool};

use super::here::{note_place, shard};
use super::output::set_clock;
use super::{Exit, Failure};
use crate::config::overrides::KEYS_VARIABLE;
use crate::config::{Config, DatabaseSettings, Settings};
use crate::pool_options;
use crate::pooler::{self, Pooling};
use crate::servers::Servers;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the statements of commands rely on, even if the database has another default.
const SETTING: &str = "set default_transaction_isolation = 'read committed'";

/// How long a page waits for a connection, and how many there are.
#[cfg(feature = "dashboard")]
const DASHBOARD_PATIENCE: Duration = Duration::from_secs(3);
#[cfg(feature = "dashboard")]
const DASHBOARD_CONNECTIONS: u32 = 8;

const POOLED: &str = "the database URL leads to a pooler in transaction mode, which only `start` can use: give \
    the URL of the server itself with `--database-url`, or as QUEUE_LISTEN_URL";

const NO_DATABASE: &str = "no database given: set DATABASE_URL, or `queue dev` starts one";

/// The configured database, and the schema in it.
pub(super) struct Database {
    pub(super) schema: Schema,
    pub(super) servers: Servers,
    /// The server itself, if the other URL leads to a pooler.
    direct: Option<Servers>,
}

impl Database {
    /// Opens a connection to the configured database, and returns its schema too.
    pub(super) async fn open(config: &Config) -> Result<(PgConnection, Schema), Failure> {
        let database = Self::configured(config)?;
        Ok((database.connect().await?, database.schema))
    }

    pub(super) fn configured(config: &Config) -> Result<Self, Failure> {
        let DatabaseSettings { url, schema, .. } = &config.database;
        let url = url.as_deref().ok_or_else(|| Failure::usage(NO_DATABASE))?;
        let direct = config.settings.process.listen_url.as_ref();
        Ok(Self {
            schema: Schema::named(schema)?.with_keys(keys_of_environment()?),
            servers: servers(url)?,
            direct: direct.map(|url| servers(&url.0)).transpose()?,
        })
    }

    /// Opens one connection to the server, which other commands than `start` need.
    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        let connecting = self.connect_to_server();
        let error = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(Some((connection, server)))) => {
                return match note_place(self.place_on(&server)) {
                    None => Ok(connection),
                    Some(other) => Err(self.same_tables(&other, &shard().unwrap_or_default())),
                };
            }
            Ok(Ok(None)) => return Err(Failure::usage(POOLED)),
            Ok(Err(error)) => match certificate_problem(&error) {
                Some(problem) => anyhow::Error::new(error).context(problem),
                None => anyhow::Error::new(error),
            },
            Err(_elapsed) => anyhow::anyhow!("no answer in {} s", CONNECT_TIMEOUT.as_secs()),
        };
        let context = format!("could not connect to {}", self.servers.place);
        Err(Failure::new(Exit::Unreachable, error.context(context)))
    }

    /// Returns the place of its tables, if the server answers. Two URLs of one database lead to the same place.
    pub(super) async fn place(&self) -> Option<String> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.connect_to_server());
        let (_, server) = connecting.await.ok()?.ok()??;
        Some(self.place_on(&server))
    }

    fn place_on(&self, server: &str) -> String {
        format!("{server}/{}", self.schema.name())
    }

    /// Makes the error about two shards with the same tables.
    pub(super) fn same_tables(&self, shard: &str, other: &str) -> Failure {
        Failure::usage(format!(
            "the shards {shard} and {other} have the same tables: {}, schema {}; give each a database or a schema of \
             its own",
            self.servers.place,
            self.schema.name()
        ))
    }

    /// Opens one connection, unless it leads to a pooler in transaction mode. Returns with it what no other database has.
    async fn connect_to_server(&self) -> Result<Option<(PgConnection, String)>, sqlx::Error> {
        let options = self.direct().find().await?;
        let mut connection = PgConnection::connect_with(&options).await?;
        if self.direct.is_none()
            && pooler::detect(&mut connection, &options).await? == Pooling::Transaction
        {
            return Ok(None);
        }
        connection.execute(SETTING).await?;
        let server = "select clock_timestamp(), concat_ws('/', extract(epoch from pg_postmaster_start_time()), current_database())";
        let (now, server) = sqlx::query_as(server).fetch_one(&mut connection).await?;
        set_clock(now);
        Ok(Some((connection, server)))
    }

    /// Returns whether a pooler is in front of the server: it refuses the options of a connection, or does
    /// not pass them on.
    pub(super) async fn is_pooled(&self) -> bool {
        let probing = async {
            let options = self.servers.find().await?.options([("queue.probe", "on")]);
            let mut conn = PgConnection::connect_with(&options).await?;
            sqlx::query_scalar("select current_setting('queue.probe', true) is distinct from 'on'")
                .fetch_one(&mut conn)
                .await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, probing).await {
            Ok(Ok(is_lost)) => is_lost,
            Ok(Err(error)) => error.to_string().contains("unsupported startup parameter"),
            Err(_elapsed) => false,
        }
    }

    /// Makes a handle to enqueue with, which connects to the server when it is used.
    pub(super) async fn queue(&self) -> Result<Queue, Failure> {
        self.queue_on(self.direct(), 0).await
    }

    /// Makes the handle of a dashboard, which shows a page when the database is away.
    #[cfg(feature = "dashboard")]
    pub(super) async fn queue_of_dashboard(&self) -> Result<Queue, Failure> {
        let options = pool_options()
            .max_connections(DASHBOARD_CONNECTIONS)
            .acquire_timeout(DASHBOARD_PATIENCE);
        let servers = self.direct().clone().application("queue dashboard");
        let queue = self.queue_with(servers.pool(options).await?)?;
        Ok(match self.direct.is_none() && self.is_pooled().await {
            true => queue.transaction_pooler(),
            false => queue,
        })
    }

    /// Makes the handle of a process, which finds out whether there is a pooler. Its pool, which the
    /// state of an application is built with, has a connection for each job that runs: on one of several shards, among
    /// which the concurrency is divided, for its part of them.
    pub(super) async fn queue_of_process(
        &self,
        settings: &Settings,
        shards: usize,
    ) -> Result<Queue, Failure> {
        let workers = settings.workers.iter();
        let jobs = workers.map(|worker| worker.concurrency.div_ceil(shards));
        let jobs: usize = jobs.sum();
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        self.queue_on(&self.servers, jobs).await
    }

    async fn queue_on(&self, servers: &Servers, jobs: u32) -> Result<Queue, Failure> {
        let options = pool_options()
            .max_connections(jobs.saturating_add(2))
            .acquire_timeout(CONNECT_TIMEOUT);
        self.queue_with(servers.pool(options).await?)
    }

    /// Returns the server itself.
    fn direct(&self) -> &Servers {
        self.direct.as_ref().unwrap_or(&self.servers)
    }

    fn queue_with(&self, pool: PgPool) -> Result<Queue, Failure> {
        let queue = Queue::new(pool).in_schema(self.schema.name())?;
        Ok(match self.schema.keys() {
            Some(keys) => queue.encryption_keys(keys.clone()),
            None => queue,
        })
    }
}

/// Returns the keys for encrypted kinds, if there are any.
pub(super) fn keys_of_environment() -> Result<Option<Keys>, Failure> {
    let Some(text) = env::var_os(KEYS_VARIABLE) else {
        return Ok(None);
    };
    // Text that is not valid UTF-8 is not base64 either.
    let keys: Result<Keys, _> = text.to_string_lossy().parse();
    keys.map(Some).map_err(Failure::usage)
}

/// Says what to do about a certificate of the server that was refused.
fn certificate_problem(error: &sqlx::Error) -> Option<&'static str> {
    let sqlx::Error::Io(error) = error else {
        return None;
    };
    let rustls::Error::InvalidCertificate(reason) = error.get_ref()?.downcast_ref()? else {
        return None;
    };
    match reason {
        CertificateError::UnknownIssuer => Some(
            "no trusted CA has signed the certificate of the server: name the file with the certificate of \
             its CA as `sslrootcert` in the database URL",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(
                "the certificate of the server is for another host: use a host that it names in the database URL",
            )
        }
        _ => None,
    }
}

fn servers(url: &str) -> Result<Servers, Failure> {
    Servers::parse(url).map_err(|error| {
        Failure::usage(format!(
            "the database URL is not valid: {error}; characters such as @ : / ? # % in the password must be \
             percent-encoded, as %40 for @"
        ))
    })
}
