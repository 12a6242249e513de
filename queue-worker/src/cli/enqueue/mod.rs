//! `queue enqueue`: one job, or a file of them.

mod file;
mod line;

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use queue_core::{Enqueued, JobId, NewJob, Unique};
use serde::Serialize;

use super::database::Database;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::output::{print, print_json, say};
use crate::App;
use crate::handlers;
use line::OptionsOf;

const EXAMPLES: &str = "\
Examples:
  queue enqueue send_welcome --args '{\"user_id\": 7}'
  queue enqueue report --queue reports --delay 10m --tag nightly
  queue enqueue reindex --unique-key reindex/7    only if no unfinished job has that key
  queue enqueue --file jobs.jsonl                 a job per line, in their order
  export-jobs | queue enqueue --file -            the same from the standard input

A line of a file is a JSON object: \"kind\" and, if wanted, \"args\", \"queue\", \"priority\",
\"attempts\", \"delay\" (such as \"10m\"), \"at\" (such as \"2030-01-31T09:00:00Z\") and \"tags\":
  {\"kind\": \"send_welcome\", \"args\": {\"user_id\": 7}, \"queue\": \"mail\", \"tags\": [\"import\"]}

A line that is refused ends the run: all lines before it are enqueued, neither it nor any after
it, and its number is told. The id of a single job is printed.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Enqueue {
    /// The kind of the job
    #[arg(required_unless_present = "file")]
    kind: Option<String>,
    /// Its arguments, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    args: serde_json::Value,
    /// The queue it waits in [default: what its kind says, else `default`]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Smaller is sooner; may be negative [default: what its kind says, else 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// How many attempts may end in an error [default: what its kind says, else 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    attempts: Option<i16>,
    /// Lets it start no sooner than this much later, such as `90s` or `2h`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// Lets it start no sooner than at this time, such as `2030-01-31T09:00:00+01:00`
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "delay")]
    at: Option<DateTime<Utc>>,
    /// A label to find it by; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Enqueues only if no unfinished job has this key
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Enqueues a job per line of this file; `-` is the standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["kind", "args", "queue",
        "priority", "attempts", "delay", "at", "tag", "unique_key"])]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer {
    id: JobId,
    /// `new`, or `kept`: another job holds the unique key, and this is its id.
    result: &'static str,
}

impl Enqueue {
    pub(super) async fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: &App<S>,
    ) -> Result<Exit, Failure> {
        let config = global.load()?;
        let database = Database::configured(&config)?;
        let options_of = |kind: &str| handlers::options_of(kind, &config.handlers, app);
        if let Some(path) = &self.file {
            return file::run(global, &database, path, &options_of).await;
        }
        let job = self.job(&options_of);
        let queue = database.queue()?;
        queue.check(&job)?;
        database.connect().await?;
        let enqueued = queue.enqueue_all([job]).await?;
        answer(global, enqueued.first().copied())
    }

    fn job(self, options_of: OptionsOf<'_>) -> NewJob {
        let kind = self.kind.unwrap_or_default();
        let mut options = options_of(&kind);
        if let Some(queue) = self.queue {
            options = options.queue(queue);
        }
        if let Some(priority) = self.priority {
            options = options.priority(priority);
        }
        if let Some(attempts) = self.attempts {
            options = options.attempts(attempts);
        }
        for tag in self.tag {
            options = options.tag(tag);
        }
        if let Some(delay) = self.delay {
            options = options.delay(delay);
        }
        if let Some(at) = self.at {
            options = options.at(at);
        }
        if let Some(key) = self.unique_key {
            options = options.unique(Unique::by_key(key));
        }
        NewJob::untyped(kind, &self.args, options)
    }
}

fn answer(global: &Global, enqueued: Option<Enqueued>) -> Result<Exit, Failure> {
    let Some(enqueued) = enqueued else {
        return Err(Failure::failed(
            "the database did not say what became of the job",
        ));
    };
    let id = enqueued.id();
    if !enqueued.is_new() {
        say(format!("not enqueued: job {id} holds the unique key"));
    }
    if global.json {
        print_json(&Answer {
            id,
            result: if enqueued.is_new() { "new" } else { "kept" },
        })?;
    } else {
        print(id.to_string())?;
    }
    Ok(Exit::Fine)
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|error| {
            format!("{error}; write the date, the time and the zone, as in 2030-01-31T09:00:00Z")
        })
}
