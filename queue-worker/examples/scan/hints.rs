//! Commands to copy into another terminal.

use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::folder::ScanFolder;
use crate::path::AnyPath;
use crate::report::Report;
use crate::tables::Run;

/// Prints how to look at the queue with the command line.
pub(crate) fn say_how_to_look(console: &Console, url: &str, folder: &Path) {
    let here = std::env::current_dir().unwrap_or_default();
    let queue = queue_program(&here);
    let queue = quoted(&queue.to_string_lossy());
    let args = serde_json::to_string(&scan_of(folder)).unwrap_or_default();
    console.say(format!(
        "To look at it, in another terminal:
  cd {here}
  export DATABASE_URL={url}
  {queue} stats
  {queue} jobs list --state failed
  {queue} jobs show ID
  {queue} batches
  {queue} jobs list --tenant TOP_FOLDER
  {queue} limits
  {queue} recurring
  {queue} enqueue scan_folder --args {args}",
        here = quoted(&here.to_string_lossy()),
        url = quoted(url),
        args = quoted(&args),
    ));
}

/// Prints how to verify a manifest.
pub(crate) fn say_how_to_verify(console: &Console, run: &Run, report: &Report) {
    let folder = run.folder.to_string_lossy();
    let manifest = report.manifest.0.to_string_lossy();
    console.say(format!(
        "To verify: (cd {} && sha256sum --check --quiet {})",
        quoted(&folder),
        quoted(&manifest)
    ));
}

/// Returns the job that scans a folder.
pub(crate) fn scan_of(folder: &Path) -> ScanFolder {
    ScanFolder {
        folder: AnyPath(folder.to_owned()),
    }
}

/// Returns the path of the program `queue` that was built with this one, relative to `here` if
/// possible.
fn queue_program(here: &Path) -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.parent()?.join("queue")))
        .filter(|program| program.is_file())
        .map(|program| {
            program
                .strip_prefix(here)
                .map(Path::to_owned)
                .unwrap_or(program)
        })
        .unwrap_or_else(|| "queue".into())
}

/// Writes a text as one word of a shell's command line.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
