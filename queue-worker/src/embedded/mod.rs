//! A private Postgres for development and for tests.
//!
//! [`Embedded::start`] finds the programs of a Postgres on this machine and runs a server of its
//! own with them: reachable through a Unix socket in a directory that nobody else may enter, with
//! its data kept from run to run. Nothing is downloaded, and a server of the system is neither
//! used nor disturbed.
//!
//! One server serves a data directory. Who comes second *adopts* the server that runs: it uses
//! it and leaves it running. A start holds a lock, so that any number of processes may start at
//! once. The server ends with the process that started it; where the system cannot see to that
//! after a `kill -9` (Linux can, with `setpriv`), the next start adopts what was left behind.

mod account;
mod cluster;
mod error;
mod find;
mod guard;
mod leftover;
mod lifecycle;
mod place;
mod server;

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};
use sqlx::postgres::PgConnectOptions;

use account::Account;
pub use error::EmbeddedError;
use find::Binaries;
use guard::Guard;
use place::Place;
use server::Server;

/// The name of the superuser and of the database.
const NAME: &str = "queue";
const PORT: u16 = 5432;

/// What kind of server to run, and where.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The directory below which everything is kept, made if it is missing; without one, a
    /// directory that belongs to the current project, outside of it.
    pub data: Option<PathBuf>,
    /// Whether what is committed survives a crash of the machine. `false` is for tests, and
    /// keeps its data apart from that of a durable server.
    pub durable: bool,
    /// More of the server's settings, as name and value. A server that is adopted keeps its own.
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
/// Dropping it tells a server that this process started to stop, and does not wait for that.
#[derive(Debug)]
pub struct Embedded {
    options: EmbeddedOptions,
    account: Account,
    binaries: Binaries,
    guard: Guard,
    place: Place,
    running: Running,
}

#[derive(Debug)]
enum Running {
    No,
    Started(Server),
    Adopted(Pid),
}

impl Embedded {
    /// Starts a server, or adopts the one that another process runs on the same data, and waits
    /// until it accepts connections and has the database `queue`. Takes a few seconds the first
    /// time and about a tenth of a second later.
    ///
    /// # Errors
    /// Every way in which a machine can fail to provide this has its [`EmbeddedError`].
    pub async fn start(options: EmbeddedOptions) -> Result<Embedded, EmbeddedError> {
        let account = Account::choose()?;
        let binaries = Binaries::find()?;
        account.check_reach(&binaries.program("postgres"))?;
        let base = options.data.as_deref();
        let place = Place::prepare(base, binaries.major, options.durable, &account)?;
        let mut embedded = Embedded {
            options,
            account,
            binaries,
            guard: Guard::find(),
            place,
            running: Running::No,
        };
        embedded.start_server().await?;
        Ok(embedded)
    }

    /// How to connect to the database `queue`.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.connect_to(NAME)
    }

    /// The database `queue` as a URL that sqlx and libpq understand.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.place.socket.display().to_string();
        let host = socket.replace('/', "%2F");
        format!("postgres://{NAME}@{host}:{PORT}/{NAME}")
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.place.data
    }

    /// The directory with the server's socket, which clients take for its host.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket
    }

    /// The file that the server logs to; each start begins it anew.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.place.log
    }

    /// The server's major version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.binaries.major
    }

    /// Whether another process started the server, and this one only uses it.
    #[must_use]
    pub fn adopted(&self) -> bool {
        matches!(self.running, Running::Adopted(_))
    }

    /// Says in one line what runs, where its data is and how to connect.
    #[must_use]
    pub fn announcement(&self) -> String {
        let how = if self.adopted() {
            "was running already"
        } else {
            "started"
        };
        format!(
            "Postgres {} for development {how}: data in {}; connect with: psql -h {} -U {NAME}",
            self.version(),
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
        match self.end_server(Signal::INT).await {
            Err(_) => self.end_server(Signal::QUIT).await,
            Ok(()) => Ok(()),
        }
    }

    /// Ends the server as a crash would: it closes nothing and recovers at its next start.
    ///
    /// # Errors
    /// When the server does not end in a minute.
    pub async fn crash_server(&mut self) -> Result<(), EmbeddedError> {
        self.end_server(Signal::QUIT).await
    }

    /// Starts the server again after it was stopped or has ended, on the same data and the same
    /// socket. Does nothing while a server that this process started runs.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_server(&mut self) -> Result<(), EmbeddedError> {
        if let Running::Started(server) = &self.running
            && server.ended().is_none()
        {
            return Ok(());
        }
        let started = self.adopt_or_launch().await;
        if started.is_err() {
            self.place.close_socket_dir();
        }
        self.running = started?;
        Ok(())
    }

    fn connect_to(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.place.socket)
            .port(PORT)
            .username(NAME)
            .database(database)
    }
}
