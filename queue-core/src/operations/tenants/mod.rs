//! Pausing and resuming a tenant in all fair queues, and its weight there.

use sqlx::PgConnection;

use crate::context::{InvalidContext, check_tenant};
use crate::sql::Schema;

const PAUSE: &str = include_str!("pause.sql");
const RESUME: &str = include_str!("resume.sql");
const SET_WEIGHT: &str = include_str!("set_weight.sql");

/// The highest weight of a tenant.
pub const WEIGHT_MAX: i16 = 1_000;

/// Why a tenant was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] InvalidContext),
    /// The weight is not valid.
    #[error("a weight is a whole number from 1 to {WEIGHT_MAX}, not {0}")]
    Weight(i16),
    /// The database returned an error, or could not be reached.
    #[error("could not change the tenant")]
    Database(#[from] sqlx::Error),
}

/// Pauses a tenant: no more of its jobs in fair queues are claimed, and running jobs go on. Records who did it,
/// and why. Returns false if it was paused already.
///
/// # Errors
/// Refuses an invalid name.
pub async fn pause(
    conn: &mut PgConnection,
    schema: &Schema,
    tenant: &str,
    who: Option<&str>,
    why: Option<&str>,
) -> Result<bool, TenantError> {
    check_tenant(tenant)?;
    let pausing = schema.query(PAUSE).bind(tenant).bind(who).bind(why);
    Ok(pausing.execute(conn).await?.rows_affected() == 1)
}

/// Resumes a tenant, and wakes idle workers. Returns whether it was paused.
///
/// # Errors
/// Refuses an invalid name.
pub async fn resume(
    conn: &mut PgConnection,
    schema: &Schema,
    tenant: &str,
) -> Result<bool, TenantError> {
    check_tenant(tenant)?;
    let resuming = schema.query(RESUME).bind(tenant);
    Ok(resuming.fetch_optional(conn).await?.is_some())
}

/// Sets how many jobs of a tenant start in a turn, 1 by default. Workers know it within a second. Returns whether
/// it is new.
///
/// # Errors
/// Refuses an invalid name, and a weight outside of 1 to [`WEIGHT_MAX`].
pub async fn set_weight(
    conn: &mut PgConnection,
    schema: &Schema,
    tenant: &str,
    weight: i16,
) -> Result<bool, TenantError> {
    check_tenant(tenant)?;
    if !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(TenantError::Weight(weight));
    }
    let setting = schema.query(SET_WEIGHT).bind(tenant).bind(weight);
    Ok(setting.execute(conn).await?.rows_affected() == 1)
}
