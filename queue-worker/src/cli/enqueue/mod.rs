//! `queue enqueue`: one job, or a file of them.

mod file;

mod destination;
mod line;

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use queue_core::{NewJob, Options, Unique};
use serde_json::json;
use serde_json::value::RawValue;

use super::args::{parse_args, time};
use super::ids::written_on;
use super::kinds::Kinds;
use super::output::say;
use super::{Exit, Failure, Global};
use crate::app::State;
use crate::app::run_error::with_causes;
use crate::config::options::{for_tenant, with};
use crate::{App, handlers};
use destination::Destination;
use line::JobByName;

const EXAMPLES: &str = "\
Examples:
  queue enqueue send_welcome --args '{\"user_id\": 7}'
  queue enqueue report --queue reports --delay 10m --tag nightly
  queue enqueue reindex --unique-key reindex/7    unless an unfinished job has that key
  queue enqueue --file jobs.jsonl                 a job per line, in their order
  export-jobs | queue enqueue --file -            the same from the standard input

Each line of a file is a JSON object with a \"kind\" and optionally \"args\", \"queue\", \"priority\",
\"attempts\", \"delay\" (such as \"10m\"), \"at\" (such as \"2030-01-31T09:00:00Z\"), \"tags\" and \"tenant\":
  {\"kind\": \"send_welcome\", \"args\": {\"user_id\": 7}, \"queue\": \"mail\", \"tags\": [\"import\"]}

An invalid line ends the command with its number: all lines before it are enqueued, and none from
that line on. For a single job, the command prints its id.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Enqueue {
    /// The kind of the job
    #[arg(required_unless_present = "file")]
    kind: Option<String>,
    /// Its arguments, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = parse_args)]
    args: Box<RawValue>,
    /// Its queue [default: that of its kind, or `default`]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Its priority; smaller is sooner, and may be negative [default: that of its kind, or 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// How many attempts may end in an error [default: that of its kind, or 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    attempts: Option<i16>,
    /// How long it waits before it may start, such as `90s` or `2h`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// The time from which it may start, such as `2030-01-31T09:00:00+01:00`
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "delay")]
    at: Option<DateTime<Utc>>,
    /// A tag to find it by; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// A key that no other unfinished job may have
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// The tenant that it is for
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Enqueues kinds that this program does not know, for another program
    #[arg(long)]
    force: bool,
    /// Enqueues a job per line of this file; `-` is the standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["kind", "args", "queue",
        "priority", "attempts", "delay", "at", "tag", "unique_key", "tenant"])]
    file: Option<PathBuf>,
}

impl Enqueue {
    pub(super) async fn run<S: State>(
        self,
        global: &Global,
        app: &App<S>,
    ) -> Result<Exit, Failure> {
        let config = global.load_all()?;
        if global.names("QUEUE_SHARDS") {
            return Err(Failure::usage(
                "the shard of a job is not chosen by --shards, but by its tenant or key: leave out --shards",
            ));
        }
        let kinds = Kinds::new(app.kinds(), &config.handlers, self.force);
        let by_name = |kind: &str, args: &RawValue| {
            kinds.check(kind)?;
            let job = handlers::new_job(kind, args, &config.handlers, app);
            job.map_err(|refused| with_causes(&refused))
        };
        if let Some(path) = &self.file {
            return file::run(global, &config, path, &by_name).await;
        }
        let job = self.job(&by_name).map_err(Failure::usage)?;
        let to = Destination::of(&config).await?;
        let (shard, enqueued) = to.enqueue(job).await?;
        let id = written_on(shard.as_deref(), enqueued.id());
        if !enqueued.is_new() {
            say(format!("not enqueued: job {id} holds the unique key"));
        }
        // A kept job is an earlier one that holds the unique key.
        let result = if enqueued.is_new() { "new" } else { "kept" };
        let mut json = json!({"id": enqueued.id(), "result": result});
        if let Some(shard) = shard {
            json["shard"] = (*shard).into();
        }
        global.print(&json, |_| id)
    }

    fn job(self, by_name: JobByName<'_>) -> Result<NewJob, String> {
        let job = by_name(&self.kind.unwrap_or_default(), &self.args)?;
        Ok(job.with(|options| {
            let options = self.tag.into_iter().fold(options, Options::tag);
            let options = with(options, self.queue, Options::queue);
            let options = with(options, self.priority, Options::priority);
            let options = with(options, self.attempts, Options::attempts);
            let options = with(options, self.delay, Options::delay);
            let options = with(options, self.at, Options::at);
            let options = with(options, self.tenant, for_tenant);
            let unique = self.unique_key.map(Unique::by_key);
            with(options, unique, Options::unique)
        }))
    }
}
