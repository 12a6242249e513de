//! The server of a run, and its standby; or the two servers that Patroni keeps available.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use queue_core::Schema;
use queue_tests::postgres::{DedicatedServer, directory};
use queue_tests::world::eventually;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::process::Command;

use crate::patroni::Cluster;

/// More connections are refused. A cut leaves twice as many as before, for a while.
pub(crate) const CONNECTIONS: usize = 250;

/// The room of the disk, in memory. Only what is used counts.
const DISK: &str = "4g";

/// How a server is stopped.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    /// In order.
    Fast,
    /// As by a crash.
    Immediate,
}

/// The servers of a run.
pub(crate) struct Servers {
    /// Where the programs of Postgres are.
    bin: PathBuf,
    /// The user and the group that run them.
    account: (u32, u32),
    folder: TempDir,
    /// Whether the folder is a disk of its own, which can be made full.
    pub(crate) has_disk: bool,
    /// The primary server's folder, and its port.
    primary: PathBuf,
    port: u16,
    standbys: usize,
    /// What keeps the servers available, if that is not left to the run.
    cluster: Option<Cluster>,
}

impl Servers {
    pub(crate) async fn start(with_patroni: bool) -> Result<Self> {
        let model = DedicatedServer::start().await;
        let mut conn = model.connect_options().connect().await?;
        let asked = "select setting from pg_config where name = 'BINDIR'";
        let bin: String = sqlx::query_scalar(asked).fetch_one(&mut conn).await?;
        let asked = "select setting from pg_settings where name = 'data_directory'";
        let data: String = sqlx::query_scalar(asked).fetch_one(&mut conn).await?;
        let owner = std::fs::metadata(&data)?;
        drop(conn);
        let folder = directory();
        let disk = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={DISK},mode=755"))
            .arg("tmpfs")
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        let mut servers = Self {
            bin: bin.into(),
            account: (owner.uid(), owner.gid()),
            has_disk: disk.await.is_ok_and(|status| status.success()),
            primary: folder.path().join("first"),
            port: PgConnectOptions::new_without_pgpass().get_port(),
            folder,
            standbys: 0,
            cluster: None,
        };
        if with_patroni {
            let folders = ["etcd", "first", "second"];
            let folders = folders.map(|name| servers.folder.path().join(name));
            for folder in &folders {
                servers.make_folder(folder)?;
            }
            let starting = Cluster::start(&servers.bin, servers.account, folders);
            servers.cluster = Some(starting.await?);
            servers.find_primary().await?;
        } else {
            servers.initialize().await?;
        }
        servers.create_database().await?;
        Ok(servers)
    }

    async fn initialize(&self) -> Result<()> {
        let data = self.make_folder(&self.primary)?;
        let options = [
            "-U",
            "queue",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "-D",
        ];
        self.run("initdb", |command| command.args(options).arg(&data))
            .await?;
        self.start_server().await
    }

    async fn create_database(&self) -> Result<()> {
        let mut conn = self.options("postgres").connect().await?;
        sqlx::query("create database queue")
            .execute(&mut conn)
            .await?;
        conn.close().await?;
        let mut conn = self.connect_options().connect().await?;
        queue_core::migrate::migrate(&mut conn, &Schema::default()).await?;
        let tables = "create schema chaos; create table chaos.effects (job_id bigint)";
        sqlx::raw_sql(tables).execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    fn make_folder(&self, server: &Path) -> Result<PathBuf> {
        let data = server.join("data");
        for folder in [server, &data] {
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
            chown(folder, Some(self.account.0), Some(self.account.1))?;
        }
        Ok(data)
    }

    /// Returns the options to connect to the primary server.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        self.options("queue")
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new()
            .socket(&self.primary)
            .port(self.port)
            .username("queue")
            .database(database)
    }

    /// Returns a pool on the primary server.
    pub(crate) fn pool(&self) -> PgPool {
        let options = PgPoolOptions::new().max_connections(2);
        options.connect_lazy_with(self.connect_options())
    }

