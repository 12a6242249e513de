//! Alerts: what is wrong, and whether it was sent to people.
//!
//! One process at a time has the turn. It compares what is wrong with the open alerts, sends those that were not sent,
//! and then records that. After a crash in between they are sent again. The alert of a state, such as a backlog, is
//! sent again when the state is over. That of an event, the death of a process or a batch whose jobs did not all
//! succeed, is sent once.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgBindIterExt as _;
use sqlx::{FromRow, PgConnection};

use crate::inspect::{failures, queues, spell_duration};
use crate::redact::Redaction;
use crate::sql::Schema;
use crate::transitions::millis;

const TAKE_TURN: &str = include_str!("take_turn.sql");
const END_TURN: &str = include_str!("end_turn.sql");
const PARTIAL_BATCHES: &str = include_str!("partial_batches.sql");
const LATE: &str = include_str!("late.sql");
const MERGE: &str = include_str!("merge.sql");
const UNSENT: &str = include_str!("unsent.sql");
const RECORD_SENT: &str = include_str!("record_sent.sql");

/// How many failed jobs are read to find their causes, and how many causes and other alerts are found at most.
const FAILED_MAX: u32 = 10_000;
const ALERTS_MAX: u32 = 200;

/// How late a recurring job is on time: docs/ARCHITECTURE.md calls later ones missed.
const GRACE: Duration = Duration::from_secs(60);

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertKind {
    /// Jobs of a kind have failed for good, and were neither retried nor discarded.
    FailedJob,
    /// Jobs of a kind have failed for good with one cause: errors that differ only in ids, hosts and the like.
    Cause,
    /// A job of a queue that is not paused has been ready for too long.
    Backlog,
    /// A process died.
    DeadProcess,
    /// A recurring job was due more than a minute ago.
    LateSchedule,
    /// A batch ended, but not all of its jobs succeeded.
    PartialBatch,
}

impl AlertKind {
    /// Returns its name, as in `queue.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailedJob => "failed_job",
            Self::Cause => "cause",
            Self::Backlog => "backlog",
            Self::DeadProcess => "dead_process",
            Self::LateSchedule => "late_schedule",
            Self::PartialBatch => "partial_batch",
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The kinds of alerts.
    pub on: &'a [AlertKind],
    /// How long a job may be ready.
    pub latency: Duration,
    /// What people must not see in causes.
    pub redaction: &'a Redaction,
}

/// An alert whose beginning or end was not sent.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Alert {
    /// What it is about.
    pub kind: String,
    /// The kind of job, cause, queue, process, recurring job or batch.
    pub subject: String,
    /// What is wrong, in words.
    pub text: String,
    /// When it began.
    pub begun_at: DateTime<Utc>,
    /// Since when it is over.
    pub over_at: Option<DateTime<Utc>>,
    /// Whether its beginning was not sent.
    #[serde(skip)]
    pub is_new: bool,
}

/// The right to find and to send alerts, until a time.
#[derive(Clone, Copy, Debug)]
pub struct Turn(DateTime<Utc>);

/// Takes the turn for a time at most, unless another process has it or has just had it.
pub async fn take_turn(
    conn: &mut PgConnection,
    schema: &Schema,
    at_most: Duration,
) -> Result<Option<Turn>, sqlx::Error> {
    let until = schema.query_scalar(TAKE_TURN).bind(millis(at_most));
    Ok(until.fetch_optional(conn).await?.map(Turn))
}

/// Ends a turn. The next one is an interval later.
pub async fn end_turn(
    conn: &mut PgConnection,
    schema: &Schema,
    turn: Turn,
    interval: Duration,
) -> Result<(), sqlx::Error> {
    let end = schema.query(END_TURN).bind(turn.0).bind(millis(interval));
    end.execute(conn).await.map(drop)
}

/// Finds out what is wrong, and returns the alerts whose beginning or end has not been sent: beginnings first, and
/// the oldest first.
pub async fn find(
    conn: &mut PgConnection,
    schema: &Schema,
    watch: Watch<'_>,
) -> Result<Vec<Alert>, sqlx::Error> {
    let Found { wrong, in_part } = wrong(conn, schema, watch).await?;
    let on = watch.on.iter();
    schema
        .query(MERGE)
        .bind(wrong.iter().map(|(kind, ..)| kind.as_str()).bind_iter())
        .bind(wrong.iter().map(|(_, subject, _)| subject).bind_iter())
        .bind(wrong.iter().map(|(.., text)| text).bind_iter())
        .bind(on.map(|kind| kind.as_str()).bind_iter())
        .bind(in_part.iter().map(|kind| kind.as_str()).bind_iter())
        .execute(&mut *conn)
        .await?;
    schema.query_as(UNSENT).fetch_all(conn).await
}

