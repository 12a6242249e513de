//! The job `store_file`: keeps one file in the store, and puts out its digest.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use queue_worker::{Backoff, Cx, Job, Limits, Options, Perform, StepError};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::Scanner;
use crate::path::{AnyPath, tenant_of};

/// The queue of these jobs.
pub(crate) const QUEUE: &str = "scan.files";

/// How many files of one tenant are stored at once.
const FILES_OF_A_TENANT: u32 = 4;

/// Stores one file of a folder.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoreFile {
    pub(crate) folder: AnyPath,
    /// The path of the file in the folder.
    pub(crate) file: AnyPath,
}

impl Job for StoreFile {
    const KIND: &'static str = "store_file";

    /// A killed process is no fault of the job, however often it happens.
    fn options() -> Options {
        Options::new().queue(QUEUE).attempts(3).crashes(1_000)
    }

    fn limits(&self) -> Limits {
        Limits::key(tenant_of(&self.file.0)).to(FILES_OF_A_TENANT)
    }
}

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("could not open it: {0}")]
    Open(io::Error),
    #[error("could not read it: {0}")]
    Read(io::Error),
    #[error("it is not a regular file any more")]
    NotAFile,
    #[error("could not write it to the store: {0}")]
    Store(io::Error),
    #[error("stopped while it was stored")]
    Stopped,
    #[error(transparent)]
    Step(#[from] StepError),
}

impl Perform<Scanner> for StoreFile {
    type Error = FileError;

    /// May be repeated: it writes the same file of the store again.
    async fn perform(self, cx: Cx<Scanner>) -> Result<(), FileError> {
        let path = self.folder.0.join(self.file.0);
        let (store, stop) = (cx.state().store.clone(), cx.token().clone());
        let (job, attempt) = (cx.job_id(), cx.attempt().number);
        let storing = tokio::task::spawn_blocking(move || {
            let partial = store.partial(job, attempt);
            store.put(open(&path)?, partial, &stop)
        });
        let stored = storing
            .await
            .map_err(|stopped| FileError::Read(stopped.into()))??;
        cx.output(&stored)?;
        Ok(())
    }

    fn backoff() -> Backoff {
        Backoff::list([Duration::from_millis(200), Duration::from_secs(1)])
    }
}

/// Opens a file that was a regular one when the folder was walked. It may have become a link, which
/// is not followed, or a pipe, on which opening would wait for ever.
fn open(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => FileError::NotAFile,
            _ => FileError::Open(error),
        })?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err(FileError::NotAFile),
        Err(error) => Err(FileError::Open(error)),
    }
}
