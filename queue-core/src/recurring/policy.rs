//! What becomes of due times that were missed, and of jobs that would overlap.

use serde::{Deserialize, Serialize};

/// What becomes of due times that nobody looked at within [`GRACE`](super::GRACE): while no
/// scheduler ran, or while the schedule was paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Missed {
    /// Nothing is enqueued for them.
    Skip,
    /// One job is enqueued for all of them, unless the next one is enqueued on time anyway.
    #[default]
    Once,
    /// A job is enqueued for each, oldest first, but for no more than [`RecurringJob::missed_max`](super::RecurringJob::missed_max).
    All,
}

/// What becomes of a due time while an earlier job of the schedule has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Overlap {
    /// Another job is enqueued all the same.
    #[default]
    Allow,
    /// Nothing is enqueued. A job that waits for another attempt has not ended either; one that
    /// was enqueued before the schedule said this does not count.
    Skip,
    /// Another job is enqueued, and no two of them ever run at the same time. One that waits for
    /// another attempt does not run, and holds up no other meanwhile: they may come out of order.
    #[serde(rename = "queue")]
    #[sqlx(rename = "queue")]
    Queued,
}

impl Missed {
    /// Returns the word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

impl Overlap {
    /// Returns the word that stands for it.
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
    fn every_policy_is_written_in_json_as_in_its_row() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            assert_eq!(serde_json::to_value(missed).unwrap(), missed.as_str());
        }
        for overlap in [Overlap::Allow, Overlap::Skip, Overlap::Queued] {
            assert_eq!(serde_json::to_value(overlap).unwrap(), overlap.as_str());
        }
        assert!(serde_json::from_str::<Missed>("\"sometimes\"").is_err());
    }
}
