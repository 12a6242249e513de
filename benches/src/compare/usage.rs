//! The processor time that the server and this process have used.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::PgPool;

/// The unit of processor time in /proc.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) server: f64,
    pub(crate) worker: f64,
}

impl Usage {
    /// Reads the time used so far by all processes of the server, and by this process. The server
    /// must run on this machine.
    pub(crate) async fn now(pool: &PgPool) -> Result<Self> {
        let postmaster = postmaster(pool).await?;
        let of_children: u64 = children(postmaster)?
            .iter()
            .map(|(_, stat)| stat.ticks)
            .sum();
        let ticks = Stat::of(postmaster)?.ticks_with_ended_children + of_children;
        Ok(Self {
            server: ticks as f64 / TICKS_PER_SECOND,
            worker: processor_seconds(std::process::id())?,
        })
    }

    /// Returns the microseconds that each of some jobs took since another reading.
    pub(crate) fn micros_per_job(self, since: Self, jobs: f64) -> Self {
        Self {
            server: (self.server - since.server) * 1e6 / jobs,
            worker: (self.worker - since.worker) * 1e6 / jobs,
        }
    }
}

/// Returns the processor time that a process has used, in seconds.
pub(crate) fn processor_seconds(pid: u32) -> Result<f64> {
    Ok(Stat::of(pid)?.ticks as f64 / TICKS_PER_SECOND)
}

/// Returns the processor time that a process has used, in seconds: more exact than
/// [`processor_seconds`], and without threads that have ended.
pub(crate) fn exact_processor_seconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_processor = stat.split_whitespace().next();
        nanoseconds += on_processor.context("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Returns the process id of the server, which must run on this machine.
pub(super) async fn postmaster(pool: &PgPool) -> Result<u32> {
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(pool)
        .await?;
    let backend = Stat::of(u32::try_from(backend)?);
    Ok(backend
        .context("the server does not run on this machine")?
        .parent)
}

/// Returns the processes that a server has started, with their process ids.
pub(super) fn children(postmaster: u32) -> Result<Vec<(u32, Stat)>> {
    let mut children = Vec::new();
    for process in std::fs::read_dir("/proc")? {
        // Other files of the folder are no numbers, and a process may end meanwhile.
        if let Ok(pid) = process?.file_name().to_string_lossy().parse()
            && let Ok(stat) = Stat::of(pid)
            && stat.parent == postmaster
        {
            children.push((pid, stat));
        }
    }
    Ok(children)
}

pub(super) struct Stat {
    parent: u32,
    ticks: u64,
    ticks_with_ended_children: u64,
}

impl Stat {
    /// Reads the `stat` line of a process: see proc(5).
    fn of(pid: u32) -> Result<Self> {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, after_name) = line.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let number = |place: usize| -> Result<u64> {
            let field = fields.get(place).context("stat is too short")?;
            Ok(field.parse()?)
        };
        let ticks = number(11)? + number(12)?;
        Ok(Self {
            parent: u32::try_from(number(1)?)?,
            ticks,
            ticks_with_ended_children: ticks + number(13)? + number(14)?,
        })
    }
}
