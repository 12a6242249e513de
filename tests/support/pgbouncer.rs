//! A PgBouncer in front of the tests' server.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

/// A PgBouncer, which is stopped when this is dropped.
pub struct PgBouncer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

/// When PgBouncer gives a server to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When a client disconnects.
    Session,
    /// When a transaction ends.
    Transaction,
}

impl PoolMode {
    /// Returns the mode in which all processes of tests connect, if `QUEUE_TEST_POOLER` names one.
    ///
    /// # Panics
    /// When the variable names no mode.
    #[must_use]
    pub fn of_tests() -> Option<Self> {
        match std::env::var("QUEUE_TEST_POOLER").as_deref() {
            Err(_) => None,
            Ok("session") => Some(Self::Session),
            Ok("transaction") => Some(Self::Transaction),
            Ok(other) => panic!("QUEUE_TEST_POOLER is {other:?}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
        }
    }
}

impl PgBouncer {
    /// Starts one for all databases of a server that is reached by a socket, with so many connections
    /// to each.
    ///
    /// # Panics
    /// When it does not start; `bin/setup --tests` installs it.
    #[must_use]
    pub fn start(mode: PoolMode, server: &PgConnectOptions, connections: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = server.get_socket().expect("a server with a socket");
        let port = free_port();
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={} user={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {}\ndefault_pool_size = {connections}\nmax_client_conn = 1000\n\
             server_login_retry = 1\n",
            socket.display(),
            server.get_port(),
            server.get_username(),
            mode.name(),
        );
        std::fs::write(&config, text).expect("a written configuration");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new("pgbouncer");
        // It does not run as root, and must be allowed to enter the folder of the socket.
        let owner = std::fs::metadata(socket).expect("the folder of the socket");
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let child = command
            .arg(&config)
            .env("PATH", "/usr/sbin:/usr/bin:/bin:/usr/local/bin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer should start; bin/setup --tests installs it");
        let bouncer = Self {
            child,
            port,
            _folder: folder,
        };
        bouncer.wait();
        bouncer
    }

    fn wait(&self) {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "pgbouncer does not listen"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the URL of a database.
    ///
    /// # Panics
    /// When the options name no database.
    #[must_use]
    pub fn url(&self, database: &PgConnectOptions) -> String {
        let (user, port) = (database.get_username(), self.port);
        let name = database.get_database().expect("a database");
        format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Returns a port on which nothing listens.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
