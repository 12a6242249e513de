//! The server's process: started, looked at and stopped with Postgres' own `pg_ctl`.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::cluster::{Cluster, PORT};
use super::error::{At, EmbeddedError, remove_if_there};

/// Starts the server, prints its process id, and stops it when standard input ends. That is a
/// pipe from the process that wants the server, so it ends with that process, even by `kill -9`.
/// Without this shell the server would go on running: `pg_ctl` makes a daemon of it.
///
/// If another process has started a new server on the same data by then, that one is left alone.
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

/// How many seconds `pg_ctl` waits. Recovery after a crash counts as starting.
const PATIENCE: &str = "60";

/// The exit code of `pg_ctl status` when it found no server.
const STATUS_NOT_RUNNING: i32 = 3;

/// The shell that stops the server when this process ends, or this value is dropped.
#[derive(Debug)]
pub(super) struct Supervisor(Child);

impl Supervisor {
    /// Ends the shell once the server has stopped.
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
    // Ctrl-C in a terminal goes to its whole process group, and workers that are shutting down
    // still need the server.
    command.process_group(0);
    let spawned = command.spawn();
    let mut child = spawned.map_err(EmbeddedError::run(shell))?;
    let mut number = String::new();
    if let Some(output) = child.stdout.take() {
        let reading = BufReader::new(output).read_line(&mut number);
        reading.at(&cluster.directories.log)?;
    }
    if number.is_empty() {
        let _ = child.wait();
        return Err(EmbeddedError::Ended {
            log: cluster.directories.log.clone(),
            tail: cluster.directories.log_tail(),
        });
    }
    Ok(Supervisor(child))
}

/// Returns the process id of the server that runs on the data, starts up or shuts down there.
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

/// Stops the server, if one runs, in `pg_ctl`'s mode `fast` or `immediate`, and waits until it
/// has ended.
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

/// Removes the pid file of a server that no longer runs. Postgres does so itself, unless another
/// process of the same user now has that process id.
pub(super) fn remove_pid_file(cluster: &Cluster) -> Result<(), EmbeddedError> {
    remove_if_there(&cluster.directories.data.join("postmaster.pid"))
}

fn run_pg_ctl(cluster: &Cluster, arguments: &[&str]) -> Result<ExitStatus, EmbeddedError> {
    let program = cluster.binaries.program("pg_ctl");
    let mut command = command(cluster, &program);
    let status = command.args(arguments).stdout(Stdio::null()).status();
    status.map_err(EmbeddedError::run(&program))
}

/// Prepares to run a program on the data. `pg_ctl` passes its arguments through a shell, where a
/// `$` in a path would be expanded. So the data directory is named by `PGDATA`, and the log by a
/// relative path.
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

/// Returns whether the process is the server of `data`: a Postgres server's current directory is
/// its data directory. `pg_ctl` cannot tell it from another process that got the same id later.
/// When the directory cannot be read, the answer is yes.
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
/// later. Whether it serves this data shows when the private socket is tried next.
#[cfg(not(target_os = "linux"))]
fn is_postmaster(pid: u32, _data: &Path) -> bool {
    let asked = Command::new("ps")
        .args(["-o", "comm=", "-p", &pid.to_string()])
        .output();
    asked.map_or(true, |said| {
        String::from_utf8_lossy(&said.stdout).contains("postgres")
    })
}
