//! The limits that a process declares.

use std::collections::BTreeMap;

use queue_core::Schema;
use queue_core::operations::limits::{LimitError, LimitSetting, SetBy, set};
use sqlx::PgConnection;

/// Declares the limits of the configuration. Limits that operators have set stay.
pub(super) async fn declare(
    conn: &mut PgConnection,
    schema: &Schema,
    limits: &BTreeMap<String, LimitSetting>,
) -> Result<(), sqlx::Error> {
    for (name, setting) in limits {
        match set(conn, schema, name, *setting, SetBy::Configuration).await {
            Ok(set) if set.is_in_force => tracing::debug!(limit = name, "declared a limit"),
            Ok(_) => tracing::info!(
                limit = name,
                "an operator has set another limit than the configuration; that one applies until \
                 `queue limits reset`",
            ),
            Err(LimitError::Database(error)) => return Err(error),
            Err(error) => tracing::error!(limit = name, %error, "the limit is invalid"),
        }
    }
    Ok(())
}
