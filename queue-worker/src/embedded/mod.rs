//! A private Postgres for development and for tests.
//!
//! [`Embedded::start`] finds the programs of an installed Postgres and runs a private server with
//! them. The server listens on a Unix socket in a directory that only its user may enter, and its
//! data is kept between runs. Nothing is downloaded, and the Postgres server of the system is not
//! affected.
//!
//! There is one server per data directory. A second start on the same data *adopts* the running
//! server. A start holds a lock, so any number of processes may start at once. The server ends with
//! its last user, even after `kill -9`: a shell per user waits for the end of its process, and the
//! last one stops the server. If a shell is killed too, the next start adopts the server.

mod lifecycle;
mod server;

mod cluster;

mod directories;

mod account;
mod find;

mod error;

use std::path::{Path, PathBuf};

use sqlx::postgres::PgConnectOptions;

use account::Account;
use cluster::{Cluster, NAME, PORT};
use directories::Directories;
pub use error::EmbeddedError;
use find::Binaries;
use lifecycle::{Running, adopt_or_start, blocking};

/// The options of a server.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The directory for data, log and lock, created if missing. By default there is one for each
    /// project, in the home directory of the user.
    pub data: Option<PathBuf>,
    /// Whether committed data survives a crash of the machine. `false` is for tests; the data then
    /// has a directory of its own.
    pub durable: bool,
    /// Further settings of the server, as name and value. They do not change an adopted server.
    pub settings: Vec<(String, String)>,
}

impl Default for EmbeddedOptions {
    fn default() -> EmbeddedOptions {
        EmbeddedOptions {
            data: None,
            durable: true,
            settings: Vec::new(),
        }
    }
}

/// A Postgres server for this process, and its database `queue`.
///
/// When dropped, it leaves the server, which then stops unless it has other users, and does not wait.
#[derive(Debug)]
pub struct Embedded {
    cluster: Cluster,
    running: Running,
}

impl Embedded {
    /// Starts a server, or adopts the one that another process runs on the same data, and waits
    /// until it accepts connections and has the database `queue`. This takes a few seconds the
    /// first time, and some tenths of a second later.
    pub async fn start(options: EmbeddedOptions) -> Result<Embedded, EmbeddedError> {
        let account = Account::choose()?;
        let binaries = Binaries::find()?;
        account.check_reach(&binaries.program("postgres"))?;
        let base = options.data.as_deref();
        let directories = Directories::prepare(base, binaries.major, options.durable, &account)?;
        let mut embedded = Embedded {
            cluster: Cluster {
                account,
                binaries,
                directories,
                durable: options.durable,
                settings: options.settings,
            },
            running: Running::No,
        };
        embedded.start_server().await?;
        Ok(embedded)
    }

    /// Returns the options to connect to the database `queue`.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.cluster.connect_to(NAME)
    }

    /// Returns the URL of the database `queue`, for sqlx and libpq.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.cluster.directories.socket.display().to_string();
        let host = socket.replace('/', "%2F");
        format!("postgres://{NAME}@{host}:{PORT}/{NAME}")
    }

    /// Returns the data directory of the server.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.cluster.directories.data
    }

    /// Returns the directory of the server's socket, which clients use as the host.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.cluster.directories.socket
    }

    /// Returns whether another process started the server, so that this one only uses it.
    #[must_use]
    pub fn adopted(&self) -> bool {
        matches!(self.running, Running::Adopted(_))
    }

    /// Returns a line for the log: the version, the data directory, and how to connect.
    #[must_use]
    pub fn announcement(&self) -> String {
        let how = match self.adopted() {
            true => "was running already",
            false => "started",
        };
        format!(
            "Postgres {} for development {how}: data in {}; connect with: psql -h {} -U {NAME}",
            self.cluster.binaries.major,
            self.data_dir().display(),
            self.socket_dir().display(),
        )
    }

    /// Leaves the server. If it has no other users, stops it: closes connections and writes committed
    /// data.
    ///
    /// # Errors
    /// Fails if the server does not stop within a minute, and not immediately either.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        let Some(supervisor) = self.running.take() else {
            return Ok(());
        };
        let has_left = blocking(&self.cluster, |_| Ok(supervisor.leave())).await?;
        self.cluster.directories.close_socket_dir();
        match server::running(&self.cluster)? {
            Some(pid) if !has_left => Err(EmbeddedError::StillRunning(pid)),
            _ => Ok(()),
        }
    }

    /// Stops the server, even if it has other users: closes connections and writes committed data. Does
    /// nothing if it was stopped before.
    ///
    /// # Errors
    /// Fails if the server does not stop within a minute, and not immediately either.
    pub async fn stop_server(&mut self) -> Result<(), EmbeddedError> {
        match self.end_server("fast").await {
            Err(_) => self.end_server("immediate").await,
            Ok(()) => Ok(()),
        }
    }

    /// Ends the server like a crash: it recovers at its next start.
    ///
    /// # Errors
    /// Fails if the server does not end within a minute.
    pub async fn crash_server(&mut self) -> Result<(), EmbeddedError> {
        self.end_server("immediate").await
    }

    /// Starts the server again after it has ended, on the same data and the same socket. Does
    /// nothing while a server runs that this process started.
    pub async fn start_server(&mut self) -> Result<(), EmbeddedError> {
        if let Running::Started(_) = self.running
            && server::running(&self.cluster)?.is_some()
        {
            return Ok(());
        }
        let started = adopt_or_start(&self.cluster).await;
        if started.is_err() {
            self.cluster.directories.close_socket_dir();
        }
        self.running = started?;
        Ok(())
    }

    /// Ends the server in `pg_ctl`'s mode `fast` or `immediate`.
    async fn end_server(&mut self, mode: &'static str) -> Result<(), EmbeddedError> {
        if matches!(self.running, Running::No) {
            return Ok(());
        }
        blocking(&self.cluster, move |cluster| server::stop(cluster, mode)).await?;
        if let Some(supervisor) = self.running.take() {
            supervisor.dismiss();
        }
        self.cluster.directories.close_socket_dir();
        Ok(())
    }
}
