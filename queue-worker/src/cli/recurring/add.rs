//! `queue recurring add`

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use queue_core::inspect::recurring as inspect;
use queue_core::recurring::{Missed, Overlap, RecurringError, add, replace};
use queue_core::schedule::{Tz, parse_zone};
use serde::Serialize;
use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, IntoDeserializer};

use crate::App;
use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{absolute_coming, print, print_json, say};
use crate::config::RecurringSettings;
use crate::handlers;

const HELP: &str = "\
The times are crontab with five or six fields, or words:
  '*/15 * * * *'   '0 9 * * mon-fri Europe/Berlin'   'every 5 minutes'   'every day at 9am'

A time that nobody looked at within a minute was missed: no scheduler ran, or the schedule was
paused. `--missed skip` lets it be, `once` enqueues one job for all of them, `all` one for each of
the newest (see --missed-max).

What is not said is as the kind says. With --replace everything is said anew: what is left out has
its default again. Another --schedule or --zone takes effect from now; all else leaves the next time
where it is.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Add {
    /// The name of the schedule
    name: String,
    /// Its times
    #[arg(long, value_name = "TIMES")]
    schedule: String,
    /// The zone whose clock they are by, unless they name one [default: scheduler.time_zone]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<Tz>,
    /// The kind of its jobs
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// Their arguments, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    args: serde_json::Value,
    /// The queue they wait in [default: what their kind says, else `default`]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Smaller is sooner; may be negative [default: what their kind says, else 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i16>,
    /// How many attempts may end in an error [default: what their kind says, else 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=0x7FFF))]
    attempts: Option<u16>,
    /// How often their process may die under them [default: what their kind says, else 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=0x7FFF))]
    crashes: Option<u16>,
    /// A label to find them by; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// What becomes of missed times
    #[arg(long, value_name = "POLICY", default_value = "once", value_parser = policy::<Missed>(["skip", "once", "all"]))]
    missed: Missed,
    /// How many missed times are looked at one by one, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    missed_max: u32,
    /// What becomes of a time while an earlier job has not ended
    #[arg(long, value_name = "POLICY", default_value = "allow", value_parser = policy::<Overlap>(["allow", "skip", "queue"]))]
    overlap: Overlap,
    /// Lets each job start up to this much later, such as `30s`
    #[arg(long, value_name = "DURATION", default_value = "0s",
        value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Replaces the schedule of this name, if there is one
    #[arg(long)]
    replace: bool,
}

#[derive(Serialize)]
struct Answer {
    name: String,
    /// `added` or `replaced`.
    result: &'static str,
    words: Option<String>,
    upcoming: Vec<DateTime<Utc>>,
}

impl Add {
    pub(super) async fn run<S: Send + Sync + 'static>(
        self,
        global: &Global,
        app: &App<S>,
    ) -> Result<Exit, Failure> {
        let config = global.load()?;
        let replaces = self.replace;
        let options = handlers::options_of(&self.kind, &config.handlers, app);
        let name = self.name.clone();
        let recurring = self
            .settings()
            .named(&name, options)
            .map_err(RecurringError::from)?;
        let database = Database::configured(&config)?;
        let (schema, zone) = (&database.schema, config.settings.scheduler.time_zone);
        let mut conn = database.connect().await?;
        let is_new = if replaces {
            replace(&mut conn, schema, &recurring, zone).await?
        } else {
            add(&mut conn, schema, &recurring, zone).await?;
            true
        };
        let stored = inspect::show(&mut conn, schema, recurring.name(), 0).await?;
        let (words, upcoming) = stored.map(|it| (it.words, it.upcoming)).unwrap_or_default();
        answer(
            global,
            &Answer {
                name: recurring.name().to_owned(),
                result: if is_new { "added" } else { "replaced" },
                words,
                upcoming,
            },
        )
    }

    fn settings(self) -> RecurringSettings {
        RecurringSettings {
            schedule: self.schedule,
            zone: self.zone,
            kind: self.kind,
            args: self.args,
            queue: self.queue,
            priority: self.priority,
            attempts: self.attempts,
            crashes: self.crashes,
            tags: self.tag,
            missed: self.missed,
            missed_max: Some(self.missed_max),
            overlap: self.overlap,
            jitter: self.jitter,
        }
    }
}

fn answer(global: &Global, answer: &Answer) -> Result<Exit, Failure> {
    say(format!(
        "{} schedule {}: {}",
        answer.result,
        answer.name,
        answer.words.as_deref().unwrap_or_default()
    ));
    if global.json {
        print_json(answer)?;
    } else {
        let times: Vec<String> = answer
            .upcoming
            .iter()
            .map(|time| absolute_coming(*time))
            .collect();
        print(times.join("\n"))?;
    }
    Ok(Exit::Fine)
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn zone(name: &str) -> Result<Tz, String> {
    parse_zone(name).map_err(|unknown| unknown.to_string())
}

fn policy<P>(words: [&'static str; 3]) -> impl TypedValueParser<Value = P>
where
    P: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .try_map(|word| P::deserialize(IntoDeserializer::<ValueError>::into_deserializer(word)))
}
