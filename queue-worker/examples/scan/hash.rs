//! The job `hash_file`: hashes one file, and stores the digest in the transaction that finishes the
//! job.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use queue_worker::{Attempt, Backoff, CompleteError, Cx, Job, Next, Options, Perform};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::path::AnyPath;
use crate::{Scanner, tables};

/// The queue of these jobs.
pub(crate) const QUEUE: &str = "scan.files";

const CHUNK_BYTES: usize = 256 * 1024;

/// Hashes one file of a folder.
#[derive(Serialize, Deserialize)]
pub(crate) struct HashFile {
    pub(crate) folder: AnyPath,
    /// The path of the file in the folder.
    pub(crate) file: AnyPath,
}

impl Job for HashFile {
    const KIND: &'static str = "hash_file";

    fn options() -> Options {
        Options::new().queue(QUEUE).attempts(3)
    }
}

/// Why a file has no digest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error("could not open it: {0}")]
    Open(io::Error),
    #[error("could not read it: {0}")]
    Read(io::Error),
    #[error("it is not a regular file any more")]
    NotAFile,
    #[error("stopped while hashing")]
    Stopped,
    #[error("could not store the digest")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Complete(#[from] CompleteError),
}

/// The size and the digest of a file.
pub(crate) struct Hashed {
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
}

impl Perform<Scanner> for HashFile {
    type Error = HashError;

    async fn perform(self, cx: Cx<Scanner>) -> Result<(), HashError> {
        let path = self.folder.0.join(self.file.0);
        let stop = cx.token().clone();
        let hashed = tokio::task::spawn_blocking(move || sha256(&path, &stop))
            .await
            .map_err(|stopped| HashError::Read(stopped.into()))??;

        let mut tx = queue_core::begin(cx.queue().pool()).await?;
        tables::add_digest(&mut tx, cx.job_id(), &hashed).await?;
        cx.complete_in(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    fn on_error(error: &HashError, _: &Attempt) -> Next {
        match error {
            // The file is not the cause, so this costs no attempt.
            HashError::Database(_) | HashError::Complete(_) => Next::Snooze(Duration::from_secs(1)),
            _ => Next::Retry,
        }
    }

    fn backoff() -> Backoff {
        Backoff::list([Duration::from_millis(200), Duration::from_secs(1)])
    }
}

/// Hashes a file piece by piece, unless it is stopped.
fn sha256(path: &Path, stop: &CancellationToken) -> Result<Hashed, HashError> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        if stop.is_cancelled() {
            return Err(HashError::Stopped);
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                hasher.update(&chunk[..length]);
                bytes += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HashError::Read(error)),
        }
    }
    Ok(Hashed {
        bytes,
        digest: hasher.finalize().into(),
    })
}

/// Opens a file that was a regular one when the folder was walked. It may have become a link, which
/// is not followed, or a pipe, on which opening would wait for ever.
fn open(path: &Path) -> Result<File, HashError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => HashError::NotAFile,
            _ => HashError::Open(error),
        })?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err(HashError::NotAFile),
        Err(error) => Err(HashError::Open(error)),
    }
}
