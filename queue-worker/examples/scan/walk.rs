//! Lists the files of a folder.

use std::io;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use tokio_util::sync::CancellationToken;

/// The files of a folder. Paths are relative to the folder.
#[derive(Default)]
pub(crate) struct Listing {
    /// The regular files, in the order of their paths.
    pub(crate) files: Vec<PathBuf>,
    /// The folders that could not be listed, and why.
    pub(crate) unlisted: Vec<(PathBuf, String)>,
}

/// Walks a folder and lists its regular files. Files named by a `.gitignore`, `.git` itself, and
/// the folder `but` are left out; links are not followed.
///
/// # Errors
/// Fails when the walk is stopped. Folders that cannot be listed are part of the listing.
pub(crate) fn walk(folder: &Path, but: &Path, stop: &CancellationToken) -> io::Result<Listing> {
    let but = but.to_owned();
    // Only the folder's own rules count, so that the list is the same for every user.
    let walker = WalkBuilder::new(folder)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .require_git(false)
        .follow_links(false)
        .filter_entry(move |entry| entry.depth() == 0 || !is_left_out(entry, &but))
        .build();

    let mut listing = Listing::default();
    for found in walker {
        if stop.is_cancelled() {
            return Err(io::Error::other("the walk was stopped"));
        }
        match found {
            Ok(entry) => listing.add(folder, &entry),
            Err(error) => listing.add_error(folder, &error),
        }
    }
    listing.files.sort_unstable();
    Ok(listing)
}

fn is_left_out(entry: &DirEntry, but: &Path) -> bool {
    entry.file_name() == ".git" || entry.path() == but
}

impl Listing {
    fn add(&mut self, folder: &Path, entry: &DirEntry) {
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            self.files.push(relative(folder, entry.path()));
        }
    }

    fn add_error(&mut self, folder: &Path, error: &ignore::Error) {
        let (path, cause) = described(error);
        let path = path.map_or_else(PathBuf::new, |path| relative(folder, path));
        self.unlisted.push((path, cause));
    }
}

/// Returns the path and the cause of an error.
fn described(error: &ignore::Error) -> (Option<&Path>, String) {
    match error {
        ignore::Error::WithPath { path, err } => (Some(path), described(err).1),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            described(err)
        }
        ignore::Error::Io(error) => (None, format!("could not list it: {}", root_cause(error))),
        other => (None, other.to_string()),
    }
}

/// Returns the message of the operating system; the errors around it repeat the path.
fn root_cause(error: &io::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn relative(folder: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(folder).unwrap_or(path).to_owned()
}
