//! A data directory for the server of one test run.
//!
//! Directories are numbered and used again, so that killed runs do not leave more and more of them
//! behind.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A directory that no other run uses while this value lives.
pub(crate) struct Slot {
    directory: PathBuf,
    _lock: File,
}

impl Slot {
    /// Takes the first directory that is free.
    pub(crate) fn take() -> Result<Slot> {
        let uid = rustix::process::geteuid().as_raw();
        let parent = scratch().join(format!("queue-tests-{uid}"));
        open_directory(&parent)?;
        for number in 0.. {
            let lock = File::create(parent.join(format!("{number}.lock")))
                .with_context(|| format!("could not make a lock in {}", parent.display()))?;
            if lock.try_lock().is_ok() {
                let directory = parent.join(number.to_string());
                return Ok(Slot {
                    directory,
                    _lock: lock,
                });
            }
        }
        bail!("no directory for tests is free in {}", parent.display())
    }

    /// Returns where to keep the data of the run.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns whether the server of the last run was not stopped in order.
    pub(crate) fn has_pid_file(&self) -> bool {
        fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .any(|server| server.path().join("data/postmaster.pid").exists())
    }

    /// Removes the data of the last run.
    pub(crate) fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("could not clear {}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Returns where the servers of tests keep their data: in memory if there is room, because a database
/// is copied five times faster there than on a disk.
pub(crate) fn scratch() -> PathBuf {
    const ROOM_MIN: u64 = 4 << 30;

    let memory = PathBuf::from("/dev/shm");
    let room = rustix::fs::statvfs(&memory).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    if room >= ROOM_MIN {
        memory
    } else {
        std::env::temp_dir()
    }
}

/// Creates a directory that other users may pass through, because root runs Postgres as another user.
fn open_directory(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("could not make {}", path.display()))
        }
        _ => Ok(()),
    }
}
