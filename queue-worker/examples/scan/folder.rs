//! The job `scan_folder`: walks a folder, has a child job store each file, waits for them, and delivers a
//! report. It goes on where it was, whenever its process is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queue_worker::{
    Attempt, Batch, BatchId, Context, Cx, EnqueueError, Job, Limits, NewJob, Next, Options,
    Perform, StepError,
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::file::StoreFile;
use crate::path::{AnyPath, shown, tenant_of};
use crate::report::report;
use crate::walk::{Listing, walk};
use crate::{Scanner, tables};

/// The queue of these jobs, which is the default of `queue enqueue`.
pub(crate) const QUEUE: &str = "default";

/// The length of the end of a folder's path that is its key.
const KEY_BYTES: usize = 200;

/// How many files are enqueued by one transaction.
const CHUNK_FILES: usize = 1_000;

/// Scans a folder.
#[derive(Serialize, Deserialize)]
pub(crate) struct ScanFolder {
    pub(crate) folder: AnyPath,
}

impl Job for ScanFolder {
    const KIND: &'static str = "scan_folder";

    /// A killed process is no fault of the job, however often it happens.
    fn options() -> Options {
        Options::new().queue(QUEUE).attempts(3).crashes(1_000)
    }

    /// A folder is walked by one job at a time. A job that waits for its files does not count.
    fn limits(&self) -> Limits {
        let folder = shown(&self.folder.0);
        let start = folder.ceil_char_boundary(folder.len().saturating_sub(KEY_BYTES));
        Limits::key(&folder[start..]).to(1)
    }
}

/// Why a folder could not be scanned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("{} is relative: give the absolute path", shown(.0))]
    Relative(PathBuf),
    #[error("could not list {}: {error}", shown(.folder))]
    List { folder: PathBuf, error: io::Error },
    #[error("could not list the files: {0}")]
    Walk(io::Error),
    #[error("could not write the manifest: {0:#}")]
    Manifest(anyhow::Error),
    #[error("could not enqueue the files")]
    Enqueue(#[from] EnqueueError),
    #[error("could not record the run")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Step(#[from] StepError),
}

/// The run of a job, which its first step records.
#[derive(Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) run: i64,
    pub(crate) batch: BatchId,
}

impl Perform<Scanner> for ScanFolder {
    type Error = ScanError;

    async fn perform(self, cx: Cx<Scanner>) -> Result<(), ScanError> {
        let AnyPath(folder) = self.folder;
        let begun = cx
            .step_tx("begin", async |tx| begin(tx, &cx, &folder).await)
            .await?;
        cx.step("files", async || enqueue_files(&cx, &begun, &folder).await)
            .await?;
        cx.queue().close_batch(begun.batch).await?;
        cx.join(begun.batch).await?;

        let report = cx
            .step("manifest", async || report(&cx, &begun, &folder).await)
            .await?;
        // Delivered once, however often this job is killed or retried.
        cx.step_tx("report", async |tx| {
            Ok(tables::add_report(tx, begun.run, &report).await?)
        })
        .await
    }

    fn on_error(error: &ScanError, _: &Attempt) -> Next {
        match error {
            ScanError::Relative(_) | ScanError::List { .. } => Next::Fail,
            _ => Next::RetryAfter(Duration::from_secs(1)),
        }
    }
}

/// Begins a run, with a batch that is open for its files.
async fn begin(tx: &mut PgConnection, cx: &Cx<Scanner>, folder: &Path) -> Result<Begun, ScanError> {
    if !folder.is_absolute() {
        return Err(ScanError::Relative(folder.to_owned()));
    }
    std::fs::read_dir(folder).map_err(|error| ScanError::List {
        folder: folder.to_owned(),
        error,
    })?;
    let batch = Batch::new().name(shown(folder)).open();
    let batch = cx.queue().enqueue_batch(batch).tx(tx).await?.id;
    let run = tables::add_run(tx, cx.job_id(), batch, folder).await?;
    Ok(Begun { run, batch })
}

/// Enqueues a job for each file, some by some, and returns how many files there are. After a crash, goes on
/// after the last file that was enqueued.
async fn enqueue_files(cx: &Cx<Scanner>, begun: &Begun, folder: &Path) -> Result<usize, ScanError> {
    let listing = list(folder, cx).await?;
    tables::add_unlisted(cx.queue().pool(), begun.run, &listing.unlisted).await?;
    let (files, mut cursor) = (&listing.files, cx.cursor::<AnyPath>("file").await?);
    let next_files = async |tx: &mut PgConnection, last: Option<&AnyPath>| {
        let done = last.map_or(0, |last| files.partition_point(|file| *file <= last.0));
        let Some(chunk) = files[done..].chunks(CHUNK_FILES).next() else {
            return Ok(None);
        };
        let jobs = jobs(begun.batch, folder, chunk)?;
        let enqueued = cx.queue().enqueue_all(jobs).tx(tx).await?;
        let job_ids = enqueued.iter().map(|job| job.id()).collect();
        tables::add_files(tx, begun.run, job_ids, chunk).await?;
        cx.progress((done + chunk.len()) as u64, files.len() as u64);
        Ok::<_, ScanError>(chunk.last().cloned().map(AnyPath))
    };
    while cursor.advance_tx(next_files).await? {}
    Ok(files.len())
}

/// Returns the jobs of some files, each for the tenant that the file belongs to.
fn jobs(batch: BatchId, folder: &Path, files: &[PathBuf]) -> Result<Vec<NewJob>, EnqueueError> {
    let job = |file: &PathBuf| {
        let tenant = Context::new().tenant(tenant_of(file));
        let job = NewJob::of(&StoreFile {
            folder: AnyPath(folder.to_owned()),
            file: AnyPath(file.clone()),
        })?;
        Ok(job.with(|options| options.batch(batch).context(tenant)))
    };
    files.iter().map(job).collect()
}

/// Lists the folder on a thread of its own.
async fn list(folder: &Path, cx: &Cx<Scanner>) -> Result<Listing, ScanError> {
    let (top, but) = (folder.to_owned(), cx.state().manifests.clone());
    let stop = cx.token().clone();
    tokio::task::spawn_blocking(move || walk(&top, &but, &stop))
        .await
        .unwrap_or_else(|panicked| Err(panicked.into()))
        .map_err(ScanError::Walk)
}
