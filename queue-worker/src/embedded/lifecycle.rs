//! Starting a server, or adopting a running one.

use std::fs::File;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, NAME};
use super::error::{At, EmbeddedError};
use super::server::{self, Supervisor};

/// How long to wait for a server that another process started.
const ADOPT_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Whether the server runs, and who started it.
#[derive(Debug)]
pub(super) enum Running {
    No,
    Started(Supervisor),
    Adopted(Supervisor),
}

impl Running {
    /// Takes the shell, if the server runs.
    pub(super) fn take(&mut self) -> Option<Supervisor> {
        match std::mem::replace(self, Self::No) {
            Self::No => None,
            Self::Started(supervisor) | Self::Adopted(supervisor) => Some(supervisor),
        }
    }
}

/// Adopts a running server, or starts one, and creates its database. Holds the lock, so that no
/// other process does the same at the same time.
pub(super) async fn adopt_or_start(cluster: &Cluster) -> Result<Running, EmbeddedError> {
    let lock = blocking(cluster, |cluster| cluster.directories.lock()).await?;
    cluster.directories.open_socket_dir(&cluster.account)?;
    if let Some(supervisor) = adopt(cluster).await? {
        return Ok(Running::Adopted(supervisor));
    }
    let supervisor = start(cluster, lock.try_clone().at(&cluster.directories.home)?).await?;
    let prepared = ensure_database(cluster).await;
    prepared.map_err(EmbeddedError::Database)?;
    Ok(Running::Started(supervisor))
}

/// Adopts a server that another process started, if there is one. Waits for a server that is starting
/// up or shutting down until it accepts connections or has ended.
async fn adopt(cluster: &Cluster) -> Result<Option<Supervisor>, EmbeddedError> {
    let deadline = Instant::now() + ADOPT_MAX;
    while let Some(pid) = blocking(cluster, server::running).await? {
        let answer = match ensure_database(cluster).await {
            Ok(()) => blocking(cluster, server::join)
                .await?
                .ok_or(sqlx::Error::PoolClosed),
            Err(error) => Err(error),
        };
        match answer {
            Ok(supervisor) => return Ok(Some(supervisor)),
            Err(source) if Instant::now() > deadline => {
                return Err(EmbeddedError::Unanswering {
                    pid,
                    data: cluster.directories.data.clone(),
                    log: cluster.directories.end_of_log(),
                    source,
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
    server::remove_pid_file(cluster)?;
    Ok(None)
}

/// Creates the data directory if there is none, and starts a server.
async fn start(cluster: &Cluster, lock: File) -> Result<Supervisor, EmbeddedError> {
    blocking(cluster, move |cluster| cluster.ensure_data(&lock)).await?;
    let deadline = Instant::now() + ADOPT_MAX;
    loop {
        match blocking(cluster, server::start).await {
            // The backends of a killed server end shortly after it.
            Err(EmbeddedError::Ended(log))
                if log.contains("shared memory block") && Instant::now() < deadline =>
            {
                sleep(PAUSE).await;
            }
            started => return started,
        }
    }
}

async fn ensure_database(cluster: &Cluster) -> Result<(), sqlx::Error> {
    let options = cluster.connect_to("postgres");
    let connecting = timeout(ADOPT_MAX, options.connect()).await;
    let mut connection = connecting.map_err(|_| sqlx::Error::PoolTimedOut)??;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(NAME)
            .fetch_one(&mut connection)
            .await?;
    if !there {
        sqlx::query("create database queue")
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

/// Runs blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    cluster: &Cluster,
    work: impl FnOnce(&Cluster) -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    let owned = cluster.clone();
    let working = tokio::task::spawn_blocking(move || work(&owned));
    working
        .await
        .map_err(std::io::Error::other)
        .at(&cluster.directories.data)?
}
