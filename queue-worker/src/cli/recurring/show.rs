//! `queue recurring show`

use clap::Args;
use queue_core::inspect::{FiringDetails, RecurringJobDetails, recurring, spell_duration};
use queue_core::recurring::RecurringError;

use crate::cli::ids::of_shard;
use crate::cli::output::{
    ARGS_HIDDEN, Fact, absolute, absolute_coming, facts_text, lines, one_line, pretty, relative,
};
use crate::cli::{Database, Exit, Failure, Global};

#[derive(Clone, Debug, Args)]
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
        let config = global.load()?;
        let (mut conn, schema) = Database::open(&config).await?;
        let found = recurring::show(&mut conn, &schema, &self.name, self.firings).await?;
        let mut job = found.ok_or(RecurringError::Unknown(self.name))?;
        job.args = config
            .settings
            .redact
            .redaction()
            .args(&job.kind, &job.args);
        global.print_details(&job, self.args, text)
    }
}

fn text(job: &RecurringJobDetails, with_args: bool) -> String {
    let mut text = facts_text(&facts(job));
    if with_args {
        text.extend(["arguments  ", &lines(&pretty(&job.args)), "\n"]);
    } else {
        text.push_str(ARGS_HIDDEN);
    }
    if job.paused_at.is_none() && !job.upcoming.is_empty() {
        let times = job.upcoming.iter().copied();
        list(&mut text, "next due times", times.map(absolute_coming));
    }
    if !job.firings.is_empty() {
        let firings = job.firings.iter().map(firing_text);
        list(&mut text, "last firings", firings);
    }
    text
}

fn list(text: &mut String, title: &str, entries: impl Iterator<Item = String>) {
    text.extend(["\n", title, "\n"]);
    for entry in entries {
        text.extend(["  ", &one_line(&entry), "\n"]);
    }
}

fn facts(job: &RecurringJobDetails) -> Vec<Fact> {
    let words = job.words.as_deref();
    let words = words.unwrap_or("not readable by this program").to_owned();
    let declared = match &job.source {
        Some(source) => format!("by {source}, in its code or its queue.toml"),
        None => "nowhere; added at run time".to_owned(),
    };
    let (attempts, crashes) = (job.attempts_max, job.crashes_max);
    let mut facts = vec![
        ("name", job.name.clone()),
        ("schedule", words),
        ("written", format!("{}, zone {}", job.schedule, job.zone)),
        ("kind", job.kind.clone()),
        ("queue", format!("{}, priority {}", job.queue, job.priority)),
        ("attempts", format!("{attempts}, crashes {crashes}")),
        (
            "missed",
            format!("{}, up to {}", job.missed, job.missed_max),
        ),
        ("overlap", job.overlap.clone()),
    ];
    if job.jitter_seconds > 0.0 {
        let jitter = spell_duration(job.jitter_seconds);
        facts.push(("jitter", format!("up to {jitter}")));
    }
    if !job.tags.is_empty() {
        facts.push(("tags", job.tags.join(", ")));
    }
    facts.extend([
        ("declared", declared),
        ("added", absolute(job.created_at)),
        ("changed", absolute(job.updated_at)),
    ]);
    facts.extend(job.paused_at.map(|at| ("paused", absolute(at))));
    facts
}

fn firing_text(firing: &FiringDetails) -> String {
    let when = match (firing.since, firing.due_at) {
        (Some(since), Some(due_at)) => format!("{} until {}", absolute(since), absolute(due_at)),
        (None, Some(due_at)) => absolute(due_at),
        (_, None) => format!("by hand, {}", relative(firing.fired_at)),
    };
    let job = firing.job_id.map(|id| format!(" as job {}", of_shard(id)));
    let reason = firing.reason.as_ref().map(|reason| format!(": {reason}"));
    let (job, reason) = (job.unwrap_or_default(), reason.unwrap_or_default());
    format!("{when}: {}{job}{reason}", firing.outcome)
}
