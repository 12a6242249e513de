//! The report of a run: which files were stored, and which were not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use queue_worker::{Child, ChildEnd, Cx, JobId};
use serde::{Deserialize, Serialize};

use crate::folder::{Begun, ScanError};
use crate::path::{AnyPath, one_line, shown};
use crate::store::Stored;
use crate::tables::Found;
use crate::{Scanner, manifest, tables};

/// The most failures that a report names; the manifest names them all.
const NAMED_MAX: usize = 20;

/// What is delivered when a run is over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) manifest: AnyPath,
    pub(crate) stored: u64,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    /// Files and folders that failed, with why.
    pub(crate) named: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// All files were stored.
    Success,
    /// Some files were not.
    Partial,
    /// None was.
    Failed,
}

/// A file that was not stored, or a folder that could not be listed, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) path: PathBuf,
    /// The job that was to store it.
    job_id: Option<JobId>,
    pub(crate) error: String,
}

/// Writes the manifest of a run whose files have ended, and makes its report.
pub(crate) async fn report(
    cx: &Cx<Scanner>,
    begun: &Begun,
    folder: &Path,
) -> Result<Report, ScanError> {
    let children = cx.children_of::<Stored>(begun.batch).await?;
    let ends = children.into_iter().map(|Child { id, end, .. }| (id, end));
    let mut ends: HashMap<JobId, ChildEnd<Stored>> = ends.collect();
    let (mut stored, mut failures) = (Vec::new(), Vec::new());
    for found in tables::found(cx.queue().pool(), begun.run).await? {
        let end = found.job_id.and_then(|job| ends.remove(&job));
        match end {
            Some(ChildEnd::Done(Some(file))) => stored.push((found.path, file)),
            end => failures.push(failure(found, end)),
        }
    }
    let manifests = &cx.state().manifests;
    let manifest = manifest::write(manifests, begun.run, folder, &stored, &failures);
    let outcome = match (stored.is_empty(), failures.is_empty()) {
        (_, true) => Outcome::Success,
        (false, false) => Outcome::Partial,
        (true, false) => Outcome::Failed,
    };
    Ok(Report {
        outcome,
        manifest: AnyPath(manifest.map_err(ScanError::Manifest)?),
        stored: stored.len() as u64,
        bytes: stored.iter().map(|(_, file)| file.bytes).sum(),
        failed: failures.len() as u64,
        named: failures.iter().take(NAMED_MAX).map(named).collect(),
    })
}

fn failure(found: Found, end: Option<ChildEnd<Stored>>) -> Failure {
    let error = match (found.error, end) {
        (Some(error), _) | (None, Some(ChildEnd::Failed(error))) => error,
        (None, Some(ChildEnd::Done(_))) => "its digest was not recorded".to_owned(),
        (None, Some(ChildEnd::Unended)) => "its job was retried".to_owned(),
        _ => "its job was given up".to_owned(),
    };
    Failure {
        path: found.path,
        job_id: found.job_id,
        error,
    }
}

fn named(failure: &Failure) -> String {
    let path = match failure.path.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => shown(&failure.path),
    };
    let job = failure.job_id.map(|id| format!(" (job {id})"));
    format!(
        "{path}: {}{}",
        one_line(&failure.error),
        job.unwrap_or_default()
    )
}
