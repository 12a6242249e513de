//! `queue recurring show`

use std::fmt::Write as _;

use clap::Args;
use queue_core::inspect::{FiringDetails, RecurringJobDetails, recurring, spell_duration};
use queue_core::recurring::RecurringError;

use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{absolute, absolute_coming, lines, one_line, print, print_json, relative};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The recurring job
    name: String,
    /// Shows the arguments of its jobs as well; they may contain personal data
    #[arg(long)]
    args: bool,
    /// How many of its last firings to show
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(0..=10_000))]
    firings: u32,
}

impl Show {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let found = recurring::show(&mut conn, &database.schema, &self.name, self.firings).await?;
        let Some(job) = found else {
            return Err(RecurringError::Unknown(self.name).into());
        };
        if global.json {
            print_json(&self.json(&job)?)?;
        } else {
            print(self.text(&job))?;
        }
        Ok(Exit::Fine)
    }

    fn json(&self, job: &RecurringJobDetails) -> Result<serde_json::Value, Failure> {
        let mut value = serde_json::to_value(job)
            .map_err(|error| anyhow::Error::new(error).context("could not write JSON"))?;
        if let (false, Some(fields)) = (self.args, value.as_object_mut()) {
            fields.remove("args");
        }
        Ok(value)
    }

    fn text(&self, job: &RecurringJobDetails) -> String {
        let mut text = facts(job);
        if self.args {
            let args = serde_json::to_string_pretty(&job.args).unwrap_or_default();
            add(&mut text, "arguments", &lines(&args));
        } else {
            add(&mut text, "arguments", "not shown; add --args");
        }
        if job.paused_at.is_none() && !job.upcoming.is_empty() {
            let times = job.upcoming.iter();
            list(
                &mut text,
                "next due times",
                times.map(|time| absolute_coming(*time)),
            );
        }
        if !job.firings.is_empty() {
            let firings = job.firings.iter().map(firing_text);
            list(&mut text, "last firings", firings);
        }
        text
    }
}

fn list(text: &mut String, title: &str, entries: impl Iterator<Item = String>) {
    text.extend(["\n", title, "\n"]);
    for entry in entries {
        text.extend(["  ", &one_line(&entry), "\n"]);
    }
}

fn add(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name:<10} {value}");
}

fn facts(job: &RecurringJobDetails) -> String {
    let mut text = String::new();
    let mut fact = |name, value: String| add(&mut text, name, &one_line(&value));
    let words = job.words.as_deref();
    let (queue, priority) = (&job.queue, job.priority);
    let (attempts, crashes) = (job.attempts_max, job.crashes_max);
    fact("name", job.name.clone());
    fact(
        "schedule",
        words.unwrap_or("not readable by this program").to_owned(),
    );
    fact("written", format!("{}, zone {}", job.schedule, job.zone));
    fact("kind", job.kind.clone());
    fact("queue", format!("{queue}, priority {priority}"));
    fact("attempts", format!("{attempts}, crashes {crashes}"));
    fact(
        "missed",
        format!("{}, up to {}", job.missed, job.missed_max),
    );
    fact("overlap", job.overlap.clone());
    if job.jitter_seconds > 0.0 {
        let jitter = spell_duration(job.jitter_seconds);
        fact("jitter", format!("up to {jitter}"));
    }
    if !job.tags.is_empty() {
        fact("tags", job.tags.join(", "));
    }
    let declared = job.source.as_ref().map_or_else(
        || "nowhere; added at run time".to_owned(),
        |source| format!("by {source}, in its code or its queue.toml"),
    );
    fact("declared", declared);
    fact("added", absolute(job.created_at));
    fact("changed", absolute(job.updated_at));
    if let Some(paused_at) = job.paused_at {
        fact("paused", absolute(paused_at));
    }
    text
}

fn firing_text(firing: &FiringDetails) -> String {
    let when = match (firing.since, firing.due_at) {
        (Some(since), Some(due_at)) => format!("{} until {}", absolute(since), absolute(due_at)),
        (None, Some(due_at)) => absolute(due_at),
        (_, None) => format!("by hand, {}", relative(firing.fired_at)),
    };
    let job = firing.job_id.map(|id| format!(" as job {id}"));
    let reason = firing.reason.as_ref().map(|reason| format!(": {reason}"));
    let (job, reason) = (job.unwrap_or_default(), reason.unwrap_or_default());
    format!("{when}: {}{job}{reason}", firing.outcome)
}
