//! How a command ends, and what it says when it failed.

use std::process::ExitCode;

/// The meaning of an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Fine = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    NotFound = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    error: Option<anyhow::Error>,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: Some(error.into()),
        }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow::Error::msg(message.into()))
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, anyhow::Error::msg(message.into()))
    }

    /// Whoever read the output has enough of it.
    pub(super) fn reader_gone() -> Self {
        Self {
            exit: Exit::Fine,
            error: None,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns what went wrong, with its causes, if there is anything to say.
    pub(super) fn message(&self) -> Option<String> {
        self.error.as_ref().map(with_causes)
    }
}

/// Writes an error with its causes, down to what the server or the network said: errors of sqlx
/// repeat their causes, and add lines of the server's own source.
fn with_causes(error: &anyhow::Error) -> String {
    let mut messages = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(refusal)) => messages.push(refusal.message().to_owned()),
            Some(sqlx::Error::Io(error)) => messages.push(error.to_string()),
            _ => {
                messages.push(cause.to_string());
                continue;
            }
        }
        break;
    }
    messages.join(": ")
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if queue_core::is_not_migrated(&error) {
            return Self::failed(
                "the tables of the queue are missing in this database: run `queue migrate`, or \
                 name their schema with --schema",
            );
        }
        if queue_core::is_transient(&error) {
            let error = anyhow::Error::new(error).context("the database went away");
            return Self::new(Exit::Unreachable, error);
        }
        anyhow::Error::new(error)
            .context("the database refused")
            .into()
    }
}

impl From<queue_core::EnqueueError> for Failure {
    fn from(error: queue_core::EnqueueError) -> Self {
        match error {
            queue_core::EnqueueError::NotMigrated(error)
            | queue_core::EnqueueError::Database(error) => error.into(),
            refused => Self::new(Exit::Usage, refused),
        }
    }
}

impl From<queue_core::operations::limits::LimitError> for Failure {
    fn from(error: queue_core::operations::limits::LimitError) -> Self {
        match error {
            queue_core::operations::limits::LimitError::Database(error) => error.into(),
            refused => Self::new(Exit::Usage, refused),
        }
    }
}

impl From<queue_core::operations::queues::QueueError> for Failure {
    fn from(error: queue_core::operations::queues::QueueError) -> Self {
        match error {
            queue_core::operations::queues::QueueError::Database(error) => error.into(),
            refused => Self::new(Exit::Usage, refused),
        }
    }
}

impl From<queue_core::operations::jobs::BulkError> for Failure {
    fn from(error: queue_core::operations::jobs::BulkError) -> Self {
        match error {
            queue_core::operations::jobs::BulkError::Database(error) => error.into(),
            refused => Self::new(Exit::Usage, refused),
        }
    }
}

impl From<queue_core::recurring::RecurringError> for Failure {
    fn from(error: queue_core::recurring::RecurringError) -> Self {
        use queue_core::recurring::RecurringError;

        match error {
            RecurringError::Database(error) => error.into(),
            RecurringError::NotEnqueued(error) => error.into(),
            RecurringError::Invalid(refused) => Self::new(Exit::Usage, refused),
            unknown @ RecurringError::Unknown(_) => Self::new(Exit::NotFound, unknown),
            other => Self::new(Exit::Failed, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let refused = std::io::Error::other("connection refused");
        let error = anyhow::Error::new(sqlx::Error::Io(refused)).context("could not connect");
        assert_eq!(with_causes(&error), "could not connect: connection refused");
    }
}
