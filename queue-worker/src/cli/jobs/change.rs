//! `queue jobs retry`, `discard`, `cancel`, `run`, `reschedule` and `priority`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use queue_core::inspect::{Count, JobFilter};
use queue_core::operations::audit::Act;
use queue_core::operations::jobs::{Changes, JobAction, change, change_batch, count, time_in};
use queue_core::{JobId, Schema};
use sqlx::PgConnection;

use super::report::{Report, hint};
use crate::cli::args::time;
use crate::cli::audit::{act, audit, with_jobs};
use crate::cli::confirm::confirm;
use crate::cli::filter::FilterArgs;
use crate::cli::ids::{WrittenId, here, job_id};
use crate::cli::output::{count_of_jobs, say};
use crate::cli::{Database, Exit, Failure, Global, progress};

/// The most characters of ids in the audit.
const TARGET_MAX: usize = 200;

pub(super) const RETRY_HELP: &str = "\
Without --state, a filter selects failed jobs. They get all their attempts again. With
`--state scheduled`, jobs that wait for another attempt become ready now; jobs that wait for their
first attempt are not changed.";

pub(super) const DISCARD_HELP: &str = "\
Without --state, a filter selects scheduled, ready, blocked and failed jobs. A discarded job is
finished, and kept as long as other finished jobs. Running jobs cannot be discarded: cancel them.";

pub(super) const CANCEL_HELP: &str = "\
Without --state, a filter selects scheduled, ready, blocked and running jobs. A waiting job is
finished at once. A running job is asked to stop: it becomes cancelled when it stops, or done if it
succeeds first. Failed jobs cannot be cancelled: discard them.";

pub(super) const RUN_HELP: &str = "\
A filter selects blocked jobs. They become ready despite their limits, and hold no slot while they
run. `queue jobs show` shows this. Their limits apply again to a further attempt.";

pub(super) const RESCHEDULE_HELP: &str = "\
Examples:
  queue jobs reschedule 4711 --in 2h
  queue jobs reschedule --kind report --at 2030-01-31T09:00:00+01:00
  queue jobs reschedule 4711 --in 0s     makes a scheduled job ready now

Without --state, a filter selects scheduled jobs. Ready and blocked jobs can be rescheduled too, but not
those that wait for other jobs.";

pub(super) const PRIORITY_HELP: &str = "\
Examples:
  queue jobs priority 4711 --to -10
  queue jobs priority --queue mail --kind digest --to 5

A smaller priority runs sooner. Without --state, a filter selects scheduled, ready and blocked jobs. The
priority is kept for further attempts. A ready job is then behind the others of its new priority.";

/// When to run jobs, and which.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Reschedule {
    /// The time from which they may start, such as `2030-01-31T09:00:00+01:00`
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "in")]
    at: Option<DateTime<Utc>>,
    /// How long they wait from now on, such as `90s` or `2h`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration,
        conflicts_with = "at")]
    r#in: Option<Duration>,
    #[command(flatten)]
    which: Which,
}

/// The priority of jobs, and which.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Priority {
    /// The priority: a smaller one runs sooner
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    to: i16,
    #[command(flatten)]
    which: Which,
}

impl Reschedule {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let at = match (self.at, self.r#in) {
            (Some(at), _) => at,
            (None, wait) => {
                let (mut conn, _schema) = Database::open(&global.load()?).await?;
                time_in(&mut conn, wait.unwrap_or_default()).await?
            }
        };
        run(global, JobAction::Reschedule(at), self.which).await
    }
}

impl Priority {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        run(global, JobAction::Prioritize(self.to), self.which).await
    }
}

