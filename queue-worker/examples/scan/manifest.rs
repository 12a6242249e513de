//! The manifest of a run, in the format of `sha256sum`, and its verification by `sha256sum
//! --check`.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::path::{one_line, shown};
use crate::report::Failure;
use crate::store::Stored;

/// Writes the manifest of a run, as a whole or not at all, and returns its path.
pub(crate) fn write(
    directory: &Path,
    run: i64,
    folder: &Path,
    stored: &[(PathBuf, Stored)],
    failures: &[Failure],
) -> Result<PathBuf> {
    let path = directory.join(format!("run-{run}.sha256"));
    let partial = path.with_extension("partial");
    write_to(&partial, folder, stored, failures)
        .and_then(|()| fs::rename(&partial, &path))
        .with_context(|| format!("could not write the manifest {}", path.display()))?;
    Ok(path)
}

fn write_to(
    path: &Path,
    folder: &Path,
    stored: &[(PathBuf, Stored)],
    failures: &[Failure],
) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "# {} files of {}", stored.len(), shown(folder))?;
    for Failure { path, error, .. } in failures {
        writeln!(out, "# NOT STORED: {}: {}", shown(path), one_line(error))?;
    }
    for (path, file) in stored {
        out.write_all(&line(path.as_os_str().as_bytes(), &file.digest))?;
    }
    out.into_inner()?.sync_all()
}

/// Writes a line as GNU `sha256sum` does: backslashes and line ends in a name are escaped, and the
/// line then starts with a backslash.
fn line(path: &[u8], digest: &str) -> Vec<u8> {
    let name = escaped(not_stdin(path));
    let mut line = Vec::with_capacity(name.len() + 70);
    if matches!(name, Cow::Owned(_)) {
        line.push(b'\\');
    }
    line.extend_from_slice(digest.as_bytes());
    line.extend_from_slice(b"  ");
    line.extend_from_slice(&name);
    line.push(b'\n');
    line
}

/// `sha256sum` reads standard input for the name `-`.
fn not_stdin(path: &[u8]) -> &[u8] {
    if path == b"-" { b"./-" } else { path }
}

fn escaped(name: &[u8]) -> Cow<'_, [u8]> {
    if !name
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
    {
        return Cow::Borrowed(name);
    }
    let mut escaped = Vec::with_capacity(name.len() + 8);
    for byte in name {
        match byte {
            b'\\' => escaped.extend_from_slice(br"\\"),
            b'\n' => escaped.extend_from_slice(br"\n"),
            b'\r' => escaped.extend_from_slice(br"\r"),
            other => escaped.push(*other),
        }
    }
    Cow::Owned(escaped)
}

/// Verifies a manifest with `sha256sum`, which reads every file again.
pub(crate) async fn verify(folder: &Path, manifest: &Path) -> Result<()> {
    let checked = Command::new("sha256sum")
        .args(["--check", "--quiet", "--strict", "--"])
        .arg(manifest)
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await
        .context("could not run sha256sum; install GNU coreutils")?;
    if !checked.status.success() {
        bail!(
            "sha256sum disagrees with the manifest {}:\n{}{}",
            manifest.display(),
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr).trim_end(),
        );
    }
    Ok(())
}
