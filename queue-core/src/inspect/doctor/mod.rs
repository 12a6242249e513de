//! What stops jobs now, or will soon: each finding with what, why and the next step.
//!
//! The facts are read first, then judged by plain functions. An ordinary role is enough: what it
//! is not shown of other sessions is not reported, and what is reported never holds the text of
//! a query.

mod judge;
mod server;
mod work;

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;

use crate::migrate::{self, MIGRATIONS};
use crate::sql::Schema;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Jobs do not run, or may be lost.
    Error,
    /// Jobs are late or failed, or will be unless something is done.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A word for programs that stands for this kind of finding and does not change.
    pub check: &'static str,
    /// What was found.
    pub what: String,
    /// What it leads to.
    pub why: String,
    /// What to do.
    pub next: String,
}

/// Looks for everything that stops jobs, the worst first; nothing found is an empty answer. A
/// process counts as dead when it has been silent for longer than `dead_after`.
///
/// Reads all ready rows, and of the other tables what it finds by key or up to
/// [`COUNT_MAX`](super::COUNT_MAX) rows.
///
/// # Errors
/// Returns what the server answered.
pub async fn examine(
    conn: &mut PgConnection,
    schema: &Schema,
    dead_after: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let migrated = migrate::status(conn, schema).await?;
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    let mut findings = judge::schema(schema.name(), migrated.version, known);
    if migrated.version == known {
        let work = work::read(conn, schema, dead_after).await?;
        findings.extend(judge::work(&work));
    }
    let server = server::read(conn, schema).await?;
    findings.extend(judge::server(&server));
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}
