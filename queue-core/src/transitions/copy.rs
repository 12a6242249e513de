//! new → ready or blocked, by COPY

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::LazyLock;

use sqlx::postgres::PgBindIterExt as _;
use sqlx::{PgConnection, SqlStr};

use super::claim::Track;
use super::enqueue::{is_limited, waits_for};
use super::job_columns::{escape, tenant, with_job_columns, write_line};
use crate::metrics::note_enqueued;
use crate::new_job::NewJob;
use crate::sql::Schema;

static RESERVE_IDS: LazyLock<String> = LazyLock::new(|| {
    with_job_columns(
        "select array_agg({place}), clock_timestamp()::text from generate_series(1, $1::bigint)",
    )
});
static COPY_JOBS: LazyLock<String> =
    LazyLock::new(|| with_job_columns("copy queue.jobs (id, created_at, {columns}) from stdin"));
const COPY_READY: &str =
    "copy queue.ready (job_id, seq, ready_at, priority, queue, kind, track, tenant) from stdin";
const FAIR_QUEUES: &str = "select queue.fair_queues()";
const COPY_BLOCKED: &str = "copy queue.blocked (job_id, seq, blocked_at, attempt, priority, failures, \
    crashes, frees_key, replaces, key, queue, kind) from stdin";
const WAKE_QUEUES: &str = "select pg_notify('queue.wake', name)
from unnest($1::text[]) as name
where exists (select from queue.idle_processes)";

/// Enqueues jobs by COPY: draws the ids, then fills the tables. The jobs must have neither unique
/// key nor delay.
///
/// The time is read with the ids and sent back with every row. A default that is computed for each
/// row would make the server insert the rows one by one rather than by the page, which writes nearly
/// 100 bytes more to its log for each.
pub(crate) async fn copy(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<(), sqlx::Error> {
    let (ids, now): (Vec<i64>, String) = schema
        .query_as(RESERVE_IDS.as_str())
        .bind(i64::try_from(jobs.len()).unwrap_or(i64::MAX))
        .fetch_one(&mut *conn)
        .await?;
    let waits_for = waits_for(jobs);
    let lines = job_lines(schema, &ids, &now, jobs)?;
    copy_rows(conn, schema.sql(&COPY_JOBS), lines).await?;
    let has_tenants = jobs.iter().any(|job| tenant(job).is_some());
    let fair_queues: Vec<String> = match has_tenants {
        true => {
            schema
                .query_scalar(FAIR_QUEUES)
                .fetch_one(&mut *conn)
                .await?
        }
        false => Vec::new(),
    };
    let lines = ready_lines(&ids, &now, jobs, &waits_for, &fair_queues);
    copy_rows(conn, schema.sql(COPY_READY), lines).await?;
    if waits_for.iter().any(Option::is_some) {
        let lines = blocked_lines(&ids, &now, jobs, &waits_for);
        copy_rows(conn, schema.sql(COPY_BLOCKED), lines).await?;
    }
    schema
        .query(WAKE_QUEUES)
        .bind(woken(jobs).iter().bind_iter())
        .execute(conn)
        .await?;
    note_enqueued(jobs.iter().map(NewJob::queue_and_kind));
    Ok(())
}

async fn copy_rows(
    conn: &mut PgConnection,
    statement: SqlStr,
    lines: Vec<u8>,
) -> Result<(), sqlx::Error> {
    let mut copy = conn.copy_in_raw(statement.as_str()).await?;
    match copy.send(lines).await {
        Ok(_) => copy.finish().await.map(|_rows| ()),
        Err(error) => {
            let _already_failing = copy.abort("could not send the rows").await;
            Err(error)
        }
    }
}

fn job_lines(
    schema: &Schema,
    ids: &[i64],
    now: &str,
    jobs: &[NewJob],
) -> Result<Vec<u8>, sqlx::Error> {
    let mut lines = Vec::with_capacity(jobs.len() * 200);
    for (id, job) in ids.iter().zip(jobs) {
        let _infallible = write!(lines, "{id}\t{now}");
        write_line(&mut lines, schema, job)?;
    }
    Ok(lines)
}

fn ready_lines(
    ids: &[i64],
    now: &str,
    jobs: &[NewJob],
    waits_for: &[Option<String>],
    fair_queues: &[String],
) -> Vec<u8> {
    let mut lines = Vec::with_capacity(jobs.len() * 60);
    for ((id, job), key) in ids.iter().zip(jobs).zip(waits_for) {
        if key.is_some() {
            continue;
        }
        let options = &job.options;
        let is_fair = || fair_queues.iter().any(|queue| *queue == *options.queue);
        let tenant = tenant(job).filter(|_| is_fair());
        let track = match (is_limited(job), tenant) {
            (false, None) => Track::Open,
            (true, None) => Track::Limited,
            (false, Some(_)) => Track::Fair,
            (true, Some(_)) => Track::FairLimited,
        };
        let _infallible = write!(
            lines,
            "{id}\t{id}\t{now}\t{}\t{}\t{}\t{}\t",
            options.priority, options.queue, job.kind, track as i16
        );
        match tenant {
            Some(tenant) => escape(&mut lines, tenant),
            None => lines.extend(b"\\N"),
        }
        lines.push(b'\n');
    }
    lines
}

fn blocked_lines(ids: &[i64], now: &str, jobs: &[NewJob], waits_for: &[Option<String>]) -> Vec<u8> {
    let mut lines = Vec::new();
    for ((id, job), key) in ids.iter().zip(jobs).zip(waits_for) {
        let Some(key) = key else { continue };
        let options = &job.options;
        let _infallible = write!(
            lines,
            "{id}\t{id}\t{now}\t0\t{}\t0\t0\tf\tf\t",
            options.priority
        );
        escape(&mut lines, key);
        let _infallible = writeln!(lines, "\t{}\t{}", options.queue, job.kind);
    }
    lines
}

/// Returns the payloads that wake workers: the names of the queues, with an `@` before them for jobs
/// with limits.
fn woken(jobs: &[NewJob]) -> BTreeSet<String> {
    let payload = |job: &NewJob| match is_limited(job) {
        true => format!("@{}", job.options.queue),
        false => job.options.queue.to_string(),
    };
    jobs.iter().map(payload).collect()
}
