//! What an earlier or another process left: a server that runs, or only its pid file.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What `postmaster.pid` in a data directory turned out to mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// There is no such file.
    Nothing,
    /// The server that wrote it is gone.
    Stale,
    /// The server that wrote it runs; it may be starting up or shutting down.
    Running(Pid),
}

/// Looks at what is left in the data directory `data`.
pub(super) fn look(data: &Path) -> io::Result<Leftover> {
    let file = match fs::read_to_string(data.join("postmaster.pid")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Leftover::Nothing),
        read => read?,
    };
    Ok(match parse_pid(&file) {
        Some(pid) if runs(pid) && is_postmaster(pid, data) => Leftover::Running(pid),
        _ => Leftover::Stale,
    })
}

/// Removes the pid file of a server that is gone. Postgres does so itself, except when another
/// process of the same user has got that number since.
pub(super) fn remove(data: &Path) -> io::Result<()> {
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is a process of this number, be it one that may not be signalled.
fn runs(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

fn parse_pid(file: &str) -> Option<Pid> {
    Pid::from_raw(
        file.lines()
            .next()?
            .trim()
            .parse()
            .ok()
            .filter(|pid| *pid > 0)?,
    )
}

/// Whether the process is the server of `data`, and not one that got its number later: a
/// postmaster works in its data directory. What cannot be looked at is taken for one.
#[cfg(target_os = "linux")]
fn is_postmaster(pid: Pid, data: &Path) -> bool {
    let process = Path::new("/proc").join(pid.as_raw_pid().to_string());
    match (fs::read_link(process.join("cwd")), data.canonicalize()) {
        (Ok(directory), Ok(data)) => directory == data,
        (Err(error), _) => error.kind() != ErrorKind::NotFound,
        (_, Err(_)) => true,
    }
}

/// Whether the process is a Postgres. Its data directory cannot be asked for here, but only its
/// own server listens on the private socket that is tried next.
#[cfg(not(target_os = "linux"))]
fn is_postmaster(pid: Pid, _data: &Path) -> bool {
    let pid = pid.as_raw_pid().to_string();
    let asked = std::process::Command::new("ps")
        .args(["-o", "comm=", "-p", &pid])
        .output();
    asked.map_or(true, |said| {
        String::from_utf8_lossy(&said.stdout).contains("postgres")
    })
}

#[cfg(test)]
mod tests {
    use super::parse_pid;

    #[test]
    fn only_a_process_number_is_taken_for_one() {
        assert!(parse_pid("4711\n/data\n").is_some());
        for nonsense in ["", "\n", "0\n", "-4711\n", "postgres\n"] {
            assert!(parse_pid(nonsense).is_none(), "{nonsense:?}");
        }
    }
}
