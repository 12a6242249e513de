//! What operators and programs ask: jobs, queues, schedules, processes, figures, and what is wrong.
//!
//! Nothing here locks or changes a row. Results serialize with stable field names; times are
//! UTC, durations are seconds. All of it works for an ordinary role that may use the tables.
//!
//! The tables that hold millions of rows are read by key, or up to [`COUNT_MAX`] rows; what reads
//! more says so.

pub mod doctor;
pub mod jobs;
pub mod limits;
pub mod processes;
pub mod queues;
pub mod recurring;
pub mod stats;

mod spell;
mod times;

use serde::Serialize;

pub use jobs::{AttemptDetails, Holder, JobDetails, JobFilter, JobLimit, JobSummary};
pub use limits::LimitSummary;
pub use processes::ProcessSummary;
pub use queues::QueueSummary;
pub use recurring::{FiringDetails, RecurringJobDetails, RecurringJobSummary};
pub use spell::spell_duration;
pub use stats::Stats;

/// Where counting stops.
pub const COUNT_MAX: u32 = 1_000_000;

/// A number of rows that was counted up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many were counted.
    pub count: u64,
    /// Whether counting stopped at the limit: there are more.
    pub at_least: bool,
}

impl Count {
    /// Reads a count that was allowed to go one beyond its limit.
    fn up_to(max: u32, counted: i64) -> Self {
        let counted = counted.unsigned_abs();
        Self {
            count: counted.min(u64::from(max)),
            at_least: counted > u64::from(max),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at_least {
            f.write_str("more than ")?;
        }
        self.count.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_says_when_it_stopped_at_its_limit() {
        assert_eq!(Count::up_to(10, 10).to_string(), "10");
        assert_eq!(Count::up_to(10, 11).to_string(), "more than 10");
    }
}
