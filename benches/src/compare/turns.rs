//! Runs a sample of two programs in turns of some milliseconds, so that a slow machine slows both.
//!
//! Each program has its own server, and both are stopped (SIGSTOP) while the other has its turn.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgPool;
use tokio::process::{Child, Command};

use super::sample::{Figures, Sample};
use super::usage;
use crate::server::Server;

const TURN: Duration = Duration::from_millis(20);

/// A program that takes samples, and its server.
pub(super) struct Program {
    binary: PathBuf,
    server: Server,
    postmaster: u32,
}

impl Program {
    /// Starts the server of a program.
    pub(super) async fn start(binary: PathBuf, suffix: &str) -> Result<Self> {
        let server = Server::own(suffix).await?;
        let pool = PgPool::connect(&server.url()).await?;
        let postmaster = usage::postmaster(&pool).await?;
        pool.close().await;
        Ok(Self {
            binary,
            server,
            postmaster,
        })
    }

    /// Takes one sample without turns, and counts statements and round trips.
    pub(super) async fn count(&self, sample: Sample) -> Result<Figures> {
        let sampling = self.sample(sample, &["--counted"])?;
        sampling.figures().await
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }

    fn sample(&self, sample: Sample, options: &[&str]) -> Result<Sampling<'_>> {
        let child = Command::new(&self.binary)
            .args(["sample", sample.name()])
            .args(options)
            .env("DATABASE_URL", self.server.url())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", self.binary.display()))?;
        Ok(Sampling {
            program: self,
            child,
        })
    }
}

/// Takes a sample of two programs in turns; the first has the first turn.
pub(super) async fn take(
    first: &Program,
    second: &Program,
    sample: Sample,
) -> Result<(Figures, Figures)> {
    let mut first = first.sample(sample, &[])?;
    let mut second = second.sample(sample, &[])?;
    let taken = take_turns(&mut first, &mut second).await;
    // Otherwise the servers could not be stopped.
    first.signal(Signal::CONT)?;
    second.signal(Signal::CONT)?;
    taken?;
    Ok((first.figures().await?, second.figures().await?))
}

/// Gives each sample its turns until both have ended. One that has ended keeps its turns, because the
/// other would else be the only one with the machine to itself.
async fn take_turns(first: &mut Sampling<'_>, second: &mut Sampling<'_>) -> Result<()> {
    second.signal(Signal::STOP)?;
    while first.ended()?.is_none() || second.ended()?.is_none() {
        tokio::time::sleep(TURN).await;
        first.signal(Signal::STOP)?;
        second.signal(Signal::CONT)?;
        tokio::time::sleep(TURN).await;
        second.signal(Signal::STOP)?;
        first.signal(Signal::CONT)?;
    }
    Ok(())
}

/// A sample that is being taken.
struct Sampling<'a> {
    program: &'a Program,
    child: Child,
}

impl Sampling<'_> {
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal to the program and its server. The server is first, so that it starts no
    /// process that misses the signal.
    fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.program.postmaster, signal);
        for (pid, _) in usage::children(self.program.postmaster)? {
            kill(pid, signal);
        }
        if let Some(pid) = self.child.id() {
            kill(pid, signal);
        }
        Ok(())
    }

    async fn figures(self) -> Result<Figures> {
        let output = self.child.wait_with_output().await?;
        let binary = self.program.binary.display();
        anyhow::ensure!(output.status.success(), "a sample of {binary} failed");
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("could not read a sample of {binary}"))
    }
}

/// Sends a signal to a process, which may have ended.
fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _has_ended = kill_process(pid, signal);
    }
}
