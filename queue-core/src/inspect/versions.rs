//! When each version of the programs was first seen.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::Schema;

const VERSIONS: &str = include_str!("versions.sql");
const VERSIONS_SINCE: &str = include_str!("versions_since.sql");

/// A version of a program.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SeenVersion {
    /// Its name.
    pub version: String,
    /// When the first process of it registered.
    pub first_seen_at: DateTime<Utc>,
}

/// A version of a program that knows a kind.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct KindVersion {
    /// The kind.
    pub kind: String,
    /// The version, since it knows the kind.
    #[sqlx(flatten)]
    pub seen: SeenVersion,
}

/// Returns the versions that know some of these kinds, the oldest first; up to twenty of each kind.
pub async fn of_kinds(
    conn: &mut PgConnection,
    schema: &Schema,
    kinds: &[&str],
) -> Result<Vec<KindVersion>, sqlx::Error> {
    schema.query_as(VERSIONS).bind(kinds).fetch_all(conn).await
}

/// Returns up to `limit` versions that were first seen since a time, the newest first.
pub async fn since(
    conn: &mut PgConnection,
    schema: &Schema,
    since: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<SeenVersion>, sqlx::Error> {
    schema
        .query_as(VERSIONS_SINCE)
        .bind(since)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
}
