//! `queue jobs retry`, `discard`, `cancel` and `run`.

use clap::Args;
use queue_core::inspect::{Count, JobFilter};
use queue_core::operations::jobs::{Changes, JobAction, change, change_batch, count};
use queue_core::{JobId, Schema};
use sqlx::PgConnection;

use super::report::{Report, hint};
use crate::cli::confirm::confirm;
use crate::cli::filter::{FilterArgs, job_id};
use crate::cli::output::{count_of_jobs, say};
use crate::cli::{Database, Exit, Failure, Global, progress};

pub(super) const RETRY_HELP: &str = "\
Without --state, a filter means failed jobs. They get all their attempts again. With
`--state scheduled`, jobs that wait for another attempt run now; those that wait for their first
are left alone.";

pub(super) const DISCARD_HELP: &str = "\
Without --state, a filter means scheduled, ready, blocked and failed jobs. A discarded job is
finished; it is kept for a while, like all finished ones. Running jobs are not discarded but
cancelled.";

pub(super) const CANCEL_HELP: &str = "\
Without --state, a filter means scheduled, ready, blocked and running jobs. Those that wait are
finished at once. A running one is asked to stop, and cancelled when it does; one that ends well all the same
is done. Failed jobs are not cancelled but discarded.";

pub(super) const RUN_HELP: &str = "\
A filter means blocked jobs. They become ready and run as soon as a worker is free, without regard to
their limits: others may run beside them, and they hold no slot. That they were let run is kept, and
`queue jobs show` tells it. If one is tried again, its limits count again.";

/// Which jobs to change: ids or a filter.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The jobs, by id
    #[arg(value_name = "ID", value_parser = job_id,
        conflicts_with_all = ["state", "queue", "kind", "tag", "older_than"])]
    ids: Vec<JobId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Does not ask before many jobs are changed
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(global: &Global, action: JobAction, which: Which) -> Result<Exit, Failure> {
    if which.ids.is_empty() && which.filter.is_empty() {
        return Err(Failure::usage(format!(
            "which jobs? Name their ids, or a filter such as `--state {}` or `--queue NAME`",
            action.default_states()[0]
        )));
    }
    if which.ids.is_empty() {
        return run_matching(global, action, which).await;
    }
    let (mut conn, schema) = Database::open(global).await?;
    let report = Report::of(&change(&mut conn, &schema, action, &which.ids).await?);
    report.conclude(action, global.json)?;
    Ok(report.exit())
}

async fn run_matching(global: &Global, action: JobAction, which: Which) -> Result<Exit, Failure> {
    let filter = complete(action, which.filter.filter()?)?;
    let (mut conn, schema) = Database::open(global).await?;
    let count = count(&mut conn, &schema, action, &filter).await?;
    let described = which.filter.describe(&filter.states);
    if count.count == 0 {
        say(format!("there are no jobs{described}"));
        Report::default().conclude(action, global.json)?;
        return Ok(Exit::Fine);
    }
    let question = format!("{action} {}{described}", count_of_jobs(count));
    if !confirm(&question, which.yes)? {
        return Ok(Exit::Failed);
    }
    let changes = change_all(&mut conn, &schema, action, &filter, count).await?;
    Report::of(&changes).conclude(action, global.json)?;
    Ok(Exit::Fine)
}

fn complete(action: JobAction, filter: JobFilter) -> Result<JobFilter, Failure> {
    action.complete(filter).map_err(|refused| {
        let instead = hint(action.instead(refused.state));
        Failure::usage(format!("{refused}{instead}"))
    })
}

/// Changes batch after batch of what the filter finds, and shows how far it has come.
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
    fn a_filter_by_a_state_that_the_action_does_not_apply_to_is_refused() {
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
