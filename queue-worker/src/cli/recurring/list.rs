//! `queue recurring list`

use queue_core::inspect::{RecurringJobSummary, recurring};

use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::output::{Rows, coming, print_json, relative, say};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let recurring_jobs = recurring::list(&mut conn, &database.schema).await?;
    if global.json {
        print_json(&recurring_jobs)?;
    } else if recurring_jobs.is_empty() {
        say(
            "there are no recurring jobs: declare some in queue.toml, or add one with \
             `queue recurring add`",
        );
    } else {
        table(&recurring_jobs)?;
    }
    Ok(Exit::Fine)
}

fn table(recurring_jobs: &[RecurringJobSummary]) -> Result<(), Failure> {
    let mut rows = Rows::new(&["NAME", "KIND", "NEXT", "LAST", "PAUSED", "SCHEDULE"]);
    for job in recurring_jobs {
        rows.add([
            job.name.clone(),
            job.kind.clone(),
            next(job),
            last(job),
            job.paused_at.map_or(String::new(), relative),
            schedule(job),
        ]);
    }
    rows.print()
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