    /// Runs a statement on the primary server, and returns its number.
    pub(crate) async fn number(&self, statement: &str) -> Result<i64, sqlx::Error> {
        let mut conn = self.connect_options().connect().await?;
        let number = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()));
        let number = number.fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok(number)
    }

    /// Starts the primary server, unless it runs, and waits until it accepts connections.
    pub(crate) async fn start_server(&self) -> Result<()> {
        self.start_in(&self.primary).await
    }

    async fn start_in(&self, server: &Path) -> Result<()> {
        let settings = format!(
            "-k {} -c listen_addresses= -c max_connections={CONNECTIONS} -c fsync=off",
            server.display()
        );
        self.run("pg_ctl", |command| {
            let command = command
                .arg("start")
                .arg("-w")
                .arg("-D")
                .arg(server.join("data"));
            command
                .arg("-o")
                .arg(settings)
                .arg("-l")
                .arg(server.join("log"))
        })
        .await
    }

    pub(crate) async fn stop_server(&self, stop: Stop) -> Result<()> {
        let mode = match stop {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        let data = self.primary.join("data");
        let options = ["stop", "-w", "-m", mode, "-D"];
        self.run("pg_ctl", |command| command.args(options).arg(data))
            .await
    }

    /// Makes a standby. If it is synchronous, commits wait for it.
    pub(crate) async fn make_standby(&mut self, is_synchronous: bool) -> Result<PathBuf> {
        self.standbys += 1;
        let standby = self
            .folder
            .path()
            .join(format!("standby-{}", self.standbys));
        let data = self.make_folder(&standby)?;
        let options = ["-U", "queue", "-R", "-c", "fast", "--no-sync", "-h"];
        self.run("pg_basebackup", |command| {
            command.args(options).arg(&self.primary).arg("-D").arg(data)
        })
        .await?;
        self.start_in(&standby).await?;
        let mut wanted = "state = 'streaming'";
        if is_synchronous {
            let mut conn = self.connect_options().connect().await?;
            let names = "alter system set synchronous_standby_names = '*'";
            sqlx::query(names).execute(&mut conn).await?;
            sqlx::query("select pg_reload_conf()")
                .execute(&mut conn)
                .await?;
            wanted = "sync_state = 'sync'";
        }
        let asked = format!("select count(*) from pg_stat_replication where {wanted}");
        eventually("the standby follows", async || {
            self.number(&asked).await.is_ok_and(|count| count > 0)
        })
        .await;
        Ok(standby)
    }

    /// Replaces the primary server, which has crashed, by a standby.
    pub(crate) async fn promote(&mut self, standby: PathBuf) -> Result<()> {
        let data = standby.join("data");
        self.run("pg_ctl", |command| {
            command.args(["promote", "-w", "-D"]).arg(data)
        })
        .await?;
        let former = std::mem::replace(&mut self.primary, standby);
        std::fs::remove_dir_all(former)?;
        Ok(())
    }

    /// Has Patroni make the standby the primary server: after a kill of the primary server, or in order.
    pub(crate) async fn change_primary(&mut self, kills: bool) -> Result<()> {
        let cluster = self.cluster.as_mut().context("Patroni does not run")?;
        if kills {
            cluster.fail_over().await?;
        } else {
            cluster.switch_over().await?;
        }
        self.find_primary().await
    }

    async fn find_primary(&mut self) -> Result<()> {
        let cluster = self.cluster.as_ref().context("Patroni does not run")?;
        let primary = cluster.primary().await.context("no server is primary")?;
        (self.primary, self.port) = (primary.folder.clone(), primary.port);
        Ok(())
    }

    /// Returns whether Patroni keeps the servers available.
    pub(crate) fn has_patroni(&self) -> bool {
        self.cluster.is_some()
    }

    /// Gives the disk only the room that is used, or as much as at first.
    pub(crate) async fn fill_disk(&self, is_full: bool) {
        eventually("the disk gets another size", async || {
            let size = if is_full {
                self.used()
            } else {
                DISK.to_owned()
            };
            let remount = Command::new("mount")
                .arg("-o")
                .arg(format!("remount,size={size}"))
                .arg(self.folder.path())
                .stderr(Stdio::null())
                .status();
            // More may be used by now.
            remount.await.is_ok_and(|status| status.success())
        })
        .await;
    }

    /// Returns a little more than how many bytes of the disk are used.
    fn used(&self) -> String {
        const ROOM: u64 = 256 << 10;

        let disk = rustix::fs::statvfs(self.folder.path()).expect("the size of the disk");
        let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
        (used + ROOM).to_string()
    }

    /// Stops the servers.
    pub(crate) async fn stop(&mut self) {
        match &mut self.cluster {
            Some(cluster) => cluster.stop().await,
            None => drop(self.stop_server(Stop::Immediate).await),
        }
        if self.has_disk {
            let umount = Command::new("umount")
                .arg("-l")
                .arg(self.folder.path())
                .status();
            let _unmounted = umount.await;
        }
    }

    /// Runs a program of Postgres.
    async fn run(
        &self,
        program: &str,
        change: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
    ) -> Result<()> {
        let mut command = std::process::Command::new(self.bin.join(program));
        if rustix::process::geteuid().is_root() {
            command.uid(self.account.0).gid(self.account.1);
        }
        command
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        change(&mut command);
        let status = Command::from(command).status();
        let status = tokio::time::timeout(Duration::from_secs(60), status)
            .await
            .with_context(|| format!("{program} hangs"))?
            .with_context(|| format!("could not run {program} of {}", self.bin.display()))?;
        ensure!(status.success(), "{program} failed");
        Ok(())
    }
}
