//! The limits that a process declares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use queue_core::Schema;
use queue_core::operations::limits::{LimitError, LimitSetting, SetBy, set};
use sqlx::PgConnection;

/// The limits of the configuration. They are declared before the process runs jobs, so that no job
/// exceeds them. They are not declared again when the process starts over, because a newer program
/// may have declared others meanwhile.
pub(super) struct DeclaredLimits {
    limits: BTreeMap<String, LimitSetting>,
    are_declared: AtomicBool,
}

impl DeclaredLimits {
    pub(super) fn new(limits: BTreeMap<String, LimitSetting>) -> Self {
        Self {
            limits,
            are_declared: AtomicBool::new(false),
        }
    }

    /// Declares the limits, unless that has been done. Limits that operators have set stay.
    pub(super) async fn declare(
        &self,
        conn: &mut PgConnection,
        schema: &Schema,
    ) -> Result<(), sqlx::Error> {
        if self.are_declared.load(Ordering::Acquire) {
            return Ok(());
        }
        for (name, setting) in &self.limits {
            match set(conn, schema, name, *setting, SetBy::Configuration).await {
                Ok(set) if set.is_in_force => tracing::debug!(limit = name, "declared a limit"),
                Ok(_) => tracing::info!(
                    limit = name,
                    "an operator has set another limit than the configuration; that one applies \
                     until `queue limits reset`",
                ),
                Err(LimitError::Database(error)) => return Err(error),
                Err(error) => tracing::error!(limit = name, %error, "the limit is invalid"),
            }
        }
        self.are_declared.store(true, Ordering::Release);
        Ok(())
    }
}
