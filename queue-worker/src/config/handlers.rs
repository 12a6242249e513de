//! `[handlers.KIND]`: kinds of jobs that run as a command or at an HTTP endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::backoff::{self, BackoffSettings};
use super::document::{Entry, Section};
use super::draft::Draft;
use super::problem::Problem;
use queue_core::{check_kind, check_queue};

const HANDLER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);
const ATTEMPTS: RangeInclusive<u64> = 1..=1000;

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

/// Reads all handlers.
pub(super) fn read(section: &Section<'_>, draft: &mut Draft) {
    for (kind, entry) in section.entries() {
        if let Err(refused) = check_kind(kind) {
            draft.problems.push(entry.problem(refused.reason()));
        }
        match read_handler(&entry) {
            Ok(handler) => {
                draft.config.handlers.insert(kind.to_owned(), handler);
            }
            Err(problems) => draft.problems.extend(problems),
        }
    }
}

fn read_handler(entry: &Entry<'_>) -> Result<HandlerSettings, Vec<Problem>> {
    let mut section = entry.table().map_err(|problem| vec![problem])?;
    let mut reader = Reader {
        section: &mut section,
        problems: Vec::new(),
    };
    let handler = reader.handler(entry);
    let mut problems = reader.problems;
    section.refuse_unknown(&mut problems);
    handler.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Reads the keys of one handler and collects what is wrong with them.
pub(super) struct Reader<'r, 'a> {
    pub(super) section: &'r mut Section<'a>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'_, 'a> {
    pub(super) fn handler(&mut self, entry: &Entry<'_>) -> Option<HandlerSettings> {
        let run = self.run(entry);
        let timeout = self.optional("timeout", |entry| entry.given().duration(&HANDLER_TIMEOUT));
        let queue = self.queue();
        let attempts = self.attempts();
        let backoff = self.section.get("backoff").and_then(|entry| {
            backoff::read(&entry)
                .map_err(|problems| self.problems.extend(problems))
                .ok()
        });
        Some(HandlerSettings {
            run: run?,
            timeout,
            queue,
            attempts,
            backoff,
        })
    }

    pub(super) fn queue(&mut self) -> Option<String> {
        self.optional("queue", |entry| {
            let queue = entry.given().text()?;
            check_queue(queue).map_err(|refused| refused.reason().to_owned())?;
            Ok(queue.to_owned())
        })
    }

    pub(super) fn attempts(&mut self) -> Option<u16> {
        let attempts = self.optional("attempts", |entry| entry.given().whole_number(&ATTEMPTS));
        attempts.map(|attempts| attempts as u16)
    }

    /// Reads `command` or `http` with what belongs to it. A key of the other one is told apart
    /// from a misspelt one.
    fn run(&mut self, entry: &Entry<'_>) -> Option<HandlerRun> {
        let command = self.section.get("command");
        let http = self.section.get("http");
        let env = self.section.get("env");
        let cwd = self.section.get("cwd");
        let headers = self.section.get("headers");
        match (command, http) {
            (Some(command), None) => {
                self.refuse(headers, "belongs to a handler with `http`");
                self.command(&command, env, cwd).map(HandlerRun::Command)
            }
            (None, Some(http)) => {
                self.refuse(env, "belongs to a handler with `command`");
                self.refuse(cwd, "belongs to a handler with `command`");
                self.http(&http, headers).map(HandlerRun::Http)
            }
            (Some(_), Some(http)) => {
                self.problems
                    .push(http.problem("a handler has `command` or `http`, not both"));
                None
            }
            (None, None) => {
                self.problems
                    .push(entry.problem("a handler needs `command` or `http`"));
                None
            }
        }
    }

    fn command(
        &mut self,
        command: &Entry<'a>,
        env: Option<Entry<'a>>,
        cwd: Option<Entry<'a>>,
    ) -> Option<CommandHandler> {
        let words = self.words(command);
        let env = self.pairs(env, check_variable);
        let cwd = cwd.and_then(|entry| self.checked(&entry, |entry| entry.given().text()));
        let mut words = words?.into_iter();
        Some(CommandHandler {
            program: words.next()?,
            arguments: words.collect(),
            env,
            cwd: cwd.map(PathBuf::from),
        })
    }

    fn words(&mut self, command: &Entry<'a>) -> Option<Vec<String>> {
        let words = match command.texts("an array of texts like [\"./send\", \"--flag\"]") {
            Ok(words) => words,
            Err(problems) => {
                self.problems.extend(problems);
                return None;
            }
        };
        if words.first().is_none_or(|(program, _)| program.is_empty()) {
            self.problems
                .push(command.problem("the first text names the program; it is missing"));
            return None;
        }
        for (word, element) in &words {
            if word.contains('\0') {
                self.problems
                    .push(element.problem("an argument cannot hold a null character"));
            }
        }
        Some(words.into_iter().map(|(word, _)| word.to_owned()).collect())
    }

    fn http(&mut self, http: &Entry<'a>, headers: Option<Entry<'a>>) -> Option<HttpHandler> {
        let url = self.checked(http, |entry| check_url(entry.given().text()?));
        let headers = self.pairs(headers, check_header);
        Some(HttpHandler { url: url?, headers })
    }

    /// A table of texts, each pair checked.
    fn pairs(
        &mut self,
        entry: Option<Entry<'a>>,
        check: fn(&str, &str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        let Some(entry) = entry else { return pairs };
        let Some(table) = entry
            .table()
            .map_err(|problem| self.problems.push(problem))
            .ok()
        else {
            return pairs;
        };
        for (name, value) in table.entries() {
            let text = self.checked(&value, |value| {
                let text = value
                    .given()
                    .text()
                    .map_err(|_| "expected a text in quotes".to_owned())?;
                check(name, text).map(|()| text)
            });
            pairs.extend(text.map(|text| (name.to_owned(), text.to_owned())));
        }
        pairs
    }

    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Entry<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.section.get(key)?;
        self.checked(&entry, read)
    }

    pub(super) fn checked<T>(
        &mut self,
        entry: &Entry<'a>,
        read: impl FnOnce(&Entry<'a>) -> Result<T, String>,
    ) -> Option<T> {
        read(entry)
            .map_err(|message| self.problems.push(entry.problem(message)))
            .ok()
    }

    pub(super) fn refuse(&mut self, entry: Option<Entry<'a>>, message: &str) {
        self.problems
            .extend(entry.map(|entry| entry.problem(message)));
    }
}

fn check_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("expected a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(text.to_owned()),
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
