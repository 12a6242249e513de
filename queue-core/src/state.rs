//! The states of a job.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The state of a job. Each state is a table.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum JobState {
    /// It waits until it is due: it was delayed, or will be retried.
    Scheduled,
    /// It waits for a worker.
    Ready,
    /// It waits because a limit has no room.
    Blocked,
    /// A process has claimed it, and runs it or will run it soon. Shown as `running`.
    #[serde(rename = "running")]
    #[sqlx(rename = "running")]
    Claimed,
    /// Its last attempt failed, and it waits for an operator.
    Failed,
    /// It ended: done, discarded or cancelled.
    Finished,
}

/// A word that is not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a state: use scheduled, ready, blocked, running, failed or finished")]
pub struct UnknownState {
    word: String,
}

impl JobState {
    /// Every state, in the order in which a job passes through them.
    pub const ALL: [Self; 6] = [
        Self::Scheduled,
        Self::Ready,
        Self::Blocked,
        Self::Claimed,
        Self::Failed,
        Self::Finished,
    ];

    /// Returns the word that is shown and accepted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Claimed => "running",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .or((word == "claimed").then_some(Self::Claimed))
            .ok_or_else(|| UnknownState {
                word: word.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back_from_its_word() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json, state.as_str());
        }
        assert_eq!("claimed".parse(), Ok(JobState::Claimed));
        assert!("done".parse::<JobState>().is_err());
    }
}
