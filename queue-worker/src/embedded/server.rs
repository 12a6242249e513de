//! The process of the server, managed with `pg_ctl`.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::cluster::{Cluster, PORT};
use super::error::{At, EmbeddedError, remove_if_there};

/// A shell script that starts the server, prints its process id, and stops it when its standard
/// input ends. That is a pipe from this process, so it ends with this process, even after
/// `kill -9`. Without the script the server would keep running, because `pg_ctl` daemonizes it.
///
/// The script does not stop a server that another process has started on the same data since.
const SUPERVISE: &str = r#"
exec 2>>server.log
if ! "$1" start -s -w -t "$2" -l server.log -o "$3" >&2; then
  "$1" stop -s -m immediate
  exit 1
fi
number() { read -r pid <"$PGDATA/postmaster.pid" && echo "$pid"; }
started=$(number)
echo "$started"
read -r _
if [ "$(number)" = "$started" ]; then
  "$1" stop -s -m fast
fi
"#;

/// How many seconds `pg_ctl` waits for a start, including recovery, or a stop.
const PATIENCE: &str = "60";

/// The exit code of `pg_ctl status` if no server runs.
const STATUS_NOT_RUNNING: i32 = 3;

/// The shell that stops the server when this process ends or this value is dropped.
#[derive(Debug)]
pub(super) struct Supervisor(Child);

impl Supervisor {
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
    let shell = Path::new("/bin/sh");
    let mut command = command(cluster, shell);
    command.args(["-c", SUPERVISE, "embedded-postgres"]);
    command.arg(cluster.binaries.program("pg_ctl"));
    command.args([PATIENCE, &options(cluster)]);
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
        return Err(EmbeddedError::Ended(cluster.directories.end_of_log()));
    }
    Ok(Supervisor(child))
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

/// Asks the server to stop, if one runs, without waiting.
pub(super) fn request_stop(cluster: &Cluster) -> Result<(), EmbeddedError> {
    if running(cluster)?.is_some() {
        run_pg_ctl(cluster, &["stop", "-s", "-W", "-m", "fast"])?;
    }
    Ok(())
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
