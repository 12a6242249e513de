//! The store: compressed files under the digest of their content. A content is stored once, however many
//! files have it. A file of the store is complete, or it is not there: it is written under another name, and
//! then renamed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use queue_worker::JobId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio_util::sync::CancellationToken;

use crate::file::FileError;
use crate::path::hex;

const CHUNK_BYTES: usize = 256 * 1024;

/// A folder of the files `ab/cdef….gz`, each of which has the SHA-256 `abcdef…` without compression.
#[derive(Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// A file that is in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub(crate) digest: String,
}

impl Store {
    /// Opens the store in a folder, and creates it if it is missing.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(folder.join("partial"))?;
        Ok(Self { folder })
    }

    /// Returns the path to which a run of a job writes, and removes what earlier runs have left there when
    /// they were killed. Each run has a path of its own: one that was taken for dead may still write.
    pub(crate) fn partial(&self, job: JobId, attempt: i32) -> PathBuf {
        let path = |attempt| self.folder.join(format!("partial/{job}-{attempt}"));
        for earlier in 1..attempt {
            let _none_was_left = fs::remove_file(path(earlier));
        }
        path(attempt)
    }

    /// Compresses a file into the store piece by piece, unless it is stopped.
    pub(crate) fn put(
        &self,
        mut file: File,
        partial: PathBuf,
        stop: &CancellationToken,
    ) -> Result<Stored, FileError> {
        let out = File::create_new(&partial).map_err(FileError::Store)?;
        // Removed, unless it is renamed.
        let partial = TempPath::try_from_path(partial).map_err(FileError::Store)?;
        let mut out = GzEncoder::new(out, Compression::fast());
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut bytes = 0;
        while let length @ 1.. = read(&mut file, &mut chunk).map_err(FileError::Read)? {
            if stop.is_cancelled() {
                return Err(FileError::Stopped);
            }
            hasher.update(&chunk[..length]);
            out.write_all(&chunk[..length]).map_err(FileError::Store)?;
            bytes += length as u64;
        }
        let digest = hex(&hasher.finalize());
        let written = out.finish().and_then(|out| out.sync_all());
        written
            .and_then(|()| self.keep(partial, &digest))
            .map_err(FileError::Store)?;
        Ok(Stored { bytes, digest })
    }

    /// Renames a complete file, in place of an equal one if there is one.
    fn keep(&self, partial: TempPath, digest: &str) -> io::Result<()> {
        let path = self.path(digest);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(partial.persist(path)?)
    }

    fn path(&self, digest: &str) -> PathBuf {
        let (folder, name) = digest.split_at(2);
        self.folder
            .join(folder)
            .join(Path::new(name).with_extension("gz"))
    }
}

/// Reads the next piece, which is empty at the end.
fn read(file: &mut File, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
