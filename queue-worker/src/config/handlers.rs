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

/// Headers that every request carries anyway; a second value would contradict them.
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
    /// What runs them.
    pub run: HandlerRun,
    /// How long one attempt may take; `None` leaves it to the process.
    pub timeout: Option<Duration>,
    /// The queue they go to when they are enqueued by this process without one.
    pub queue: Option<String>,
    /// How often they are tried, from 1 to 1,000.
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
    /// The program, found like a shell finds it. One with a slash is a path, taken from `cwd`.
    pub program: String,
    /// Its arguments. No shell reads them.
    pub arguments: Vec<String>,
    /// Variables it gets beside those of the worker process.
    pub env: BTreeMap<String, String>,
    /// The directory it runs in; that of the worker process when `None`.
    pub cwd: Option<PathBuf>,
}

/// An endpoint that runs one attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpHandler {
    /// Where the request goes; `http` or `https`.
    pub url: String,
    /// Headers it carries beside those that name the job.
    pub headers: BTreeMap<String, String>,
}

/// Shows the names of the variables only: their values are often secrets.
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

/// Shows the names of the headers only, and no address: both often hold secrets.
impl fmt::Debug for HttpHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHandler")
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

/// One handler as the file writes it: with `command` or with `http`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct HandlerTable {
    pub(super) command: Option<Vec<String>>,
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
    /// Returns the handler, or refuses everything that is wrong with it.
    pub(super) fn handler(mut self, check: &mut Check) -> Option<HandlerSettings> {
        let run = match (self.command.take(), self.http.take()) {
            (Some(command), None) => self.command_handler(command, check),
            (None, Some(url)) => Some(self.http_handler(url, check)),
            (Some(_), Some(_)) => {
                check.refuse("http", "a handler has `command` or `http`, not both");
                None
            }
            (None, None) => {
                check.refuse("", "a handler needs `command` or `http`");
                None
            }
        };
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

    fn command_handler(&mut self, command: Vec<String>, check: &mut Check) -> Option<HandlerRun> {
        let strays = [("headers", !self.headers.is_empty())];
        check.stray(strays, "belongs to a handler with `http`");
        for (position, _) in command
            .iter()
            .enumerate()
            .filter(|(_, word)| word.contains('\0'))
        {
            let message = "an argument cannot hold a null character";
            check.refuse(&format!("command[{position}]"), message);
        }
        let env = mem::take(&mut self.env);
        let env = check.within("env", |check| checked(env, check_variable, check));
        let mut words = command.into_iter();
        let Some(program) = words.next().filter(|program| !program.is_empty()) else {
            check.refuse("command", "the first text names the program; it is missing");
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
        check.stray(strays, "belongs to a handler with `command`");
        check.accept("http", check_url(&url));
        let headers = mem::take(&mut self.headers);
        let headers = check.within("headers", |check| checked(headers, check_header, check));
        HandlerRun::Http(HttpHandler { url, headers })
    }
}

/// Checks variables or headers one by one, and returns them as plain texts.
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
        return Err("a variable has a name without `=`, and no null character".to_owned());
    }
    if name.starts_with("QUEUE_JOB_") {
        return Err("the variables that start with QUEUE_JOB_ describe the job".to_owned());
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&&*lower) || lower.starts_with(OWN_PREFIX) {
        return Err("this header is set by the worker".to_owned());
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "this cannot name a header".to_owned())?;
    HeaderValue::from_str(value).map_err(|_| "a header has no control characters".to_owned())?;
    Ok(())
}
