//! Failed jobs by their cause: those of one kind whose errors differ only in ids, hosts and the like.

use std::cmp::Reverse;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::versions::{self, KindVersion, SeenVersion};
use super::{cause_of, fingerprint};
use crate::job::JobId;
use crate::sql::Schema;

const HOURS: usize = 24;

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
    /// How many of them failed in each of the last 24 hours, the earliest first.
    pub by_hour: Vec<i64>,
    /// When the first of them failed.
    pub first_at: DateTime<Utc>,
    /// When the last of them failed.
    pub last_at: DateTime<Utc>,
    /// The newest of them.
    pub sample: JobId,
    /// The newest version of a program with the kind when the first of them failed, if the kind had had another
    /// one before.
    pub began_with: Option<SeenVersion>,
    /// The version that ran the last attempt of the first of them, if it is known.
    pub first_version: Option<String>,
    /// The version that ran the last attempt of the last of them, if it is known.
    pub last_version: Option<String>,
}

#[derive(FromRow)]
struct FailedJob {
    job_id: JobId,
    kind: String,
    failed_at: DateTime<Utc>,
    /// How many whole hours ago that was.
    hours_ago: i64,
    error: Option<String>,
    version: Option<String>,
}

/// Groups the `jobs_max` newest failed jobs, and returns the groups, the largest first.
pub async fn list(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs_max: u32,
) -> Result<Vec<FailureGroup>, sqlx::Error> {
    let mut groups = all(conn, schema, jobs_max).await?;
    groups.sort_by(|one, other| {
        let order = |group: &FailureGroup| (Reverse(group.count), Reverse(group.last_at));
        order(one)
            .cmp(&order(other))
            .then_with(|| one.kind.cmp(&other.kind))
    });
    let kinds: Vec<&str> = groups.iter().map(|group| group.kind.as_str()).collect();
    let mut versions: HashMap<String, Vec<SeenVersion>> = HashMap::new();
    for KindVersion { kind, seen } in versions::of_kinds(conn, schema, &kinds).await? {
        versions.entry(kind).or_default().push(seen);
    }
    for group in &mut groups {
        let of_kind = versions.get(&group.kind);
        group.began_with = of_kind.and_then(|versions| began_with(group, versions));
    }
    Ok(groups)
}

/// Groups the `jobs_max` newest failed jobs, without the versions that they began with.
pub(crate) async fn all(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs_max: u32,
) -> Result<Vec<FailureGroup>, sqlx::Error> {
    let jobs = schema.query_as(FAILURES).bind(i64::from(jobs_max));
    Ok(group(jobs.fetch_all(conn).await?))
}

/// Returns the version with which a cause began, given those that know its kind, the oldest first.
fn began_with(group: &FailureGroup, versions: &[SeenVersion]) -> Option<SeenVersion> {
    let mut before = versions
        .iter()
        .filter(|seen| seen.first_seen_at <= group.first_at);
    let newest = before.next_back()?;
    let is_change = before.next().is_some();
    is_change.then(|| newest.clone())
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
                by_hour: vec![0; HOURS],
                first_at: job.failed_at,
                last_at: job.failed_at,
                sample: job.job_id,
                began_with: None,
                first_version: job.version.clone(),
                last_version: job.version.clone(),
            });
        }
        let group = &mut groups[place];
        group.count += 1;
        let hours_ago = usize::try_from(job.hours_ago).unwrap_or_default();
        if hours_ago < HOURS {
            group.by_hour[HOURS - 1 - hours_ago] += 1;
        }
        if job.failed_at < group.first_at {
            (group.first_at, group.first_version) = (job.failed_at, job.version);
        } else if job.failed_at > group.last_at {
            (group.last_at, group.last_version) = (job.failed_at, job.version);
        }
    }
    groups
}