/// Which jobs to change: ids or a filter.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Which {
    /// The jobs, by id
    #[arg(value_name = "ID", value_parser = job_id,
        conflicts_with_all = ["state", "queue", "kind", "tag", "error", "args_contain", "older_than"])]
    ids: Vec<WrittenId<JobId>>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Skips the confirmation
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(global: &Global, action: JobAction, which: Which) -> Result<Exit, Failure> {
    if which.ids.is_empty() && which.filter.is_empty() {
        return Err(Failure::usage(format!(
            "which jobs? Give their ids, or a filter such as `--state {}` or `--queue NAME`",
            action.default_states()[0]
        )));
    }
    if which.ids.is_empty() {
        return run_matching(global, action, which).await;
    }
    let ids = here(&which.ids)?;
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let changes = change(&mut conn, &schema, action, &ids).await?;
    let done = act(action.to_string(), target(&ids));
    record(&mut conn, &schema, done, &changes).await?;
    let report = Report::of(&changes);
    report.conclude(action, global.json)?;
    Ok(report.exit())
}

async fn run_matching(global: &Global, action: JobAction, which: Which) -> Result<Exit, Failure> {
    let filter = complete(action, which.filter.filter()?)?;
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let count = count(&mut conn, &schema, action, &filter).await?;
    let described = which.filter.describe(&filter.states);
    if count.count == 0 {
        say(format!("there are no jobs{described}"));
        Report::default().conclude(action, global.json)?;
        return Ok(Exit::Fine);
    }
    let question = format!("{} {}{described}", asked(action), count_of_jobs(count));
    if !confirm(&question, which.yes)? {
        return Ok(Exit::Failed);
    }
    let target = format!("jobs{}", which.filter.recorded(&filter.states));
    let begun = act(format!("begin to {action}"), &*target);
    audit(&mut conn, &schema, begun).await?;
    let changes = change_all(&mut conn, &schema, action, &filter, count).await?;
    let done = act(action.to_string(), target);
    record(&mut conn, &schema, done, &changes).await?;
    Report::of(&changes).conclude(action, global.json)?;
    Ok(Exit::Fine)
}

/// Records what was done, if anything was.
async fn record(
    conn: &mut PgConnection,
    schema: &Schema,
    done: Act,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    match changes.changed.len() + changes.asked_to_stop.len() {
        0 => Ok(()),
        jobs => audit(conn, schema, with_jobs(done, jobs)).await,
    }
}

/// Names jobs as the audit does.
fn target(ids: &[JobId]) -> String {
    if let [id] = ids {
        return format!("jobs/{id}");
    }
    let ids: Vec<String> = ids.iter().map(|id| format!("#{id}")).collect();
    format!("jobs {}", ids.join(", "))
        .chars()
        .take(TARGET_MAX)
        .collect()
}

/// Describes the change that is asked for.
fn asked(action: JobAction) -> String {
    match action {
        JobAction::Reschedule(at) => format!("reschedule to {}", at.to_rfc3339()),
        JobAction::Prioritize(priority) => format!("give priority {priority} to"),
        action => action.to_string(),
    }
}

fn complete(action: JobAction, filter: JobFilter) -> Result<JobFilter, Failure> {
    action.complete(filter).map_err(|refused| {
        let instead = hint(action.instead(refused.state));
        Failure::usage(format!("{refused}{instead}"))
    })
}

/// Changes all jobs that match the filter, batch by batch, and shows the progress.
async fn change_all(
    conn: &mut PgConnection,
    schema: &Schema,
    action: JobAction,
    filter: &JobFilter,
    count: Count,
) -> Result<Changes, Failure> {
    let bar = progress::bar(count.count);
    let mut all = Changes::default();
    let mut below = None;
    loop {
        let batch = change_batch(conn, schema, action, filter, below).await?;
        bar.inc(batch.changes.jobs() as u64);
        all.extend(batch.changes);
        below = batch.next;
        if below.is_none() {
            bar.finish_and_clear();
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use queue_core::JobState;

    use super::*;

    #[test]
    fn a_filter_by_a_state_that_the_action_does_not_apply_to_is_rejected() {
        let running = || JobFilter {
            states: vec![JobState::Claimed],
            ..JobFilter::default()
        };
        assert!(complete(JobAction::Discard, running()).is_err());
        assert!(complete(JobAction::Cancel, running()).is_ok());
        let none = complete(JobAction::Retry, JobFilter::default());
        assert!(none.is_ok_and(|filter| filter.states == [JobState::Failed]));
    }
}
