//! Reading the state of the queue: jobs, queues, recurring jobs, processes, limits, statistics and
//! problems.
//!
//! Nothing here locks or changes a row. Results serialize with stable field names; times are in UTC,
//! durations in seconds. An ordinary role that may use the tables is enough.
//!
//! Large tables are read by key, or up to [`COUNT_MAX`] rows; functions that read more document it.

pub mod merged;

pub mod audit;
pub mod batches;
pub mod doctor;
pub mod failures;
pub mod operations;
pub mod tenants;

pub mod jobs;
pub mod limits;
pub mod processes;
pub mod progress;
pub mod queues;
pub mod recurring;
pub mod replica;
pub mod signs;
pub mod stats;
pub mod versions;

mod backtrace;
mod cause;
mod spell;
mod times;

use std::time::Duration;

use serde::Serialize;
use sqlx::{PgPool, Postgres, Transaction};

use crate::db::begin;

pub use audit::{AuditEntry, AuditFilter};
pub use backtrace::{BacktraceLine, backtrace_lines};
pub use batches::{BatchJob, BatchSummary};
pub use cause::{cause_of, fingerprint};
pub use failures::FailureGroup;
pub use jobs::{AttemptDetails, Holder, JobDetails, JobFilter, JobLimit, JobSummary};
pub use limits::LimitSummary;
pub use operations::{OperationDetails, Selection};
pub use processes::ProcessSummary;
pub use progress::{CursorDetails, Done, JobProgress, RunLog, StepDetails};
pub use queues::QueueSummary;
pub use recurring::{FiringDetails, RecurringJobDetails, RecurringJobSummary};
pub use spell::{grouped, spell_duration};
pub use stats::Stats;
pub use tenants::{TenantDetails, TenantSummary};
pub use versions::SeenVersion;

/// The most rows that are counted.
pub const COUNT_MAX: u32 = 1_000_000;

/// Begins a transaction that only reads, and in which no statement may take longer than `limit`. Statements are
/// not compiled: that takes longer than most of them.
pub async fn begin_read(
    pool: &PgPool,
    limit: Duration,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = begin(pool).await?;
    sqlx::query(
        "select set_config('transaction_read_only', 'on', true), set_config('jit', 'off', true), \
         set_config('statement_timeout', $1, true)",
    )
    .persistent(false)
    .bind(limit.as_millis().to_string())
    .execute(&mut *tx)
    .await?;
    Ok(tx)
}

/// A number of rows, counted up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Count {
    /// The number of rows that were counted.
    pub count: u64,
    /// Whether there are more: counting stopped at the limit.
    pub at_least: bool,
}

impl Count {
    /// Returns a count from a statement that counts up to one more than the limit.
    fn up_to(max: u32, counted: i64) -> Self {
        let counted = counted.unsigned_abs();
        Self {
            count: counted.min(u64::from(max)),
            at_least: counted > u64::from(max),
        }
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.at_least |= other.at_least;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at_least {
            f.write_str("more than ")?;
        }
        f.write_str(&grouped(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_stopped_at_its_limit_reads_more_than() {
        assert_eq!(Count::up_to(10, 10).to_string(), "10");
        assert_eq!(Count::up_to(10_000, 10_001).to_string(), "more than 10,000");
    }
}
