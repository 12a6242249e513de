//! Policies for missed due times and for overlapping jobs.

use serde::{Deserialize, Serialize};

/// The policy for missed due times: those that were not decided within [`GRACE`](super::GRACE),
/// because no scheduler ran or the recurring job was paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Missed {
    /// Enqueues nothing for them.
    Skip,
    /// Enqueues one job for all of them, unless the next due time is on time.
    #[default]
    Once,
    /// Enqueues a job for each, oldest first, up to
    /// [`RecurringJob::missed_max`](super::RecurringJob::missed_max).
    All,
}

/// The policy for a due time at which an earlier job of the recurring job has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Overlap {
    /// Enqueues another job.
    #[default]
    Allow,
    /// Enqueues nothing. A job that waits for another attempt has not ended. A job that was enqueued
    /// under another policy does not count.
    Skip,
    /// Enqueues another job, but never runs two of them at the same time. A job that waits for
    /// another attempt does not block the others, so the order may change.
    #[serde(rename = "queue")]
    #[sqlx(rename = "queue")]
    Queued,
}

impl Missed {
    /// Returns the policy as it is written in its row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

impl Overlap {
    /// Returns the policy as it is written in its row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
            Self::Queued => "queue",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_rows_use_the_same_words() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            assert_eq!(serde_json::to_value(missed).unwrap(), missed.as_str());
        }
        for overlap in [Overlap::Allow, Overlap::Skip, Overlap::Queued] {
            assert_eq!(serde_json::to_value(overlap).unwrap(), overlap.as_str());
        }
        assert!(serde_json::from_str::<Missed>("\"sometimes\"").is_err());
    }
}