/// Records that alerts were sent.
pub async fn record_sent(
    conn: &mut PgConnection,
    schema: &Schema,
    sent: &[Alert],
) -> Result<(), sqlx::Error> {
    schema
        .query(RECORD_SENT)
        .bind(sent.iter().map(|alert| &alert.kind).bind_iter())
        .bind(sent.iter().map(|alert| &alert.subject).bind_iter())
        .bind(sent.iter().map(|alert| alert.over_at.is_some()).bind_iter())
        .execute(conn)
        .await?;
    Ok(())
}

/// What is wrong: the kind of its alert, the subject, and the words.
type Wrong = (AlertKind, String, String);

/// What was found wrong.
struct Found {
    wrong: Vec<Wrong>,
    /// The kinds of which there may be more. An alert of theirs that was not found is not over.
    in_part: Vec<AlertKind>,
}

async fn wrong(
    conn: &mut PgConnection,
    schema: &Schema,
    watch: Watch<'_>,
) -> Result<Found, sqlx::Error> {
    let is_on = |kind| watch.on.contains(&kind);
    let (mut wrong, mut in_part) = (Vec::new(), Vec::new());
    if is_on(AlertKind::FailedJob) || is_on(AlertKind::Cause) {
        Found { wrong, in_part } = failing(conn, schema, watch.redaction).await?;
    }
    if is_on(AlertKind::Backlog) {
        wrong.extend(backlogs(conn, schema, watch.latency).await?);
    }
    if is_on(AlertKind::LateSchedule) {
        wrong.extend(late(conn, schema).await?);
    }
    if is_on(AlertKind::PartialBatch) {
        wrong.extend(partial_batches(conn, schema).await?);
    }
    wrong.retain(|(kind, ..)| is_on(*kind));
    Ok(Found { wrong, in_part })
}

async fn failing(
    conn: &mut PgConnection,
    schema: &Schema,
    redaction: &Redaction,
) -> Result<Found, sqlx::Error> {
    let mut groups = failures::all(conn, schema, FAILED_MAX).await?;
    let mut in_part = Vec::new();
    if groups.iter().map(|group| group.count).sum::<i64>() == i64::from(FAILED_MAX) {
        in_part.push(AlertKind::FailedJob);
    }
    if !in_part.is_empty() || groups.len() > ALERTS_MAX as usize {
        in_part.push(AlertKind::Cause);
    }
    let kinds: BTreeSet<String> = groups.iter().map(|group| group.kind.clone()).collect();
    let failed = kinds.into_iter().map(|kind| {
        let text = format!("jobs of the kind `{kind}` have failed");
        (AlertKind::FailedJob, kind, text)
    });
    // Only the newest causes. The alert of an older one stays open as long as there are too many causes to see it.
    groups.sort_by_key(|group| Reverse(group.last_at));
    groups.truncate(ALERTS_MAX as usize);
    let causes = groups.iter().map(|group| {
        let kind = &group.kind;
        let cause = redaction.error(kind, &group.cause);
        let text = format!("jobs of the kind `{kind}` fail: {cause}");
        let subject = format!("{kind} {}", group.fingerprint);
        (AlertKind::Cause, subject, text)
    });
    let wrong = failed.chain(causes).collect();
    Ok(Found { wrong, in_part })
}

async fn backlogs(
    conn: &mut PgConnection,
    schema: &Schema,
    latency: Duration,
) -> Result<impl Iterator<Item = Wrong>, sqlx::Error> {
    let queues = queues::list(conn, schema).await?.into_iter();
    Ok(queues.filter_map(move |queue| {
        let waited = queue.latency_seconds?;
        let is_backlog = waited > latency.as_secs_f64() && queue.paused_at.is_none();
        let (name, waited) = (queue.name, spell_duration(waited));
        let text = format!("a job of the queue `{name}` has been ready for {waited}");
        is_backlog.then_some((AlertKind::Backlog, name, text))
    }))
}

async fn late(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<impl Iterator<Item = Wrong>, sqlx::Error> {
    let late = schema.query_scalar(LATE).bind(millis(GRACE));
    let late: Vec<String> = late.bind(i64::from(ALERTS_MAX)).fetch_all(conn).await?;
    Ok(late.into_iter().map(|name| {
        let text = format!("the recurring job `{name}` was due more than a minute ago");
        (AlertKind::LateSchedule, name, text)
    }))
}

async fn partial_batches(
    conn: &mut PgConnection,
    schema: &Schema,
) -> Result<impl Iterator<Item = Wrong>, sqlx::Error> {
    let batches = schema.query_as(PARTIAL_BATCHES);
    let batches: Vec<(i64, Option<String>)> =
        batches.bind(i64::from(ALERTS_MAX)).fetch_all(conn).await?;
    Ok(batches.into_iter().map(|(id, name)| {
        let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
        let text = format!("the batch {id}{name} ended, but not all of its jobs succeeded");
        (AlertKind::PartialBatch, id.to_string(), text)
    }))
}
