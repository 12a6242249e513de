//! The data directory, which `initdb` creates once and which is kept between runs.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use sqlx::postgres::PgConnectOptions;

use super::account::Account;
use super::directories::Directories;
use super::error::{At, EmbeddedError, ignore};
use super::find::Binaries;

/// The name of the superuser and of the database.
pub(super) const NAME: &str = "queue";
pub(super) const PORT: u16 = 5432;

/// A data directory, the programs that serve it, and the user that runs them.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) account: Account,
    pub(super) binaries: Binaries,
    pub(super) directories: Directories,
    pub(super) durable: bool,
    /// The server's settings, as name and value.
    pub(super) settings: Vec<(String, String)>,
}

impl Cluster {
    pub(super) fn connect_to(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.directories.socket)
            .port(PORT)
            .username(NAME)
            .database(database)
    }

    /// Creates the data directory if there is none, and otherwise checks that it was written by
    /// the same major version. `lock` is the open lock file.
    pub(super) fn ensure_data(&self, lock: &File) -> Result<(), EmbeddedError> {
        let path = self.directories.data.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(written) if written.trim() == self.binaries.major.to_string() => Ok(()),
            Ok(written) => Err(EmbeddedError::VersionMismatch {
                path: self.directories.data.clone(),
                written: written.trim().to_owned(),
                programs: self.binaries.major,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => self.create_data(lock),
            Err(error) => Err(error).at(&path),
        }
    }

    /// Creates the data directory under another name and renames it, so that an interrupted
    /// `initdb` leaves no incomplete data directory.
    fn create_data(&self, lock: &File) -> Result<(), EmbeddedError> {
        let fresh = self.directories.data.with_extension("new");
        ignore(ErrorKind::NotFound, fs::remove_dir_all(&fresh)).at(&fresh)?;
        self.run_initdb(&fresh, lock)?;
        fs::rename(&fresh, &self.directories.data).at(&self.directories.data)
    }

    fn run_initdb(&self, fresh: &Path, lock: &File) -> Result<(), EmbeddedError> {
        let program = self.binaries.program("initdb");
        let mut command = self.account.command(&program);
        // An `initdb` that outlives its caller still holds the lock through its standard input,
        // so no other process starts a second one.
        command.stdin(lock.try_clone().at(fresh)?);
        command.arg("-D").arg(fresh).args(["-U", NAME]);
        command.args(["-A", "trust", "--no-locale", "-E", "UTF8"]);
        if !self.durable {
            command.arg("--no-sync");
        }
        let output = command.output().at(&program)?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if errors.contains("could not look up effective user ID") {
            return Err(EmbeddedError::UnknownUser(self.account.uid));
        }
        Err(EmbeddedError::Initdb {
            path: fresh.to_owned(),
            output: errors,
        })
    }
}
