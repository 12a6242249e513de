//! `queue recurring list`

use queue_core::inspect::{RecurringJobSummary, recurring};

use crate::cli::output::{coming, relative, since};
use crate::cli::{Database, Exit, Failure, Global};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let (mut conn, schema) = Database::open(&global.load()?).await?;
    let recurring_jobs = recurring::list(&mut conn, &schema).await?;
    global.print_list(
        &recurring_jobs,
        "there are no recurring jobs: declare some in queue.toml, or add one with \
         `queue recurring add`",
        &[
            ("NAME", &|job| job.name.clone()),
            ("KIND", &|job| job.kind.clone()),
            ("NEXT", &next),
            ("LAST", &last),
            ("PAUSED", &|job| since(job.paused_at)),
            ("SCHEDULE", &schedule),
        ],
    )
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
