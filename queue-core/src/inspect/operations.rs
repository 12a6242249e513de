//! Acts on many jobs: how far they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use super::{JobFilter, fingerprint};
use crate::sql::Schema;

const LIST: &str = concat!(
    include_str!("operations.sql"),
    include_str!("operations_list.sql")
);
const SHOW: &str = concat!(include_str!("operations.sql"), "where id = $1");

/// The jobs of an act: those that match a filter, and of these the ones whose error has a cause.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// The filter.
    pub filter: JobFilter,
    /// The [`fingerprint`] of their last error.
    pub fingerprint: Option<String>,
    /// Jobs that have been in their state since this time or longer: those that somebody has seen.
    pub until: Option<DateTime<Utc>>,
}

impl Selection {
    /// Returns whether an error has the cause.
    pub(crate) fn has_cause(&self, error: Option<&str>) -> bool {
        let wanted = self.fingerprint.as_deref();
        wanted.is_none_or(|wanted| wanted == fingerprint(error.unwrap_or_default()))
    }
}

/// An act on many jobs.
#[derive(Clone, Debug, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationDetails {
    /// Its number.
    pub id: i64,
    /// The action, such as `retry`.
    pub action: String,
    /// The jobs.
    #[sqlx(json)]
    #[serde(skip)]
    pub filter: Selection,
    /// Who began it.
    pub who: String,
    /// Why, if they said so.
    pub why: Option<String>,
    /// When it began. Jobs that match since then are not changed.
    pub created_at: DateTime<Utc>,
    /// When somebody asked it to stop.
    pub stop_asked_at: Option<DateTime<Utc>>,
    /// Who asked it to stop.
    pub stopped_by: Option<String>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it could not go on.
    pub error: Option<String>,
    /// How many jobs matched when it began.
    pub counted: i64,
    /// Whether there were more.
    pub counted_at_least: bool,
    /// How many it has changed.
    pub changed: i64,
    /// How many running jobs it has asked to stop.
    pub asked_to_stop: i64,
    /// How many jobs it has left as they were, by reason.
    #[sqlx(json)]
    pub left_out: BTreeMap<String, i64>,
    /// The time of the database.
    pub now: DateTime<Utc>,
}

/// Lists up to `limit` operations, the last first.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    limit: u32,
) -> Result<Vec<OperationDetails>, sqlx::Error> {
    schema
        .query_as(LIST)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
}

/// Returns an operation; none if there is none of this number.
pub async fn show(
    conn: &mut PgConnection,
    schema: &Schema,
    operation: i64,
) -> Result<Option<OperationDetails>, sqlx::Error> {
    schema
        .query_as(SHOW)
        .bind(operation)
        .fetch_optional(conn)
        .await
}
