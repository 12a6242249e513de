//! An attempt as a command.
//!
//! The command gets the arguments as one line of JSON on its standard input, and the job in its
//! environment: `QUEUE_JOB_ID`, `QUEUE_JOB_KIND`, `QUEUE_JOB_QUEUE`, `QUEUE_JOB_ATTEMPT` and
//! `QUEUE_JOB_ATTEMPTS_MAX`. How it ends is the outcome:
//!
//! | exit status | outcome |
//! | --- | --- |
//! | 0 | done |
//! | 65 (`EX_DATAERR`) | failed for good: these arguments will never work |
//! | any other, 75 (`EX_TEMPFAIL`) among them | tried again, with the end of its standard error |
//! | killed by a signal | tried again |
//!
//! It runs in a process group of its own. Asked to stop, the whole group gets `SIGTERM`; given
//! up on, by dropping the future, the whole group gets `SIGKILL`. What the command leaves running
//! in its group when it ends is killed too: an attempt that is over must not go on working beside
//! the next one. Whoever wants a daemon starts it with `setsid`.

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

/// The exit status that says: do not try these arguments again.
const EX_DATAERR: i32 = 65;

/// How much of the end of standard error becomes part of the error.
const ERROR_BYTES: usize = 8 * 1024;

/// How long the last output may take to arrive when the command has ended and its group is dead;
/// only a process that left the group can still hold the pipes open then.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Runs one attempt as a command.
///
/// When `stop` is cancelled the command is asked to end and still waited for; dropping the future
/// kills it.
pub(crate) async fn run_command(
    spec: &CommandHandler,
    attempt: &Attempt,
    args: &str,
    stop: CancellationToken,
) -> HandlerOutcome {
    match supervise(spec, attempt, args, stop).await {
        Ok((status, stderr)) => judge(status, &stderr.text()),
        Err(error) => HandlerOutcome::Retry { error },
    }
}

/// Runs the command to its end. Returns its status and the end of its standard error.
async fn supervise(
    spec: &CommandHandler,
    attempt: &Attempt,
    args: &str,
    stop: CancellationToken,
) -> Result<(ExitStatus, Tail), String> {
    let mut child = start(spec, attempt).map_err(|error| not_started(spec, &error))?;
    // Declared after the child, and so dropped before it: the group is killed while its leader
    // cannot have been reaped yet, and its number cannot belong to anyone else.
    let group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut errors = Tail::default();

    let status = {
        // All three pipes are served together, and beside the waiting: a command may fill one
        // before it looks at another, and may close them before it ends.
        let mut pipes = pin!(async {
            tokio::join!(
                feed(stdin, args),
                log_output(stdout, attempt),
                errors.read(stderr)
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
        group.end();
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

fn start(spec: &CommandHandler, attempt: &Attempt) -> io::Result<Child> {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .envs(&spec.env)
        .env("QUEUE_JOB_ID", attempt.job_id.to_string())
        .env("QUEUE_JOB_KIND", &attempt.kind)
        .env("QUEUE_JOB_QUEUE", &attempt.queue)
        .env("QUEUE_JOB_ATTEMPT", attempt.number.to_string())
        .env("QUEUE_JOB_ATTEMPTS_MAX", attempt.attempts_max.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    command.spawn()
}

fn not_started(spec: &CommandHandler, error: &io::Error) -> String {
    let program = &spec.program;
    match &spec.cwd {
        // A missing directory and a missing program are the same error to the system.
        Some(cwd) if error.kind() == io::ErrorKind::NotFound && !cwd.is_dir() => {
            format!(
                "could not start `{program}`: there is no directory `{}`",
                cwd.display()
            )
        }
        _ if error.kind() == io::ErrorKind::NotFound => {
            format!("could not start `{program}`: command not found")
        }
        _ => format!("could not start `{program}`: {error}"),
    }
}

/// Writes the arguments, and closes the pipe. A command that does not read them all is free not to.
async fn feed(stdin: Option<ChildStdin>, args: &str) {
    let Some(mut stdin) = stdin else { return };
    let written = async {
        stdin.write_all(args.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        stdin.flush().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "the command did not read all its arguments");
    }
}

async fn log_output(stdout: Option<impl AsyncRead + Unpin>, attempt: &Attempt) {
    let Some(mut stdout) = stdout else { return };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stdout.read(&mut chunk).await {
        let output = String::from_utf8_lossy(&chunk[..count]);
        tracing::debug!(
            job_id = %attempt.job_id,
            kind = attempt.kind,
            output = output.trim_end(),
            "the command wrote to its standard output"
        );
    }
}

/// The end of what was written.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            self.push(&chunk[..count]);
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        let excess = self.bytes.len().saturating_sub(ERROR_BYTES);
        self.is_cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    fn text(&self) -> String {
        let text = storable(&self.bytes);
        match self.is_cut {
            // The cut may have fallen inside a character.
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

/// The process group of a command; killed when dropped before its leader has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)))
    }

    fn signal(&self, signal: Signal) {
        // No such group means that all its processes are gone, which is what is wanted.
        if let Some(leader) = self.0 {
            _ = kill_process_group(leader, signal);
        }
    }

    /// Kills what the leader left behind. It has just been reaped: the number still stands for
    /// this group if anyone is left in it, and for nobody if not, as the system hands numbers out
    /// in turn.
    fn end(mut self) {
        self.signal(Signal::KILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
