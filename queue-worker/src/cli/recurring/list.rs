//! `queue recurring list`

use queue_core::inspect::{RecurringJobSummary, recurring};

use crate::cli::output::{Rows, coming, relative};
use crate::cli::{Database, Exit, Failure, Global};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(global).await?;
    let recurring_jobs = recurring::list(&mut conn, &schema).await?;
    let empty = "there are no recurring jobs: declare some in queue.toml, or add one with \
                 `queue recurring add`";
    global.print_list(&recurring_jobs, empty, table)
}

fn table(recurring_jobs: &[RecurringJobSummary]) -> Rows {
    let titles = ["NAME", "KIND", "NEXT", "LAST", "PAUSED", "SCHEDULE"];
    Rows::of(&titles, recurring_jobs, |job| {
        vec![
            job.name.clone(),
            job.kind.clone(),
            next(job),
            last(job),
            job.paused_at.map_or(String::new(), relative),
            schedule(job),
        ]
    })
}

fn next(job: &RecurringJobSummary) -> String {
    match (job.paused_at, job.next_at) {
        (None, Some(next_at)) => coming(next_at),
        _ => "-".to_owned(),
    }
}

fn last(job: &RecurringJobSummary) -> String {
    match (job.last_due_at, &job.last_outcome) {
        (Some(due_at), Some(outcome)) => format!("{outcome} {}", relative(due_at)),
        _ => "-".to_owned(),
    }
}

fn schedule(job: &RecurringJobSummary) -> String {
    match &job.words {
        Some(words) => words.clone(),
        None => format!("{} (not readable by this program)", job.schedule),
    }
}
