//! The job `scan_folder`: walks a folder, and in one transaction records the run, enqueues a job
//! for each file, and finishes itself. Whatever crashes, a run is stored as a whole or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queue_worker::{
    Attempt, CompleteError, Cx, Enqueued, Job, JobId, Limits, Next, Options, Perform,
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::hash::HashFile;
use crate::path::{AnyPath, shown};
use crate::walk::{Listing, walk};
use crate::{Scanner, tables};

/// The queue of these jobs, which is the default of `queue enqueue`.
pub(crate) const QUEUE: &str = "default";

/// The length of the end of a folder's path that is its key.
const KEY_BYTES: usize = 200;

/// How many files are enqueued and recorded by one statement.
const CHUNK_FILES: usize = 5_000;

/// Walks a folder, and enqueues a job for each file.
#[derive(Serialize, Deserialize)]
pub(crate) struct ScanFolder {
    pub(crate) folder: AnyPath,
}

impl Job for ScanFolder {
    const KIND: &'static str = "scan_folder";

    fn options() -> Options {
        Options::new().queue(QUEUE).attempts(3)
    }

    /// A folder is walked by one job at a time.
    fn limits(&self) -> Limits {
        let folder = shown(&self.folder.0);
        let start = folder.ceil_char_boundary(folder.len().saturating_sub(KEY_BYTES));
        Limits::key(&folder[start..]).to(1)
    }
}

/// Why a folder could not be scanned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("{} is relative: give the absolute path", shown(.0))]
    Relative(PathBuf),
    #[error("could not list {}: {error}", shown(.folder))]
    List { folder: PathBuf, error: io::Error },
    #[error("could not enqueue the files")]
    Enqueue(#[from] queue_core::EnqueueError),
    #[error("could not record the run")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Complete(#[from] CompleteError),
}

impl Perform<Scanner> for ScanFolder {
    type Error = FolderError;

    async fn perform(self, cx: Cx<Scanner>) -> Result<(), FolderError> {
        let AnyPath(folder) = self.folder;
        if !folder.is_absolute() {
            return Err(FolderError::Relative(folder));
        }
        let listing = list(&folder, &cx).await?;

        let mut tx = queue_core::begin(cx.queue().pool()).await?;
        let run = tables::add_run(&mut tx, cx.job_id(), &folder).await?;
        for files in listing.files.chunks(CHUNK_FILES) {
            let job_ids = enqueue(&mut tx, &cx, &folder, files).await?;
            tables::add_files(&mut tx, run, &job_ids, files).await?;
        }
        tables::add_unlisted(&mut tx, run, &listing.unlisted).await?;
        cx.complete_in(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    fn on_error(error: &FolderError, _: &Attempt) -> Next {
        match error {
            FolderError::Relative(_) | FolderError::List { .. } => Next::Fail,
            _ => Next::RetryAfter(Duration::from_secs(1)),
        }
    }
}

/// Lists the folder on a thread of its own.
async fn list(folder: &Path, cx: &Cx<Scanner>) -> Result<Listing, FolderError> {
    let (top, but) = (folder.to_owned(), cx.state().manifests.clone());
    let stop = cx.token().clone();
    tokio::task::spawn_blocking(move || walk(&top, &but, &stop))
        .await
        .unwrap_or_else(|panicked| Err(panicked.into()))
        .map_err(|error| FolderError::List {
            folder: folder.to_owned(),
            error,
        })
}

async fn enqueue(
    tx: &mut PgConnection,
    cx: &Cx<Scanner>,
    folder: &Path,
    files: &[PathBuf],
) -> Result<Vec<JobId>, queue_core::EnqueueError> {
    let jobs = files.iter().map(|file| HashFile {
        folder: AnyPath(folder.to_owned()),
        file: AnyPath(file.clone()),
    });
    let enqueued = cx.queue().enqueue_many(jobs).tx(tx).await?;
    Ok(enqueued.into_iter().map(Enqueued::id).collect())
}
