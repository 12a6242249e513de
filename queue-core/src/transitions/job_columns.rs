//! The columns of `jobs` that every way to enqueue writes, beside the id.
//!
//! Statements have placeholders for them, so that a new column of new jobs is a line of [`COLUMNS`]
//! and one in each function that binds or writes the values.

use std::fmt::Write as _;
use std::io::Write as _;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;

use crate::new_job::NewJob;
use crate::sql::Schema;

struct Column {
    name: &'static str,
    /// The type of its parameter.
    sent: &'static str,
    /// Its type in the table.
    stored: &'static str,
}

/// The columns, in the order in which they are bound.
const COLUMNS: [Column; 11] = [
    column_of("kind", "text", "text"),
    column_of("queue", "text", "text"),
    column_of("priority", "smallint", "smallint"),
    column_of("attempts_max", "smallint", "smallint"),
    column_of("crashes_max", "smallint", "smallint"),
    column_of("args", "text", "jsonb"),
    column_of("tags", "text", "text[]"),
    column_of("limits", "text", "jsonb"),
    column_of("tenant", "text", "text"),
    column_of("context", "text", "jsonb"),
    column_of("batch_id", "bigint", "bigint"),
];

const fn column_of(name: &'static str, sent: &'static str, stored: &'static str) -> Column {
    Column { name, sent, stored }
}

/// The id of a new job, which is also its place in line. The transaction takes its own id before: a worker
/// that sees the end of the line also sees all open transactions with places before it.
const PLACE: &str =
    "nextval(case when pg_current_xact_id() is not null then 'queue.job_seq'::regclass end)";

/// Returns a statement with its placeholders filled in:
///
/// - `{place}`: the id of a new job;
/// - `{columns}`: the names;
/// - `{values}`: the values of one job, from parameters;
/// - `{arrays}`: the values of many jobs, from parameters that are arrays;
/// - `{stored}`: the values as the table has them, of a part that was made from `{arrays}`.
///
/// The parameters come after those that the statement names itself.
pub fn with_job_columns(statement: &str) -> String {
    let own = parameters(statement);
    let cast = |value: String, column: &Column| match column.sent == column.stored {
        true => value,
        false => format!("{value}::{}", column.stored),
    };
    let value = |number: usize, column: &Column| format!("${}::{}", own + number, column.sent);
    statement
        .replace("{place}", PLACE)
        .replace("{columns}", &list(|_, column| column.name.to_owned()))
        .replace(
            "{values}",
            &list(|number, column| cast(value(number, column), column)),
        )
        .replace(
            "{arrays}",
            &list(|number, column| value(number, column) + "[]"),
        )
        .replace(
            "{stored}",
            &list(|_, column| cast(column.name.to_owned(), column)),
        )
}

/// Lists something about each column, given its number from 1.
fn list(about: impl Fn(usize, &Column) -> String) -> String {
    let each: Vec<String> = (1..)
        .zip(&COLUMNS)
        .map(|(number, column)| about(number, column))
        .collect();
    each.join(", ")
}

/// Returns how many parameters a statement names.
fn parameters(statement: &str) -> usize {
    let numbers = statement.split('$').skip(1).filter_map(|after| {
        let digits = after.find(|c: char| !c.is_ascii_digit());
        after[..digits.unwrap_or(after.len())].parse().ok()
    });
    numbers.max().unwrap_or(0)
}

pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// Binds the columns of one job.
pub(super) fn bind_one<'q>(
    query: Query<'q>,
    schema: &Schema,
    job: &'q NewJob,
) -> Result<Query<'q>, sqlx::Error> {
    Ok(query
        .bind(&*job.kind)
        .bind(&*job.options.queue)
        .bind(job.options.priority)
        .bind(job.options.attempts_max)
        .bind(job.options.crashes_max)
        .bind(job.stored_args(schema)?)
        .bind(tags(job))
        .bind(limits(job))
        .bind(tenant(job))
        .bind(context(job))
        .bind(job.options.batch))
}

