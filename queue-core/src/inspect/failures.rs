//! Failed jobs by their cause: those of one kind whose errors differ only in ids, hosts and the like.

use std::cmp::Reverse;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::{cause_of, fingerprint};
use crate::job::JobId;
use crate::sql::Schema;

const FAILURES: &str = include_str!("failures.sql");

/// Failed jobs of one kind whose last errors have the same cause.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FailureGroup {
    /// Their kind.
    pub kind: String,
    /// Names the cause, with the kind.
    pub fingerprint: String,
    /// The first line of the newest error.
    pub error: String,
    /// The same without what differs from job to job.
    pub cause: String,
    /// How many they are.
    pub count: i64,
    /// When the first of them failed.
    pub first_at: DateTime<Utc>,
    /// When the last of them failed.
    pub last_at: DateTime<Utc>,
    /// The newest of them.
    pub sample: JobId,
}

#[derive(FromRow)]
struct FailedJob {
    job_id: JobId,
    kind: String,
    failed_at: DateTime<Utc>,
    error: Option<String>,
}

/// Groups the `jobs_max` newest failed jobs, and returns up to `limit` groups, the largest first.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs_max: u32,
    limit: u32,
) -> Result<Vec<FailureGroup>, sqlx::Error> {
    let jobs: Vec<FailedJob> = schema
        .query_as(FAILURES)
        .bind(i64::from(jobs_max))
        .fetch_all(conn)
        .await?;
    let mut groups = group(jobs);
    groups.sort_by(|one, other| {
        let order = |group: &FailureGroup| (Reverse(group.count), Reverse(group.last_at));
        order(one)
            .cmp(&order(other))
            .then_with(|| one.kind.cmp(&other.kind))
    });
    groups.truncate(limit as usize);
    Ok(groups)
}

/// Groups jobs, of which the newest comes first.
fn group(jobs: Vec<FailedJob>) -> Vec<FailureGroup> {
    let mut groups: Vec<FailureGroup> = Vec::new();
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for job in jobs {
        let error = job.error.unwrap_or_default();
        let cause = cause_of(&error);
        let place = *places
            .entry((job.kind.clone(), cause.clone()))
            .or_insert(groups.len());
        if place == groups.len() {
            groups.push(FailureGroup {
                kind: job.kind,
                fingerprint: fingerprint(&error),
                error,
                cause,
                count: 0,
                first_at: job.failed_at,
                last_at: job.failed_at,
                sample: job.job_id,
            });
        }
        let group = &mut groups[place];
        group.count += 1;
        group.first_at = group.first_at.min(job.failed_at);
        group.last_at = group.last_at.max(job.failed_at);
    }
    groups
}
