//! A private Postgres for development and for tests.
//!
//! [`Embedded::start`] finds the programs of a Postgres on this machine and runs a server of its
//! own with them. It is reachable through a Unix socket in a directory that only its user may enter,
//! and its data is kept from run to run. Nothing is downloaded, and the system's own Postgres
//! server is neither used nor disturbed.
//!
//! One server serves a data directory. A second start on the same data *adopts* the running
//! server: it uses the server and leaves it running. A start holds a lock, so any number of
//! processes may start at once. The server ends with the process that started it, even after a
//! `kill -9`: a shell waits for that and stops the server. If both are killed, the next start
//! adopts the server that was left behind.

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
use lifecycle::Running;

/// What kind of server to run, and where.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The directory that holds everything, created if missing. The default is a directory for
    /// the current project, outside of the project's own.
    pub data: Option<PathBuf>,
    /// Whether committed data survives a crash of the machine. `false` is for tests; such a
    /// server has a data directory of its own.
    pub durable: bool,
    /// Further settings of the server, as name and value. An adopted server keeps its own.
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
/// Dropping it asks the server to stop, unless it was adopted, and does not wait for that.
#[derive(Debug)]
pub struct Embedded {
    cluster: Cluster,
    running: Running,
}

impl Embedded {
    /// Starts a server, or adopts the one that another process runs on the same data, and waits
    /// until it accepts connections and has the database `queue`. Takes a few seconds the first
    /// time and a few tenths of a second later.
    ///
    /// # Errors
    /// Every way in which a machine can fail to provide this has its [`EmbeddedError`].
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

    /// How to connect to the database `queue`.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.cluster.connect_to(NAME)
    }

    /// The database `queue` as a URL that sqlx and libpq understand.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.cluster.directories.socket.display().to_string();
        let host = socket.replace('/', "%2F");
        format!("postgres://{NAME}@{host}:{PORT}/{NAME}")
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.cluster.directories.data
    }

    /// The directory with the server's socket, which clients take for its host.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.cluster.directories.socket
    }

    /// Whether another process started the server, and this one only uses it.
    #[must_use]
    pub fn adopted(&self) -> bool {
        matches!(self.running, Running::Adopted)
    }

    /// Says in one line what runs, where its data is and how to connect.
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

    /// Stops the server if this process started it, and leaves an adopted one running.
    ///
    /// # Errors
    /// When the server does not stop in a minute, even if told not to finish anything.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        if self.adopted() {
            return Ok(());
        }
        self.stop_server().await
    }

    /// Stops the server, adopted or not: connections are closed, what is committed is written.
    /// Does nothing if it was stopped already.
    ///
    /// # Errors
    /// When the server does not stop in a minute, even if told not to finish anything.
    pub async fn stop_server(&mut self) -> Result<(), EmbeddedError> {
        match self.end_server("fast").await {
            Err(_) => self.end_server("immediate").await,
            Ok(()) => Ok(()),
        }
    }

    /// Ends the server as a crash would: it closes nothing and recovers at its next start.
    ///
    /// # Errors
    /// When the server does not end in a minute.
    pub async fn crash_server(&mut self) -> Result<(), EmbeddedError> {
        self.end_server("immediate").await
    }

    /// Starts the server again after it was stopped or has ended, on the same data and the same
    /// socket. Does nothing while a server that this process started runs.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_server(&mut self) -> Result<(), EmbeddedError> {
        if let Running::Started(_) = self.running
            && server::running(&self.cluster)?.is_some()
        {
            return Ok(());
        }
        let started = lifecycle::adopt_or_start(&self.cluster).await;
        if started.is_err() {
            self.cluster.directories.close_socket_dir();
        }
        self.running = started?;
        Ok(())
    }

    async fn end_server(&mut self, mode: &'static str) -> Result<(), EmbeddedError> {
        lifecycle::stop(&self.cluster, &mut self.running, mode).await
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Running::Started(_) = self.running {
            // The shell would stop the server too, but perhaps only after the next start has
            // adopted it.
            let _ = server::request_stop(&self.cluster);
        }
    }
}
