//! Runs a command with a Postgres for tests: `test-postgres cargo test` starts a server, passes its
//! address in `TEST_DATABASE_URL`, stops it after the command, and exits with the command's code.
//!
//! With `QUEUE_TEST_SHARDS=2` it starts a second one, whose address is in `TEST_OTHER_DATABASE_URL`.

use std::env;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use queue_tests::postgres::TestServer;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        bail!("name a command to run, such as: test-postgres cargo test");
    };
    let server = TestServer::start().await?;
    let other = match env::var("QUEUE_TEST_SHARDS").as_deref() {
        Ok("2") => Some(TestServer::start().await?),
        Ok(count) => bail!("QUEUE_TEST_SHARDS is {count:?}, and only 2 is possible"),
        Err(_) => None,
    };
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env("TEST_DATABASE_URL", server.url());
    if let Some(other) = &other {
        command.env("TEST_OTHER_DATABASE_URL", other.url());
    }
    let child = command
        .spawn()
        .with_context(|| format!("could not run {}", program.display()))?;
    let status = wait(child).await?;
    server.stop().await?;
    if let Some(other) = other {
        other.stop().await?;
    }
    Ok(exit_code(status))
}

/// Waits for the command, and forwards TERM to it. An interrupt from the terminal reaches the command
/// anyway.
async fn wait(mut child: Child) -> Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => forward_terminate(&child),
        }
    }
}

fn forward_terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;

    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
