//! The database of the benchmark, created before the measures and dropped after them.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use queue_core::{EnqueueError, NewJob, Queue, Schema, migrate};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool,
};

use crate::jobs::Noop;
use crate::server::Server;

const LIMIT_TABLES: &str = include_str!("../sql/limit_tables.sql");
const CONNECTIONS_MAX: u32 = 40;

pub(crate) struct BenchDatabase {
    server: PgConnectOptions,
    options: PgConnectOptions,
    pool: PgPool,
}

impl BenchDatabase {
    pub(crate) async fn create(server: &Server) -> Result<Self> {
        let server =
            PgConnectOptions::from_str(&server.url()).context("could not read the database URL")?;
        let name = format!("queue_bench_{}", std::process::id());
        let options = server.clone().database(&name);
        let mut conn = server
            .connect()
            .await
            .context("could not connect to the server")?;
        conn.execute(AssertSqlSafe(format!("create database {name}")))
            .await?;
        conn.close().await?;
        let database = Self {
            pool: PgPoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .connect_lazy_with(options.clone()),
            server,
            options,
        };
        database.create_tables().await?;
        Ok(database)
    }

    async fn create_tables(&self) -> Result<()> {
        let mut conn = self.connect().await?;
        migrate::migrate(&mut conn, &Schema::default()).await?;
        sqlx::raw_sql(LIMIT_TABLES).execute(&mut conn).await?;
        Ok(())
    }

    /// Drops the database.
    pub(crate) async fn drop(self) -> Result<()> {
        self.pool.close().await;
        let mut conn = self.server.connect().await?;
        let name = self.options.get_database().unwrap_or_default();
        conn.execute(AssertSqlSafe(format!("drop database {name} with (force)")))
            .await?;
        Ok(())
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        Ok(self.options.connect().await?)
    }

    /// Returns the path of the server's Unix socket, if the connection uses one.
    pub(crate) fn socket(&self) -> Option<String> {
        let folder = self.options.get_socket()?.display();
        Some(format!("{folder}/.s.PGSQL.{}", self.options.get_port()))
    }

    /// Returns a handle to the same database by a port of this machine.
    pub(crate) fn through(&self, port: u16) -> Self {
        let url = format!(
            "postgres://{}@127.0.0.1:{port}/{}?sslmode=disable",
            self.options.get_username(),
            self.options.get_database().unwrap_or_default()
        );
        let options = PgConnectOptions::from_str(&url).expect("a URL of known parts");
        Self {
            pool: PgPoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .connect_lazy_with(options.clone()),
            server: self.server.clone(),
            options,
        }
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Creates a pool for a few producers.
    pub(crate) fn pool_of(&self, connections: usize, tested: bool) -> PgPool {
        PgPoolOptions::new()
            .max_connections(u32::try_from(connections).unwrap_or(u32::MAX))
            .test_before_acquire(tested)
            .connect_lazy_with(self.options.clone())
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue::new(self.pool.clone())
    }

    /// Enqueues jobs by COPY, and vacuums as autovacuum would have within an hour.
    pub(crate) async fn fill(&self, jobs: usize) -> Result<()> {
        self.copy_jobs(jobs).await?;
        self.settle().await
    }

    pub(crate) async fn copy_jobs(&self, jobs: usize) -> Result<()> {
        self.copy((0..jobs as i64).map(|id| NewJob::of(&Noop::new(id))))
            .await
    }

    /// Schedules jobs that are all due now, and vacuums.
    pub(crate) async fn fill_due(&self, jobs: usize) -> Result<()> {
        self.copy_jobs(jobs).await?;
        sqlx::raw_sql(
            "insert into queue.scheduled (job_id, due_at, priority, queue, kind)
             select job_id, now(), priority, queue, kind
             from queue.ready;
             truncate queue.ready;",
        )
        .execute(&self.pool)
        .await?;
        sqlx::query("vacuum queue.jobs, queue.scheduled")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(crate) async fn copy(
        &self,
        jobs: impl Iterator<Item = Result<NewJob, EnqueueError>> + Send,
    ) -> Result<()> {
        self.queue().copy_jobs(jobs).await?;
        Ok(())
    }

    /// Does what autovacuum does after many inserts. There is no checkpoint between filling and
    /// draining: it would make the drain log an image of every page of `ready`.
    pub(crate) async fn settle(&self) -> Result<()> {
        sqlx::query("vacuum queue.jobs, queue.ready, queue.blocked")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Empties all tables and writes a checkpoint, so that all measured programs start equally and no
    /// checkpoint falls into the measured time.
    pub(crate) async fn reset(&self) -> Result<()> {
        sqlx::query(
            "truncate queue.jobs, queue.scheduled, queue.ready, queue.blocked, queue.claimed, queue.failed,
                queue.finished, queue.attempts, queue.steps, queue.progress, queue.events, queue.waits, queue.unique_keys, queue.slots, queue.rates, queue.batches,
                queue_limit.ready, queue_limit.claimed, queue_limit.finished,
                queue_limit.new_jobs, queue_limit.new_ready, queue_limit.steps",
        )
        .execute(&self.pool)
        .await?;
        sqlx::query("checkpoint").execute(&self.pool).await?;
        Ok(())
    }
}