/// Binds the columns of many jobs, as arrays.
pub(super) fn bind_many<'q>(
    query: Query<'q>,
    schema: &Schema,
    jobs: &'q [NewJob],
) -> Result<Query<'q>, sqlx::Error> {
    let args: Result<Vec<_>, _> = jobs.iter().map(|job| job.stored_args(schema)).collect();
    Ok(query
        .bind(column(jobs, |job| &*job.kind))
        .bind(column(jobs, |job| &*job.options.queue))
        .bind(column(jobs, |job| job.options.priority))
        .bind(column(jobs, |job| job.options.attempts_max))
        .bind(column(jobs, |job| job.options.crashes_max))
        .bind(args?)
        .bind(column_if_any(jobs, tags))
        .bind(column_if_any(jobs, limits))
        .bind(column_if_any(jobs, tenant))
        .bind(column_if_any(jobs, context))
        .bind(column_if_any(jobs, |job| job.options.batch)))
}

/// Returns the value of each job in a column.
pub(super) fn column<'a, T>(jobs: &'a [NewJob], of: impl Fn(&'a NewJob) -> T) -> Vec<T> {
    jobs.iter().map(of).collect()
}

/// Returns the value of each job in a column, or none if no job has one: such a column is null.
fn column_if_any<'a, T>(
    jobs: &'a [NewJob],
    of: impl Fn(&'a NewJob) -> Option<T>,
) -> Option<Vec<Option<T>>> {
    let column: Vec<Option<T>> = jobs.iter().map(of).collect();
    column.iter().any(Option::is_some).then_some(column)
}

/// Writes the columns of a job as the rest of a line of COPY, after its first fields.
pub(super) fn write_line(
    line: &mut Vec<u8>,
    schema: &Schema,
    job: &NewJob,
) -> Result<(), sqlx::Error> {
    let options = &job.options;
    let _infallible = write!(
        line,
        "\t{}\t{}\t{}\t{}\t{}",
        job.kind, options.queue, options.priority, options.attempts_max, options.crashes_max,
    );
    let (tags, limits, context) = (tags(job), limits(job), context(job));
    let batch = options.batch.map(|batch| batch.to_string());
    for text in [
        Some(&*job.stored_args(schema)?),
        tags.as_deref(),
        limits.as_deref(),
        tenant(job),
        context.as_deref(),
        batch.as_deref(),
    ] {
        line.push(b'\t');
        match text {
            Some(text) => escape(line, text),
            None => line.extend(b"\\N"),
        }
    }
    line.push(b'\n');
    Ok(())
}

/// Returns the tags as Postgres writes an array. Each is quoted, or the tag `null` would be no tag;
/// none holds a quote or a backslash, which names may not have.
fn tags(job: &NewJob) -> Option<String> {
    let tags = &job.options.tags;
    if tags.is_empty() {
        return None;
    }
    let mut array = String::from("{");
    for (index, tag) in tags.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _infallible = write!(array, "{comma}\"{tag}\"");
    }
    array.push('}');
    Some(array)
}

fn limits(job: &NewJob) -> Option<String> {
    job.options.limits.to_json(&job.kind)
}

pub(super) fn tenant(job: &NewJob) -> Option<&str> {
    job.options.context.as_ref()?.tenant.as_deref()
}

fn context(job: &NewJob) -> Option<String> {
    job.options.context.as_ref()?.to_json()
}

/// Writes a field in the text format of COPY. Names need no escapes: their characters were checked.
pub(super) fn escape(lines: &mut Vec<u8>, field: &str) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::Options;

    #[test]
    fn parameters_of_the_columns_follow_those_of_the_statement() {
        let filled = with_job_columns("unnest($1::text[], {arrays})");
        assert!(filled.starts_with("unnest($1::text[], $2::text[], $3::text[], $4::smallint[],"));
        let filled = with_job_columns("insert into jobs ({columns}) values ({values})");
        assert!(filled.starts_with("insert into jobs (kind, queue, priority,"));
        assert!(filled.ends_with("$9::text, $10::text::jsonb, $11::bigint)"));
    }

    #[test]
    fn arguments_are_escaped_for_copy() {
        let mut line = Vec::new();
        escape(&mut line, "a\\n\tb\nc\r");
        assert_eq!(line, b"a\\\\n\\tb\\nc\\r");
    }

    #[test]
    fn a_tag_named_null_is_still_a_tag() {
        let options = Options::new().tag("null").tag("a:b");
        let job = NewJob::untyped("send", &json!(1), options);
        let mut line = Vec::new();
        write_line(&mut line, &Schema::default(), &job).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "\tsend\tdefault\t0\t10\t3\t1\t{\"null\",\"a:b\"}\t\\N\t\\N\t\\N\t\\N\n"
        );
    }
}
