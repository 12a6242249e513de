//! What people did by dashboards.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const AUDIT: &str = include_str!("audit.sql");

/// What somebody did, or was refused.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Its number; later ones are larger.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// In which role.
    pub role: String,
    /// The verb, such as `retry`.
    pub what: String,
    /// To what, such as `jobs/4711` or `queues/mail`.
    pub target: String,
    /// Why, if they said so.
    pub why: Option<String>,
    /// How many jobs an act on many changed.
    pub jobs: Option<i64>,
    /// Whether it was refused, so that nothing changed.
    pub refused: bool,
}

/// Which acts are listed: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Acts of this person.
    pub who: Option<String>,
    /// Acts with this verb.
    pub what: Option<String>,
}

/// Lists up to `limit` acts, the last first, with smaller numbers than `below`, the last of the previous page.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    filter: &AuditFilter,
    below: Option<i64>,
    limit: u32,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    schema
        .query_as(AUDIT)
        .bind(i64::from(limit))
        .bind(below)
        .bind(&filter.who)
        .bind(&filter.what)
        .fetch_all(conn)
        .await
}
