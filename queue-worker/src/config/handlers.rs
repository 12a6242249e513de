//! `[handlers.KIND]`: kinds of jobs that run as a command or at an HTTP endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use queue_core::check_queue;
use serde::Deserialize;
use url::Url;

use super::backoff::BackoffSettings;
use super::check::Check;
use super::values::{duration, secret};

const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);

/// Headers that the worker sets on every request, and that a handler may not set.
const OWN_HEADERS: &[&str] = &[
    "content-type",
    "content-length",
    "host",
    "transfer-encoding",
    "idempotency-key",
];
const OWN_PREFIX: &str = "queue-job-";

/// How the jobs of one kind run without Rust code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerSettings {
    /// The command or endpoint.
    pub run: HandlerRun,
    /// How long one attempt may take; unlimited by default.
    pub timeout: Option<Duration>,
    /// The queue for jobs that this program enqueues without one.
    pub queue: Option<String>,
    /// How many attempts may end in an error, from 1 to 1,000.
    pub attempts: Option<u16>,
    /// How long they wait between attempts.
    pub backoff: Option<BackoffSettings>,
}

/// What runs the jobs of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerRun {
    /// A command, once for each attempt.
    Command(CommandHandler),
    /// A request to an endpoint.
    Http(HttpHandler),
}

/// A command that runs one attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandHandler {
    /// The program, looked up in `PATH`. With a slash it is a path relative to `cwd`.
    pub program: String,
    /// Its arguments, which no shell interprets.
    pub arguments: Vec<String>,
    /// Environment variables, in addition to those of the worker process.
    pub env: BTreeMap<String, String>,
    /// The working directory; by default that of the worker process.
    pub cwd: Option<PathBuf>,
}

/// An endpoint that runs one attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpHandler {
    /// The URL, with `http` or `https`.
    pub url: String,
    /// Headers, in addition to those that describe the job.
    pub headers: BTreeMap<String, String>,
}

/// Shows the variables without their values, which may be secrets.
impl fmt::Debug for CommandHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandHandler")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// Shows the headers without their values, and no URL: both may contain secrets.
impl fmt::Debug for HttpHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHandler")
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

/// A handler in the file: with `command` or with `http`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct HandlerTable {
    /// The program and its arguments.
    pub(super) command: Option<Vec<String>>,
    /// The URL of an endpoint, instead of a command.
    pub(super) http: Option<String>,
    pub(super) env: BTreeMap<String, Secret>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) headers: BTreeMap<String, Secret>,
    pub(super) timeout: Option<Timeout>,
    pub(super) queue: Option<String>,
    pub(super) attempts: Option<u16>,
    pub(super) backoff: Option<BackoffSettings>,
}

#[derive(Deserialize)]
pub(super) struct Secret(#[serde(deserialize_with = "secret")] String);

#[derive(Deserialize)]
pub(super) struct Timeout(#[serde(deserialize_with = "duration")] Duration);

impl HandlerTable {
    /// Returns the handler, and rejects everything that is invalid in it.
    pub(super) fn handler(mut self, check: &mut Check) -> Option<HandlerSettings> {
        let run = self.run(check);
        let timeout = self.timeout.map(|Timeout(timeout)| timeout);
        check.duration("timeout", timeout, TIMEOUT);
        check.name("queue", self.queue.as_deref(), check_queue);
        check.number("attempts", self.attempts, 1..=1000);
        if let Some(backoff) = &self.backoff {
            check.within("backoff", |check| backoff.check(check));
        }
        Some(HandlerSettings {
            run: run?,
            timeout,
            queue: self.queue,
            attempts: self.attempts,
            backoff: self.backoff,
        })
    }

    /// Takes the command or the endpoint.
    pub(super) fn run(&mut self, check: &mut Check) -> Option<HandlerRun> {
        match (self.command.take(), self.http.take()) {
            (Some(command), None) => self.command_handler(command, check),
            (None, Some(url)) => Some(self.http_handler(url, check)),
            (Some(_), Some(_)) => {
                check.refuse("http", "give `command` or `http`, not both");
                None
            }
            (None, None) => {
                check.refuse("", "give `command` or `http`");
                None
            }
        }
    }

    fn command_handler(&mut self, command: Vec<String>, check: &mut Check) -> Option<HandlerRun> {
        let strays = [("headers", !self.headers.is_empty())];
        check.stray(strays, "belongs to `http`");
        for (position, word) in command.iter().enumerate() {
            if word.contains('\0') {
                let message = "an argument cannot contain null characters";
                check.refuse(&format!("command[{position}]"), message);
            }
        }
        let env = mem::take(&mut self.env);
        let env = check.within("env", |check| checked(env, check_variable, check));
        let mut words = command.into_iter();
        let Some(program) = words.next().filter(|program| !program.is_empty()) else {
            check.refuse("command", "the first string must name the program");
            return None;
        };
        Some(HandlerRun::Command(CommandHandler {
            program,
            arguments: words.collect(),
            env,
            cwd: self.cwd.take(),
        }))
    }

    fn http_handler(&mut self, url: String, check: &mut Check) -> HandlerRun {
        let strays = [("env", !self.env.is_empty()), ("cwd", self.cwd.is_some())];
        check.stray(strays, "belongs to `command`");
        check.accept("http", check_url(&url));
        let headers = mem::take(&mut self.headers);
        let headers = check.within("headers", |check| checked(headers, check_header, check));
        HandlerRun::Http(HttpHandler { url, headers })
    }
}

/// Checks variables or headers one by one, and returns them as strings.
fn checked(
    pairs: BTreeMap<String, Secret>,
    check_pair: fn(&str, &str) -> Result<(), String>,
    check: &mut Check,
) -> BTreeMap<String, String> {
    for (name, Secret(value)) in &pairs {
        check.accept(name, check_pair(name, value));
    }
    let pairs = pairs.into_iter();
    pairs.map(|(name, Secret(value))| (name, value)).collect()
}

fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("expected a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!(
            "expected a URL with http or https, found `{scheme}`"
        )),
    }
}

fn check_variable(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err("expected a name without `=`, and no null characters".to_owned());
    }
    if name.starts_with("QUEUE_JOB_") {
        return Err("variables that start with QUEUE_JOB_ are set by the worker".to_owned());
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&&*lower) || lower.starts_with(OWN_PREFIX) {
        return Err("this header is set by the worker".to_owned());
    }
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "this is not a valid name of a header".to_owned())?;
    HeaderValue::from_str(value)
        .map_err(|_| "a header cannot contain control characters".to_owned())?;
    Ok(())
}
