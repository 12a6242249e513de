//! `queue recurring show`

use std::fmt::Write as _;

use clap::Args;
use queue_core::inspect::{FiringDetails, ScheduleDetails, recurring, spell_duration};
use queue_core::recurring::RecurringError;

use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{absolute, absolute_coming, lines, one_line, print, print_json, relative};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The schedule
    name: String,
    /// Shows the arguments of its jobs too; they may hold data of people
    #[arg(long)]
    args: bool,
    /// How many of its last firings
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(0..=10_000))]
    firings: u32,
}

impl Show {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let found = recurring::show(&mut conn, &database.schema, &self.name, self.firings).await?;
        let Some(schedule) = found else {
            return Err(RecurringError::Unknown(self.name).into());
        };
        if global.json {
            print_json(&self.json(&schedule)?)?;
        } else {
            print(self.text(&schedule))?;
        }
        Ok(Exit::Fine)
    }

    fn json(&self, schedule: &ScheduleDetails) -> Result<serde_json::Value, Failure> {
        let mut value = serde_json::to_value(schedule)
            .map_err(|error| anyhow::Error::new(error).context("could not write JSON"))?;
        if let (false, Some(fields)) = (self.args, value.as_object_mut()) {
            fields.remove("args");
        }
        Ok(value)
    }

    fn text(&self, schedule: &ScheduleDetails) -> String {
        let mut text = String::new();
        for (name, value) in facts(schedule) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10} {}", one_line(&value));
        }
        if self.args {
            let args = serde_json::to_string_pretty(&schedule.args).unwrap_or_default();
            let _ = writeln!(text, "{:<10} {}", "arguments", lines(&args));
        } else {
            let _ = writeln!(text, "{:<10} not shown; add --args", "arguments");
        }
        if schedule.paused_at.is_none() && !schedule.upcoming.is_empty() {
            text.push_str("\nnext times\n");
            for time in &schedule.upcoming {
                let _ = writeln!(text, "  {}", absolute_coming(*time));
            }
        }
        if !schedule.firings.is_empty() {
            text.push_str("\nlast firings\n");
            for firing in &schedule.firings {
                let _ = writeln!(text, "  {}", one_line(&firing_text(firing)));
            }
        }
        text
    }
}

fn facts(schedule: &ScheduleDetails) -> Vec<(&'static str, String)> {
    let not_understood = || "not understood by this program".to_owned();
    let mut facts = vec![
        ("schedule", schedule.name.clone()),
        (
            "times",
            schedule.words.clone().unwrap_or_else(not_understood),
        ),
        (
            "written",
            format!("{}, zone {}", schedule.schedule, schedule.zone),
        ),
        ("kind", schedule.kind.clone()),
        (
            "queue",
            format!("{}, priority {}", schedule.queue, schedule.priority),
        ),
        (
            "attempts",
            format!(
                "{}, crashes {}",
                schedule.attempts_max, schedule.crashes_max
            ),
        ),
        (
            "missed",
            format!("{}, up to {}", schedule.missed, schedule.missed_max),
        ),
        ("overlap", schedule.overlap.clone()),
    ];
    if schedule.jitter_seconds > 0.0 {
        let jitter = spell_duration(schedule.jitter_seconds);
        facts.push(("jitter", format!("up to {jitter}")));
    }
    if !schedule.tags.is_empty() {
        facts.push(("tags", schedule.tags.join(", ")));
    }
    facts.push((
        "declared",
        match &schedule.source {
            Some(source) => format!("by {source}, in its code or its queue.toml"),
            None => "nowhere: it was added at run time".to_owned(),
        },
    ));
    facts.push(("added", absolute(schedule.created_at)));
    facts.push(("changed", absolute(schedule.updated_at)));
    facts.extend(schedule.paused_at.map(|at| ("paused", absolute(at))));
    facts
}

fn firing_text(firing: &FiringDetails) -> String {
    let when = match (firing.since, firing.due_at) {
        (Some(since), Some(due_at)) => format!("{} until {}", absolute(since), absolute(due_at)),
        (None, Some(due_at)) => absolute(due_at),
        (_, None) => format!("by hand, {}", relative(firing.fired_at)),
    };
    let job = firing.job_id.map(|id| format!(" as job {id}"));
    let reason = firing.reason.as_ref().map(|reason| format!(": {reason}"));
    format!(
        "{when}: {}{}{}",
        firing.outcome,
        job.unwrap_or_default(),
        reason.unwrap_or_default()
    )
}
