//! `queue health`: asks a worker process on this machine whether it is ready.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::output::print;
use super::{Exit, Failure, Global};

pub(super) const HELP: &str = "\
Asks `queue start` on this machine at the port of `process.port`. Prints one sentence,
and ends with 0 if the process is ready: it has registered, writes its heartbeats and does not stop.

In a Dockerfile:
  HEALTHCHECK CMD [\"queue\", \"health\"]";

/// How long the process may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[derive(Clone, Args)]
pub(super) struct Health {
    /// The port of the process
    #[arg(long, value_name = "PORT", env = "QUEUE_PROCESS_PORT")]
    port: Option<OsString>,
}

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let port = global.load()?.settings.process.port.ok_or_else(|| {
        Failure::usage(
            "no port is configured: set `process.port` in queue.toml, QUEUE_PROCESS_PORT or --port",
        )
    })?;
    let asked = timeout(ANSWER_TIMEOUT, ask(port)).await;
    let answer = asked
        .context("it did not answer in time")
        .and_then(|answer| answer.context("nothing answers"));
    let answer = answer.with_context(|| format!("no process is ready at port {port}"))?;
    let sentence = answer.rsplit("\r\n").next().unwrap_or_default();
    print(sentence.trim_end())?;
    Ok(match answer.starts_with("HTTP/1.1 200") {
        true => Exit::Fine,
        false => Exit::Failed,
    })
}

/// Returns the answer with its head.
async fn ask(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
