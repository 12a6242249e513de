//! Exit codes, and the errors of commands.

use std::fmt::{Debug, Display};
use std::process::ExitCode;

use queue_core::operations::jobs::BulkError;
use queue_core::operations::limits::LimitError;
use queue_core::operations::queues::QueueError;
use queue_core::operations::tenants::TenantError;
use queue_core::recurring::RecurringError;
use queue_core::{EnqueueError, InvalidName, ShardsError};

/// The exit codes.
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

/// The error of a command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    error: Option<anyhow::Error>,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: Some(error.into()),
        }
    }

    /// Makes the error of a command line or a configuration that is not valid. Takes a message, or
    /// an error that needs no causes.
    pub(super) fn usage(message: impl Display + Debug + Send + Sync + 'static) -> Self {
        Self::new(Exit::Usage, anyhow::Error::msg(message))
    }

    pub(super) fn failed(message: &'static str) -> Self {
        Self::new(Exit::Failed, anyhow::Error::msg(message))
    }

    /// Ends the command quietly: the reader of its output has gone away, or there is nothing to do.
    pub(super) fn quiet() -> Self {
        Self::said(Exit::Fine)
    }

    /// Ends the command after what is wrong was said.
    pub(super) fn said(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    /// Names the shard that it is about.
    pub(super) fn on_shard(self, shard: &str) -> Self {
        let error = self
            .error
            .map(|error| error.context(format!("shard {shard}")));
        Self { error, ..self }
    }

    /// Returns the message with its causes, if there is one.
    pub(super) fn message(&self) -> Option<String> {
        self.error.as_ref().map(with_causes)
    }
}

/// Writes an error with its causes. For errors of sqlx only the message of the server or the
/// network is used: they repeat their causes, and add lines of the server's source.
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
                "the tables of the queue are missing in this database or older than this program: run \
                 `queue migrate`, or name their schema with --schema",
            );
        }
        if queue_core::is_read_only(&error) {
            let error = anyhow::Error::new(error)
                .context("the database takes no writes: if it is a replica, give the URL of the primary server \
                    with --database-url (`queue doctor` finds the reason)");
            return Self::new(Exit::Unreachable, error);
        }
        if queue_core::is_transient(&error) {
            let what = match &error {
                sqlx::Error::Database(_) => "the database could not do it now; try again",
                _ => "lost the connection to the database",
            };
            return Self::new(Exit::Unreachable, anyhow::Error::new(error).context(what));
        }
        anyhow::Error::new(error)
            .context("the database returned an error")
            .into()
    }
}

/// Treats arguments that an operation rejects as mistakes in the command line.
macro_rules! from_errors_of_operations {
    ($($error:ident),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                match error {
                    $error::Database(error) => error.into(),
                    refused => Self::new(Exit::Usage, refused),
                }
            }
        }
    )*};
}
from_errors_of_operations!(BulkError, LimitError, QueueError, TenantError);

impl From<InvalidName> for Failure {
    fn from(invalid: InvalidName) -> Self {
        Self::usage(invalid)
    }
}

impl From<EnqueueError> for Failure {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::NotMigrated(error)
            | EnqueueError::ReadOnly(error)
            | EnqueueError::Database(error) => error.into(),
            refused => Self::new(Exit::Usage, refused),
        }
    }
}

impl From<ShardsError> for Failure {
    fn from(error: ShardsError) -> Self {
        match error {
            ShardsError::Refused(refused) => refused.into(),
            ShardsError::Failed { ref source, .. }
                if matches!(**source, EnqueueError::NotMigrated(_)) =>
            {
                Self::new(Exit::Failed, error)
            }
            ShardsError::Failed { .. } | ShardsError::NotAsked { .. } => {
                Self::new(Exit::Unreachable, error)
            }
            refused => Self::new(Exit::Usage, refused),
        }
    }
}

impl From<RecurringError> for Failure {
    fn from(error: RecurringError) -> Self {
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
    fn a_cause_is_written_once() {
        let refused = std::io::Error::other("connection refused");
        let error = anyhow::Error::new(sqlx::Error::Io(refused)).context("could not connect");
        assert_eq!(with_causes(&error), "could not connect: connection refused");
    }
}
