//! The directories of the embedded Postgres, with its data, log, lock and socket.
//!
//! Only the user that runs the server may enter them: the server trusts every client that can
//! reach its socket.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::account::Account;
use super::error::{At, EmbeddedError, ignore};

/// How much of the log an error shows.
const TAIL_BYTES: usize = 2_000;

/// The directories of one server.
#[derive(Debug, Clone)]
pub(super) struct Directories {
    pub(super) home: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
}

impl Directories {
    /// Creates missing directories for a server of this major version, below `base` or below the
    /// directory of the current project.
    pub(super) fn prepare(
        base: Option<&Path>,
        major: u32,
        durable: bool,
        account: &Account,
    ) -> Result<Directories, EmbeddedError> {
        let base = match base {
            Some(base) => given_base(base, account)?,
            None => project_base(account)?,
        };
        // Data that may be lost in a crash has a directory of its own.
        let suffix = if durable { "" } else { "-unsynced" };
        let home = base.join(format!("pg{major}{suffix}"));
        account.check_reach(&home)?;
        private_directory(&home, account)?;

        // The path of a socket is limited to about 100 bytes, so it is not below `home`.
        let name = format!(".queue-{}-{}", account.uid, fingerprint(home.as_os_str()));
        let socket = Path::new("/tmp").join(name);
        Ok(Directories {
            data: home.join("data"),
            log: home.join("server.log"),
            home,
            socket,
        })
    }

    /// Creates the directory of the socket. The caller must hold the lock.
    pub(super) fn open_socket_dir(&self, account: &Account) -> Result<(), EmbeddedError> {
        private_directory(&self.socket, account)
    }

    /// Removes the directory of the socket, unless another process runs or starts a server here.
    pub(super) fn close_socket_dir(&self) {
        let lock = self.open_lock();
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir(&self.socket);
        }
    }

    /// Waits until no other process starts a server here, and takes the lock. It is released when
    /// the file is closed, at the latest when this process ends.
    pub(super) fn lock(&self) -> Result<File, EmbeddedError> {
        let file = self.open_lock().at(&self.home)?;
        file.lock().at(&self.home)?;
        Ok(file)
    }

    /// Does not follow links: root opens the lock in a directory where another user may have left
    /// one.
    fn open_lock(&self) -> io::Result<File> {
        let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow)
            .open(self.home.join("lock"))
    }

    /// Returns a text with the end of the log, or why it cannot be read.
    pub(super) fn end_of_log(&self) -> String {
        let end = match fs::read(&self.log) {
            Ok(log) => {
                let start = log.len().saturating_sub(TAIL_BYTES);
                String::from_utf8_lossy(&log[start..]).trim_end().to_owned()
            }
            Err(error) => format!("({error})"),
        };
        format!("the end of {}:\n{end}", self.log.display())
    }
}

/// Returns the directory that the caller chose. Creates it if it is missing.
fn given_base(base: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    if !base.exists() {
        if let Some(parent) = base.parent() {
            fs::create_dir_all(parent).at(parent)?;
        }
        private_directory(base, account)?;
    }
    base.canonicalize().at(base)
}

/// Returns the directory for the current project. Creates it if it is missing.
fn project_base(account: &Account) -> Result<PathBuf, EmbeddedError> {
    let shared = match personal_directory(account) {
        Some(personal) => {
            fs::create_dir_all(&personal).at(&personal)?;
            personal.join("queue-dev")
        }
        None => PathBuf::from(format!("/var/tmp/queue-dev-{}", account.uid)),
    };
    private_directory(&shared, account)?;
    let base = shared.join(fingerprint(project()?.as_os_str()));
    private_directory(&base, account)?;
    base.canonicalize().at(&base)
}

/// Returns the directory for data of the caller. There is none if the caller has no home, like a
/// service, or if another user runs the server, who cannot enter that home.
fn personal_directory(account: &Account) -> Option<PathBuf> {
    if account.borrowed {
        return None;
    }
    let named = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || named("HOME").filter(|home| home.is_dir());
    named("XDG_DATA_HOME").or_else(|| Some(home()?.join(".local/share")))
}

/// Returns the nearest directory at or above the current one that looks like the root of a project,
/// so that all commands within the project use the same database.
fn project() -> Result<PathBuf, EmbeddedError> {
    let here = Path::new(".");
    let here = here.canonicalize().at(here)?;
    let top = here.ancestors().find(|directory| {
        ["queue.toml", ".git", "Cargo.lock"]
            .iter()
            .any(|mark| directory.join(mark).exists())
    });
    Ok(top.unwrap_or(&here).to_owned())
}

/// Creates a directory that only `account` may enter, or makes an existing one private.
fn private_directory(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let created = DirBuilder::new().mode(0o700).create(path);
    ignore(ErrorKind::AlreadyExists, created).at(path)?;
    let found = fs::symlink_metadata(path).at(path)?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_dir() || ![own, account.uid].contains(&found.uid()) {
        return Err(EmbeddedError::NotOurs {
            path: path.to_owned(),
            owner: found.uid(),
            expected: account.uid,
        });
    }
    if found.uid() != account.uid {
        lchown(path, Some(account.uid), Some(account.gid)).at(path)?;
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at(path)?;
    }
    Ok(())
}

/// Returns a hash of a path in 16 hexadecimal digits (64-bit FNV-1a). Unlike that of the standard
/// library, it stays the same in all versions.
fn fingerprint(path: &OsStr) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in path.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::fingerprint;
    use std::ffi::OsStr;

    #[test]
    fn a_fingerprint_stays_the_same() {
        assert_eq!(fingerprint(OsStr::new("")), "cbf29ce484222325");
        assert_eq!(fingerprint(OsStr::new("a")), "af63dc4c8601ec8c");
    }
}
