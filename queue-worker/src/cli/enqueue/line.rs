//! One line of a file of jobs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue_core::{NewJob, Options};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::options::{for_tenant, with};

/// Makes a job by its kind and arguments. The error is a message.
pub(super) type JobByName<'a> = &'a (dyn Fn(&str, &RawValue) -> Result<NewJob, String> + Sync);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: String,
    #[serde(default = "no_args")]
    args: Box<RawValue>,
    queue: Option<String>,
    priority: Option<i16>,
    attempts: Option<i16>,
    delay: Option<String>,
    at: Option<DateTime<Utc>>,
    #[serde(default)]
    tags: Vec<String>,
    tenant: Option<String>,
}

fn no_args() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// Parses a line. The error is a message about the line.
pub(super) fn read(text: &[u8], by_name: JobByName<'_>) -> Result<NewJob, String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| column_only(&error))?;
    if line.delay.is_some() && line.at.is_some() {
        return Err("`delay` and `at` cannot be used together".to_owned());
    }
    let delay = line.delay.as_deref().map(duration).transpose()?;
    let job = by_name(&line.kind, &line.args)?;
    Ok(job.with(|options| {
        let options = line.tags.into_iter().fold(options, Options::tag);
        let options = with(options, line.queue, Options::queue);
        let options = with(options, line.priority, Options::priority);
        let options = with(options, line.attempts, Options::attempts);
        let options = with(options, delay, Options::delay);
        let options = with(options, line.tenant, for_tenant);
        with(options, line.at, Options::at)
    }))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("`delay` is {text:?}: {error}"))
}

/// Removes the line number of serde, which is always 1 because each line is parsed alone.
fn column_only(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", ", at column ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<NewJob, String> {
        super::read(text, &|kind, args| {
            Ok(NewJob::untyped(kind, args, Options::new()))
        })
    }

    #[test]
    fn only_the_kind_is_required() {
        assert!(read(br#"{"kind": "send"}"#).unwrap().is_copyable());
        let all = br#"{"kind": "send", "args": [1], "queue": "mail", "priority": -3,
            "attempts": 2, "delay": "10m", "tags": ["a"]}"#;
        assert!(!read(all).unwrap().is_copyable());
        let at = br#"{"kind": "s", "at": "2030-01-31T09:00:00Z"}"#;
        assert!(!read(at).unwrap().is_copyable());
    }

    #[test]
    fn errors_describe_the_problem_of_a_line() {
        let wrong: [(&[u8], &str); 6] = [
            (b"{", "EOF while parsing an object, at column 1"),
            (b"{\"args\": 1}", "missing field `kind`, at column 11"),
            (b"{\"kind\": \"s\", \"prio\": 1}", "unknown field `prio`"),
            (
                b"{\"kind\": \"s\", \"delay\": \"soon\"}",
                "`delay` is \"soon\"",
            ),
            (
                b"{\"kind\":\"s\",\"delay\":\"1s\",\"at\":\"2030-01-31T09:00:00Z\"}",
                "`delay` and `at` cannot",
            ),
            (b"{\"kind\": \"\xff\"}", "invalid unicode code point"),
        ];
        for (line, message) in wrong {
            let error = read(line).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
