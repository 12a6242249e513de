//! Problems that stop jobs now or will soon, each with what was found, why it matters and the next step.
//!
//! The facts are read first, then judged by pure functions. An ordinary role is enough: what it cannot
//! see of other sessions is not reported. No finding holds the text of a statement.

mod judge;
mod rights;
mod server;
mod work;

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;

use self::rights::Lacking;
use crate::migrate::{self, MIGRATIONS};
use crate::origin::is_original;
use crate::sql::Schema;

/// The names of all checks.
pub const CHECKS: [&str; 28] = [
    "abandoned_source",
    "all_stopping",
    "closed_limit",
    "connections",
    "dead_process",
    "dead_rows",
    "encoding",
    "failed_jobs",
    "horizon",
    "ids",
    "kind_not_served",
    "late_jobs",
    "missing_rights",
    "no_live_process",
    "not_migrated",
    "orphaned_jobs",
    "overdue_jobs",
    "overdue_recurring_jobs",
    "paused_queue",
    "paused_recurring_jobs",
    "queue_not_served",
    "restored_copy",
    "schema_new",
    "schema_old",
    "server_setting",
    "takes_no_writes",
    "undecodable_kind",
    "unknown_kind",
];

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Jobs do not run, or may be lost.
    Error,
    /// Jobs are late or failed, or will be unless something is done.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the check, one of [`CHECKS`], for programs; it does not change.
    pub check: &'static str,
    /// What was found.
    pub what: String,
    /// What it leads to.
    pub why: String,
    /// What to do.
    pub next: String,
}

/// Returns all findings, the worst first. A process counts as dead if its last heartbeat is older than
/// `dead_after`.
///
/// Reads the first ready jobs of each lane, and other tables by key or up to [`COUNT_MAX`](super::COUNT_MAX) rows.
pub async fn examine(
    conn: &mut PgConnection,
    schema: &Schema,
    dead_after: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let lacking = rights::own(conn, schema).await?;
    let mut findings = judge::own_rights(&lacking);
    if !lacking.iter().any(Lacking::prevents_reading) {
        findings.extend(examine_tables(conn, schema, dead_after).await?);
    }
    let server = server::read(conn, schema).await?;
    findings.extend(judge::server(&server));
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

async fn examine_tables(
    conn: &mut PgConnection,
    schema: &Schema,
    dead_after: Duration,
) -> Result<Vec<Finding>, sqlx::Error> {
    let migrated = migrate::status(conn, schema).await?;
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    let mut findings = judge::schema(schema.name(), migrated.version, known);
    if migrated.missing() == 0 {
        findings.extend(judge::origin(is_original(conn, schema).await?));
        let work = work::read(conn, schema, dead_after).await?;
        let processes = work.processes.iter().map(|process| process.name.as_str());
        let lacking = rights::of_processes(conn, schema, processes).await?;
        findings.extend(judge::rights_of_processes(&lacking));
        findings.extend(judge::work(&work));
    }
    Ok(findings)
}

/// Returns what a database cannot store because of its encoding, if it is not UTF8.
pub async fn encoding(conn: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    let encoding: String = sqlx::query_scalar("select current_setting('server_encoding')")
        .fetch_one(conn)
        .await?;
    Ok(judge::encoding(&encoding))
}
