//! `queue recurring add`

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use queue_core::inspect::recurring as inspect;
use queue_core::recurring::{
    InvalidRecurringJob, Missed, Overlap, RecurringError, RecurringJob, add, replace,
};
use queue_core::schedule::{Tz, parse_zone};
use queue_core::{NewJob, Options};
use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::json;
use serde_json::value::RawValue;
use sqlx::Connection as _;

use crate::App;
use crate::cli::across::handles;
use crate::cli::args::parse_args;
use crate::cli::audit::{act, audit};
use crate::cli::here::shard;
use crate::cli::kinds::Kinds;
use crate::cli::output::{absolute_coming, say};
use crate::cli::{Database, Exit, Failure, Global};
use crate::config::options::with;
use crate::handlers;
use crate::process::others_elsewhere;

const HELP: &str = "\
A schedule is crontab with five or six fields, or a phrase:
  '*/15 * * * *'   '0 9 * * mon-fri Europe/Berlin'   'every 5 minutes'   'every day at 9am'

A due time is missed if no scheduler handles it within a minute: none ran, or the recurring job was
paused. `--missed skip` ignores missed times, `once` enqueues one job for all of them, and `all`
enqueues one for each of the newest (see --missed-max).

With --replace, options that are left out get their defaults again. A new --schedule or --zone takes
effect now; other changes do not move the next due time.";

#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Add {
    /// The name of the recurring job
    pub(super) name: String,
    /// When it is enqueued
    #[arg(long, value_name = "SCHEDULE")]
    schedule: String,
    /// The time zone, unless the schedule names one [default: scheduler.time_zone]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    zone: Option<Tz>,
    /// The kind of its jobs
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// The arguments of its jobs, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = parse_args)]
    args: Box<RawValue>,
    /// The queue of its jobs [default: that of the kind, or `default`]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The priority of its jobs: smaller is sooner [default: that of the kind, or 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// How many failures a job may have [default: that of the kind, or 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    attempts: Option<i16>,
    /// How many times its process may die while it runs [default: that of the kind, or 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    crashes: Option<i16>,
    /// A tag of its jobs; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// The policy for missed due times
    #[arg(long, value_name = "POLICY", default_value = "once", value_parser = policy::<Missed>(["skip", "once", "all"]))]
    missed: Missed,
    /// How many missed due times, the newest, are handled one by one
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    missed_max: u32,
    /// The policy for a due time at which an earlier job has not ended
    #[arg(long, value_name = "POLICY", default_value = "allow", value_parser = policy::<Overlap>(["allow", "skip", "queue"]))]
    overlap: Overlap,
    /// Delays each job by a random time up to this, such as `30s`
    #[arg(long, value_name = "DURATION", default_value = "0s",
        value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Replaces the recurring job of this name, if there is one
    #[arg(long)]
    replace: bool,
}

impl Add {
    pub(super) async fn run<S>(self, global: &Global, app: &App<S>) -> Result<Exit, Failure> {
        let config = global.load()?;
        let kinds = Kinds::new(app.kinds(), &config.handlers, true);
        kinds.warn_of_recurring(&self.kind);
        let replaces = self.replace;
        let name = self.name.clone();
        let job = handlers::new_job(&self.kind, &self.args, &config.handlers, app)
            .map_err(RecurringError::from)?;
        let recurring = self.recurring(job).map_err(RecurringError::from)?;
        if shard().is_some() {
            let shards = handles(&global.load_all()?, Database::queue).await?;
            if let Some(warning) = others_elsewhere(&shards, &recurring) {
                say(format!("warning: {warning}"));
            }
        }
        let database = Database::configured(&config)?;
        let (schema, zone) = (&database.schema, config.settings.scheduler.time_zone);
        let mut conn = database.connect().await?;
        let mut tx = conn.begin().await?;
        let is_new = if replaces {
            replace(&mut tx, schema, &recurring, zone).await?
        } else {
            add(&mut tx, schema, &recurring, zone).await?;
            true
        };
        let verb = if is_new { "add" } else { "replace" };
        let done = act(verb, format!("recurring/{}", recurring.name()));
        audit(&mut tx, schema, done).await?;
        tx.commit().await?;
        let stored = inspect::show(&mut conn, schema, recurring.name(), 0).await?;
        let (words, upcoming) = stored.map(|it| (it.words, it.upcoming)).unwrap_or_default();
        let result = if is_new { "added" } else { "replaced" };
        let spelled = words.as_deref().unwrap_or_default();
        say(format!("{result} {name}: {spelled}"));
        let times: Vec<String> = upcoming.iter().copied().map(absolute_coming).collect();
        global.print(
            &json!({"name": name, "result": result, "words": words, "upcoming": upcoming}),
            |_| times.join("\n"),
        )
    }

    fn recurring(self, job: NewJob) -> Result<RecurringJob, InvalidRecurringJob> {
        let job = job.with(|options| {
            let options = self.tag.into_iter().fold(options, Options::tag);
            let options = with(options, self.queue, Options::queue);
            let options = with(options, self.priority, Options::priority);
            let options = with(options, self.attempts, Options::attempts);
            with(options, self.crashes, Options::crashes)
        });
        let recurring = RecurringJob::of(self.name, self.schedule, job)?
            .missed(self.missed)
            .missed_max(self.missed_max)?
            .overlap(self.overlap)
            .jitter(self.jitter)?;
        Ok(match self.zone {
            Some(zone) => recurring.zone(zone),
            None => recurring,
        })
    }
}

fn policy<P>(words: [&'static str; 3]) -> impl TypedValueParser<Value = P>
where
    P: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .try_map(|word| P::deserialize(IntoDeserializer::<ValueError>::into_deserializer(word)))
}
