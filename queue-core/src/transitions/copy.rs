//! new → ready or blocked, by COPY

use std::collections::BTreeSet;
use std::io::Write as _;

use sqlx::PgConnection;

use super::enqueue::{is_limited, limits, waits_for};
use crate::new_job::NewJob;
use crate::sql::Schema;

const RESERVE_IDS: &str = "select array_agg(nextval('queue.job_seq')), clock_timestamp()::text
from generate_series(1, $1::bigint)";
const WAKE_QUEUES: &str = "select pg_notify('queue.wake', name)
from unnest($1::text[]) as name
where exists (select from queue.idle_processes)";

/// Enqueues jobs by COPY: the ids are drawn first, then both tables are filled. Unique keys and
/// delays are not looked at; the caller sees to it that there are none.
///
/// The time is drawn with the ids and sent back with every row: a default that is computed anew
/// for each row would make the server insert the rows one by one instead of by the page, at
/// nearly 100 bytes of its log more for each.
pub(crate) async fn copy(
    conn: &mut PgConnection,
    schema: &Schema,
    jobs: &[NewJob],
) -> Result<(), sqlx::Error> {
    let (ids, now): (Vec<i64>, String) = sqlx::query_as(schema.sql(RESERVE_IDS))
        .bind(i64::try_from(jobs.len()).unwrap_or(i64::MAX))
        .fetch_one(&mut *conn)
        .await?;
    let name = schema.name();
    let waits_for = waits_for(jobs);
    copy_rows(
        conn,
        &format!(
            "copy {name}.jobs (id, created_at, kind, queue, priority, attempts_max, crashes_max, \
             args, tags, limits) from stdin"
        ),
        job_lines(&ids, &now, jobs),
    )
    .await?;
    copy_rows(
        conn,
        &format!(
            "copy {name}.ready (job_id, seq, ready_at, priority, queue, kind, track) from stdin"
        ),
        ready_lines(&ids, &now, jobs, &waits_for),
    )
    .await?;
    if waits_for.iter().any(Option::is_some) {
        copy_rows(
            conn,
            &format!(
                "copy {name}.blocked (job_id, seq, blocked_at, attempt, priority, failures, crashes, \
                 frees_key, replaces, key, queue, kind) from stdin"
            ),
            blocked_lines(&ids, &now, jobs, &waits_for),
        )
        .await?;
    }
    sqlx::query(schema.sql(WAKE_QUEUES))
        .bind(woken(jobs))
        .execute(conn)
        .await?;
    Ok(())
}

async fn copy_rows(
    conn: &mut PgConnection,
    statement: &str,
    lines: Vec<u8>,
) -> Result<(), sqlx::Error> {
    let mut copy = conn.copy_in_raw(statement).await?;
    match copy.send(lines).await {
        Ok(_) => copy.finish().await.map(|_rows| ()),
        Err(error) => {
            let _already_failing = copy.abort("could not send the rows").await;
            Err(error)
        }
    }
}

fn job_lines(ids: &[i64], now: &str, jobs: &[NewJob]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(jobs.len() * 200);
    for (id, job) in ids.iter().zip(jobs) {
        let options = &job.options;
        let _infallible = write!(
            lines,
            "{id}\t{now}\t{}\t{}\t{}\t{}\t{}\t",
            job.kind, options.queue, options.priority, options.attempts_max, options.crashes_max,
        );
        escape(&mut lines, &job.args);
        match &options.tags[..] {
            [] => lines.extend(b"\t\\N\t"),
            tags => {
                let _infallible = write!(lines, "\t{{{}}}\t", tags.join(","));
            }
        }
        match limits(job) {
            Some(limits) => escape(&mut lines, &limits),
            None => lines.extend(b"\\N"),
        }
        lines.push(b'\n');
    }
    lines
}

fn ready_lines(ids: &[i64], now: &str, jobs: &[NewJob], waits_for: &[Option<String>]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(jobs.len() * 60);
    for ((id, job), key) in ids.iter().zip(jobs).zip(waits_for) {
        if key.is_some() {
            continue;
        }
        let options = &job.options;
        let track = i16::from(is_limited(job));
        let _infallible = writeln!(
            lines,
            "{id}\t{id}\t{now}\t{}\t{}\t{}\t{track}",
            options.priority, options.queue, job.kind
        );
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

/// Writes a field as COPY's text format wants it. Names need none of this: their characters have
/// been checked.
fn escape(lines: &mut Vec<u8>, field: &str) {
    for byte in field.bytes() {
        match byte {
            b'\\' => lines.extend(b"\\\\"),
            b'\t' => lines.extend(b"\\t"),
            b'\n' => lines.extend(b"\\n"),
            b'\r' => lines.extend(b"\\r"),
            other => lines.push(other),
        }
    }
}

/// Returns what workers are woken with: the names of the queues, and `@` before them where jobs with
/// limits have come.
fn woken(jobs: &[NewJob]) -> Vec<String> {
    let woken: BTreeSet<String> = jobs
        .iter()
        .map(|job| match is_limited(job) {
            true => format!("@{}", job.options.queue),
            false => job.options.queue.to_string(),
        })
        .collect();
    woken.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_escaped_for_copy() {
        let mut line = Vec::new();
        escape(&mut line, "a\\n\tb\nc\r");
        assert_eq!(line, b"a\\\\n\\tb\\nc\\r");
    }
}
