//! An attempt as a command.
//!
//! The command gets the arguments as one line of JSON on its standard input, and the job in
//! environment variables: `QUEUE_JOB_ID`, `QUEUE_JOB_KIND`, `QUEUE_JOB_QUEUE`, `QUEUE_JOB_ATTEMPT`,
//! `QUEUE_JOB_ATTEMPTS_MAX` and, if the queue has shards, `QUEUE_JOB_SHARD`. It may write how far it is to the file
//! `QUEUE_STATE` (`state.rs`). Its exit status is the outcome:
//!
//! | exit status | outcome |
//! | --- | --- |
//! | 0 | done |
//! | 65 (`EX_DATAERR`) | failed for good, because of its arguments |
//! | any other, such as 75 (`EX_TEMPFAIL`) | retried; the error is the end of its standard error |
//! | killed by a signal | retried |
//!
//! The command runs in a process group of its own. A request to stop sends `SIGTERM` to the group;
//! dropping the future sends `SIGKILL`. Processes of the group that still run when the command ends
//! are killed, so that an ended attempt does not go on next to the following one; so are all when this
//! process dies. A daemon must be started with `setsid`.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::{HandlerOutcome, storable};
use crate::app::context::Attempt;
use crate::config::CommandHandler;

/// The exit status that means: do not retry.
const EX_DATAERR: i32 = 65;

/// How many bytes of the end of standard error the error contains.
const ERROR_BYTES: usize = 8 * 1024;

/// How long to wait for the end of the pipes after the group was killed: a process that has left
/// the group may keep them open.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Runs one attempt as a command.
///
/// When `stop` is cancelled, asks the command to end and keeps waiting for it. Dropping the future
/// kills the command.
pub(crate) async fn run_command(
    spec: &CommandHandler,
    attempt: &Attempt,
    args: &str,
    stop: CancellationToken,
) -> HandlerOutcome {
    let mut job = vec![
        ("QUEUE_JOB_ID", attempt.job_id.to_string()),
        ("QUEUE_JOB_KIND", attempt.kind.clone()),
        ("QUEUE_JOB_QUEUE", attempt.queue.clone()),
        ("QUEUE_JOB_ATTEMPT", attempt.number.to_string()),
        ("QUEUE_JOB_ATTEMPTS_MAX", attempt.attempts_max.to_string()),
    ];
    let shard = attempt.shard.as_deref();
    job.extend(shard.map(|shard| ("QUEUE_JOB_SHARD", shard.to_owned())));
    run_with_input(spec, &job, args, stop).await
}

/// Runs a command with some variables and a line of input, as [`run_command`] does.
pub(crate) async fn run_with_input(
    spec: &CommandHandler,
    variables: &[(&str, String)],
    input: &str,
    stop: CancellationToken,
) -> HandlerOutcome {
    match supervise(spec, variables, input, stop).await {
        Ok((status, stderr)) => judge(status, &stderr.text()),
        Err(error) => HandlerOutcome::Retry { error },
    }
}

/// Runs the command to its end. Returns its status and the end of its standard error.
async fn supervise(
    spec: &CommandHandler,
    variables: &[(&str, String)],
    input: &str,
    stop: CancellationToken,
) -> Result<(ExitStatus, Tail), String> {
    let group = Group::start()
        .map_err(|error| format!("could not start `/bin/sh`, which guards the command: {error}"))?;
    let mut child = start(spec, variables, &group).map_err(|error| not_started(spec, &error))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut errors = Tail::default();

    let status = {
        // Serves all three pipes while waiting for the command: it may fill one pipe before it
        // reads from another, and may close them before it ends.
        let mut pipes = pin!(async {
            tokio::join!(
                feed(stdin, input),
                drain(stdout, log_output),
                drain(stderr, |chunk| errors.push(chunk))
            )
        });
        let mut pipes_are_open = true;
        let mut is_asked = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = &mut pipes, if pipes_are_open => pipes_are_open = false,
                () = stop.cancelled(), if !is_asked => {
                    group.signal(Signal::TERM);
                    is_asked = true;
                }
            }
        };
        drop(group);
        if pipes_are_open {
            _ = tokio::time::timeout(LAST_OUTPUT, &mut pipes).await;
        }
        status
    };
    match status {
        Ok(status) => Ok((status, errors)),
        Err(error) => Err(format!("could not wait for `{}`: {error}", spec.program)),
    }
}

fn start(spec: &CommandHandler, variables: &[(&str, String)], group: &Group) -> io::Result<Child> {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .envs(&spec.env)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(group.id().map_or(0, Pid::as_raw_pid));
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    command.spawn()
}

fn not_started(spec: &CommandHandler, error: &io::Error) -> String {
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let reason = match &spec.cwd {
        // The error is the same for a missing directory and a missing program.
        Some(cwd) if is_missing && !cwd.is_dir() => {
            format!("there is no directory `{}`", cwd.display())
        }
        _ if is_missing => "command not found".to_owned(),
        _ => error.to_string(),
    };
    format!("could not start `{}`: {reason}", spec.program)
}

/// Writes the input and closes the pipe. The command need not read all of it.
async fn feed(stdin: Option<ChildStdin>, input: &str) {
    let Some(mut stdin) = stdin else { return };
    let written = async {
        stdin.write_all(input.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        stdin.flush().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "the command did not read all of its input");
    }
}

/// Reads a pipe to its end.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        take(&chunk[..count]);
    }
}

/// Logs output, within the span of the job.
fn log_output(output: &[u8]) {
    tracing::debug!(
        output = String::from_utf8_lossy(output).trim_end(),
        "output of the command"
    );
}

/// The end of the standard error.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        let excess = self.bytes.len().saturating_sub(ERROR_BYTES);
        self.is_cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    fn text(&self) -> String {
        let text = storable(&self.bytes);
        match self.is_cut {
            // The cut may be inside of a character.
            true => format!("…{}", text.trim_start_matches('\u{fffd}').trim_end()),
            false => text.trim_end().to_owned(),
        }
    }
}

fn judge(status: ExitStatus, stderr: &str) -> HandlerOutcome {
    let error = match stderr {
        "" => describe(status),
        stderr => format!("{}: {stderr}", describe(status)),
    };
    match status.code() {
        Some(0) => HandlerOutcome::Done,
        Some(EX_DATAERR) => HandlerOutcome::Fail { error },
        _ => HandlerOutcome::Retry { error },
    }
}

fn describe(status: ExitStatus) -> String {
    if let Some(code) = status.code() {
        return format!("exited with status {code}");
    }
    // The standard library writes a signal as `signal: 9 (SIGKILL)`.
    let shown = status.to_string();
    let signal = shown.split(['(', ')']).nth(1).unwrap_or(&shown);
    format!("killed by {signal}")
}

/// The process group of a command. Its remaining processes are killed on drop.
///
/// Its leader is a guard: a shell that reads from a pipe of this process until it is closed, and then
/// kills the group. So the command does not outlive this process, even one that is killed. The group
/// keeps its id as long as the guard is not reaped.
struct Group(Child);

/// The guard ignores the signals that ask a command to stop, and those of a terminal.
const GUARD: &str = "trap '' HUP INT QUIT TERM; read -r _; kill -s KILL 0";

impl Group {
    fn start() -> io::Result<Self> {
        let mut guard = Command::new("/bin/sh");
        guard
            .args(["-c", GUARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        guard.spawn().map(Self)
    }

    /// Returns the id of the group, which is that of the guard.
    fn id(&self) -> Option<Pid> {
        Pid::from_raw(self.0.id()?.try_into().ok()?)
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
