//! The process of the server, managed with `pg_ctl`.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::cluster::{Cluster, PORT};
use super::error::{At, EmbeddedError, remove_if_there};

/// A shell script that starts the server or joins its users, prints its process id, and leaves the
/// users when its standard input ends. That is a pipe from this process, so it ends with this process,
/// even after `kill -9`. Without the script the server would keep running, because `pg_ctl` daemonizes
/// it.
///
/// Each user has a file in the directory `users`. Only the last one can remove that directory, and
/// stops the server then. Without the directory, no other user can join.
///
/// The script does not stop a server that another process has started on the same data since.
const SUPERVISE: &str = r#"
exec 2>>server.log
if [ "$2" = start ]; then
  if ! "$1" start -s -w -t "$3" -l server.log -o "$4" >&2; then
    "$1" stop -s -m immediate
    exit 1
  fi
  rm -rf users
  mkdir users
fi
number() { read -r pid <"$PGDATA/postmaster.pid" && echo "$pid"; }
: >"users/$$" || exit 1
server=$(number)
echo "$server"
read -r _
rm -f "users/$$"
if rmdir users 2>/dev/null && [ "$(number)" = "$server" ]; then
  "$1" stop -s -m fast || "$1" stop -s -m immediate
fi
"#;

/// How many seconds `pg_ctl` waits for a start, including recovery, or a stop.
const PATIENCE: &str = "60";

/// The exit code of `pg_ctl status` if no server runs.
const STATUS_NOT_RUNNING: i32 = 3;

/// The shell that leaves the users of the server when this process ends or this value is dropped, and
/// stops the server after the last one.
#[derive(Debug)]
pub(super) struct Supervisor(Child);

impl Supervisor {
    /// Leaves the users of the server, and waits for its end after the last one. Returns whether that
    /// went well.
    pub(super) fn leave(mut self) -> bool {
        drop(self.0.stdin.take());
        self.0.wait().is_ok_and(|status| status.success())
    }

    /// Ends the shell after the server was stopped.
    pub(super) fn dismiss(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server and waits until it accepts connections.
pub(super) fn start(cluster: &Cluster) -> Result<Supervisor, EmbeddedError> {
    // Removes the log of an earlier run.
    remove_if_there(&cluster.directories.log)?;
    let started = supervise(cluster, "start")?;
    started.ok_or_else(|| EmbeddedError::Ended(cluster.directories.end_of_log()))
}

/// Joins the users of a running server, unless the last one has just left it.
pub(super) fn join(cluster: &Cluster) -> Result<Option<Supervisor>, EmbeddedError> {
    supervise(cluster, "join")
}

fn supervise(cluster: &Cluster, task: &str) -> Result<Option<Supervisor>, EmbeddedError> {
    let shell = Path::new("/bin/sh");
    let mut command = command(cluster, shell);
    command.args(["-c", SUPERVISE, "embedded-postgres"]);
    command.arg(cluster.binaries.program("pg_ctl"));
    command.args([task, PATIENCE, &options(cluster)]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C in a terminal signals the whole process group, but workers still need the server while
    // they shut down.
    command.process_group(0);
    let mut child = command.spawn().at(shell)?;
    let mut number = String::new();
    if let Some(output) = child.stdout.take() {
        let reading = BufReader::new(output).read_line(&mut number);
        reading.at(&cluster.directories.log)?;
    }
    if number.is_empty() {
        let _ = child.wait();
        return Ok(None);
    }
    Ok(Some(Supervisor(child)))
}

/// Returns the process id of the server of this data, even while it starts up or shuts down.
pub(super) fn running(cluster: &Cluster) -> Result<Option<u32>, EmbeddedError> {
    let path = cluster.directories.data.join("postmaster.pid");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.at(&path)?,
    };
    let Some(pid) = text.lines().next().and_then(|pid| pid.trim().parse().ok()) else {
        return Ok(None);
    };
    let runs = run_pg_ctl(cluster, &["status"])?.code() != Some(STATUS_NOT_RUNNING);
    Ok((runs && is_postmaster(pid, &cluster.directories.data)).then_some(pid))
}

/// Stops the server, if one runs, in mode `fast` or `immediate` of `pg_ctl`, and waits for its end.
pub(super) fn stop(cluster: &Cluster, mode: &str) -> Result<(), EmbeddedError> {
    let Some(pid) = running(cluster)? else {
        return Ok(());
    };
    run_pg_ctl(cluster, &["stop", "-s", "-w", "-t", PATIENCE, "-m", mode])?;
    match running(cluster)? {
        Some(_) => Err(EmbeddedError::StillRunning(pid)),
        None => Ok(()),
    }
}

/// Removes the pid file of a server that has ended. Postgres itself keeps the file if another
/// process of the same user has that process id by now.
pub(super) fn remove_pid_file(cluster: &Cluster) -> Result<(), EmbeddedError> {
    remove_if_there(&cluster.directories.data.join("postmaster.pid"))
}

fn run_pg_ctl(cluster: &Cluster, arguments: &[&str]) -> Result<ExitStatus, EmbeddedError> {
    let program = cluster.binaries.program("pg_ctl");
    let mut command = command(cluster, &program);
    let command = command.args(arguments).stdout(Stdio::null());
    command.status().at(&program)
}

/// Prepares to run a program for this server. `pg_ctl` passes its arguments through a shell, which
/// would expand a `$` in a path. So `PGDATA` gives the data directory, and the log has a relative
/// path.
fn command(cluster: &Cluster, program: &Path) -> Command {
    let mut command = cluster.account.command(program);
    command.env("PGDATA", &cluster.directories.data);
    command
        .current_dir(&cluster.directories.home)
        .stderr(Stdio::null());
    command
}

/// Returns the options for `postgres`, quoted for the shell through which `pg_ctl` starts it.
fn options(cluster: &Cluster) -> String {
    let port = PORT.to_string();
    let socket = cluster.directories.socket.to_string_lossy();
    let mut settings = vec![
        ("listen_addresses", ""),
        ("port", &port),
        ("unix_socket_directories", &socket),
    ];
    if !cluster.durable {
        settings.extend([("fsync", "off"), ("full_page_writes", "off")]);
    }
    let given = cluster.settings.iter();
    settings.extend(given.map(|(name, value)| (name.as_str(), value.as_str())));
    settings
        .into_iter()
        .map(|(name, value)| format!("-c '{}' ", format!("{name}={value}").replace('\'', r"'\''")))
        .collect()
}

/// Returns whether the process is the server of `data`, and not another process that got the same
/// id later, which `pg_ctl` does not check. The working directory of a Postgres server is its data
/// directory. If it cannot be read, returns true.
#[cfg(target_os = "linux")]
fn is_postmaster(pid: u32, data: &Path) -> bool {
    match (
        fs::read_link(format!("/proc/{pid}/cwd")),
        data.canonicalize(),
    ) {
        (Ok(directory), Ok(data)) => directory == data,
        (Err(error), _) => error.kind() != ErrorKind::NotFound,
        (_, Err(_)) => true,
    }
}

/// Returns whether the process is a Postgres server, and not another process that got the same id
/// later. Whether it serves this data is found out by connecting to the socket.
#[cfg(not(target_os = "linux"))]
fn is_postmaster(pid: u32, _data: &Path) -> bool {
    let asked = Command::new("ps")
        .args(["-o", "comm=", "-p", &pid.to_string()])
        .output();
    asked.map_or(true, |output| {
        String::from_utf8_lossy(&output.stdout).contains("postgres")
    })
}
