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
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::{HandlerInput, HandlerOutcome, storable};
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
    input: HandlerInput<'_>,
    stop: CancellationToken,
) -> HandlerOutcome {
    match supervise(spec, input, stop).await {
        Ok(ended) => judge(&ended),
        Err(error) => HandlerOutcome::Retry { error },
    }
}

/// How a command ended, and the last it had to say.
struct Ended {
    status: ExitStatus,
    errors: Tail,
}

async fn supervise(
    spec: &CommandHandler,
    input: HandlerInput<'_>,
    stop: CancellationToken,
) -> Result<Ended, String> {
    let mut child = start(spec, input).map_err(|error| not_started(spec, &error))?;
    // Declared after the child, and so dropped before it: the group is killed while its leader
    // cannot have been reaped yet, and its number cannot belong to anyone else.
    let group = Group::of(&child);
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let mut errors = Tail::default();

    let status = {
        // All three pipes are served together, and beside the waiting: a command may fill one
        // before it looks at another, and may close them before it ends.
        let mut pipes = pin!(async {
            tokio::join!(
                feed(stdin, input.args),
                log_output(stdout, input),
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
    let status =
        status.map_err(|error| format!("could not wait for `{}`: {error}", spec.program))?;
    Ok(Ended { status, errors })
}

fn start(spec: &CommandHandler, input: HandlerInput<'_>) -> io::Result<Child> {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .envs(&spec.env)
        .env("QUEUE_JOB_ID", input.job_id.to_string())
        .env("QUEUE_JOB_KIND", input.kind)
        .env("QUEUE_JOB_QUEUE", input.queue)
        .env("QUEUE_JOB_ATTEMPT", input.attempt.to_string())
        .env("QUEUE_JOB_ATTEMPTS_MAX", input.attempts_max.to_string())
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

async fn log_output(stdout: Option<impl AsyncRead + Unpin>, input: HandlerInput<'_>) {
    let Some(mut stdout) = stdout else { return };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stdout.read(&mut chunk).await {
        let output = String::from_utf8_lossy(&chunk[..count]);
        tracing::debug!(
            job_id = input.job_id,
            kind = input.kind,
            output = output.trim_end()
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
        // A cut may fall inside a character; its rest would show as garbage.
        let rest_of_character = |byte: &&u8| self.is_cut && (0x80..0xc0).contains(*byte);
        let start = self
            .bytes
            .iter()
            .take(3)
            .take_while(rest_of_character)
            .count();
        let ellipsis = if self.is_cut { "…" } else { "" };
        format!("{ellipsis}{}", storable(&self.bytes[start..]).trim_end())
    }
}

fn judge(ended: &Ended) -> HandlerOutcome {
    let said = ended.errors.text();
    let how = describe(ended.status);
    let error = if said.is_empty() {
        how
    } else {
        format!("{how}: {said}")
    };
    match ended.status.code() {
        Some(0) => HandlerOutcome::Done,
        Some(EX_DATAERR) => HandlerOutcome::Fail { error },
        _ => HandlerOutcome::Retry { error },
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => match signal_name(number) {
            Some(name) => format!("killed by {name}"),
            None => format!("killed by signal {number}"),
        },
        (None, None) => status.to_string(),
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    let name = match Signal::from_named_raw(number)? {
        Signal::HUP => "SIGHUP",
        Signal::INT => "SIGINT",
        Signal::QUIT => "SIGQUIT",
        Signal::ILL => "SIGILL",
        Signal::TRAP => "SIGTRAP",
        Signal::ABORT => "SIGABRT",
        Signal::BUS => "SIGBUS",
        Signal::FPE => "SIGFPE",
        Signal::KILL => "SIGKILL",
        Signal::USR1 => "SIGUSR1",
        Signal::SEGV => "SIGSEGV",
        Signal::USR2 => "SIGUSR2",
        Signal::PIPE => "SIGPIPE",
        Signal::ALARM => "SIGALRM",
        Signal::TERM => "SIGTERM",
        Signal::XCPU => "SIGXCPU",
        Signal::XFSZ => "SIGXFSZ",
        Signal::SYS => "SIGSYS",
        _ => return None,
    };
    Some(name)
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
