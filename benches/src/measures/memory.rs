//! The cost of an idle process.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use queue_core::Queue;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, Command};

use crate::compare::usage::processor_seconds;
use crate::database::BenchDatabase;
use crate::options::Options;
use crate::process::{process, quiet_app};
use crate::report::{Line, Report};

const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(10);
const CONCURRENCY: usize = 10;

pub(crate) async fn run(database: &BenchDatabase, report: &mut Report) -> Result<()> {
    database.reset().await?;
    let mut child = spawn(database)?;
    let watched = watch(&child).await;
    child.kill().await?;
    let (memory_kib, cpu_percent) = watched?;
    report.add(Line {
        measure: "memory of an idle process".into(),
        memory_kib: Some(memory_kib),
        cpu_percent: Some(cpu_percent),
        ..Line::default()
    });
    Ok(())
}

pub(super) fn spawn(database: &BenchDatabase) -> Result<Child> {
    let url = database.options().to_url_lossy();
    Ok(Command::new(std::env::current_exe()?)
        .arg("idle-worker")
        .env("DATABASE_URL", url.as_str())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?)
}

/// Lets the process settle, then returns its memory in KiB and its share of one processor.
async fn watch(child: &Child) -> Result<(u64, f64)> {
    let pid = child.id().context("the idle process ended")?;
    tokio::time::sleep(SETTLE).await;
    let before = processor_seconds(pid)?;
    tokio::time::sleep(WATCH).await;
    let seconds = processor_seconds(pid)? - before;
    Ok((resident_kib(pid)?, seconds / WATCH.as_secs_f64() * 100.0))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = read_proc(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    Ok(figure.context("the process has no memory")?.parse()?)
}

fn read_proc(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).context(
        "could not read the figures of the idle process, which are available on Linux only",
    )
}

/// Runs the measured process, with default settings, in a separate program.
pub(crate) async fn idle_worker(options: &Options) -> Result<()> {
    let url = options.database_url.as_deref().context("no database URL")?;
    let pool = PgPoolOptions::new().connect_lazy(url)?;
    process(Queue::new(pool), quiet_app(), CONCURRENCY)?
        .run_until_signal()
        .await;
    Ok(())
}
