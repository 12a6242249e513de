//! The data directory: made by `initdb` once, kept between runs.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::account::Account;
use super::error::{At, EmbeddedError};
use super::find::Binaries;
use super::guard::Guard;
use super::place::Place;

/// Makes the data directory if there is none, and otherwise checks that `binaries` can read it.
/// The caller holds the lock of the place.
pub(super) fn ensure(
    place: &Place,
    binaries: &Binaries,
    account: &Account,
    guard: &Guard,
    durable: bool,
) -> Result<(), EmbeddedError> {
    let path = place.data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(written) if written.trim() == binaries.major.to_string() => Ok(()),
        Ok(written) => Err(EmbeddedError::VersionMismatch {
            path: place.data.clone(),
            written: written.trim().to_owned(),
            programs: binaries.major,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(place, binaries, account, guard, durable)
        }
        Err(error) => Err(error).at(&path),
    }
}

/// Makes the data directory under another name first: what an interrupted `initdb` leaves is
/// never mistaken for data.
fn create(
    place: &Place,
    binaries: &Binaries,
    account: &Account,
    guard: &Guard,
    durable: bool,
) -> Result<(), EmbeddedError> {
    let fresh = place.data.with_extension("new");
    remove_if_there(&fresh)?;
    run_initdb(&fresh, binaries, account, guard, durable)?;
    fs::rename(&fresh, &place.data).at(&place.data)
}

fn run_initdb(
    fresh: &Path,
    binaries: &Binaries,
    account: &Account,
    guard: &Guard,
    durable: bool,
) -> Result<(), EmbeddedError> {
    let initdb = binaries.program("initdb");
    let mut command = guard.command(account, &initdb, "KILL");
    command.arg("-D").arg(fresh).args(["-U", "queue"]);
    command.args(["-A", "trust", "--no-locale", "-E", "UTF8"]);
    if !durable {
        command.arg("--no-sync");
    }
    let output = command.output().map_err(|source| EmbeddedError::Run {
        program: initdb,
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("could not look up effective user ID") {
        return Err(EmbeddedError::UnknownUser { uid: account.uid });
    }
    Err(EmbeddedError::Initdb {
        path: fresh.to_owned(),
        output: said,
    })
}

fn remove_if_there(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at(path),
        _ => Ok(()),
    }
}
