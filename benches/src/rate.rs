//! The rate of jobs, and the log they wrote.

use std::time::Instant;

use anyhow::Result;
use sqlx::PgPool;

use crate::wal;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) jobs_per_second: f64,
    pub(crate) wal_bytes_per_job: f64,
}

impl Rate {
    /// Measures work that returns its number of jobs.
    pub(crate) async fn of(
        pool: &PgPool,
        work: impl Future<Output = Result<usize>>,
    ) -> Result<Self> {
        let before = wal::position(pool).await?;
        let start = Instant::now();
        let jobs = work.await? as f64;
        let seconds = start.elapsed().as_secs_f64();
        let written = wal::position(pool).await? - before;
        Ok(Self {
            jobs_per_second: jobs / seconds,
            wal_bytes_per_job: written as f64 / jobs,
        })
    }
}
