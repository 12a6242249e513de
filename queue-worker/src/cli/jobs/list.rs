//! `queue jobs list`

use clap::Args;
use queue_core::inspect::{JobSummary, jobs};
use queue_core::{JobId, JobState};

use crate::cli::filter::{FilterArgs, job_id};
use crate::cli::output::{Rows, relative, say};
use crate::cli::{Database, Exit, Failure, Global};

const LIMIT: u32 = 50;

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: FilterArgs,
    /// The maximum number of jobs
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = LIMIT,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Only jobs older than this one, such as the last one of the previous page
    #[arg(long, value_name = "ID", value_parser = job_id)]
    below: Option<JobId>,
}

impl List {
    pub(super) fn says_nothing(&self) -> bool {
        self.filter.is_empty() && self.below.is_none() && self.limit == LIMIT
    }

    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let filter = self.filter.filter()?;
        let (mut conn, schema) = Database::open(global).await?;
        let found = jobs::list(&mut conn, &schema, &filter, self.below, self.limit).await?;
        let empty = match self.says_nothing() {
            true => "there are no jobs yet: `queue enqueue KIND` adds one",
            false => "no job matches",
        };
        global.print_list(&found, empty, table)?;
        if let (false, Some(last)) = (global.json, found.last())
            && found.len() == self.limit as usize
        {
            say(format!("there may be more: add --below {}", last.id));
        }
        Ok(Exit::Fine)
    }
}

/// Leaves out the columns of tags and errors if there are none. Never shows arguments, which may
/// be personal data.
fn table(jobs: &[JobSummary]) -> Rows {
    let any_tags = jobs.iter().any(|job| !job.tags.is_empty());
    let any_errors = jobs.iter().any(|job| job.error.is_some());
    let mut titles = vec![
        "#ID", "KIND", "QUEUE", "STATE", "SINCE", "#ATTEMPT", "ENQUEUED",
    ];
    titles.extend(any_tags.then_some("TAGS"));
    titles.extend(any_errors.then_some("LAST ERROR"));
    Rows::of(&titles, jobs, |job| {
        let mut cells = vec![
            job.id.to_string(),
            job.kind.clone(),
            job.queue.clone(),
            state(job).to_owned(),
            relative(job.at),
            format!("{}/{}", job.attempt, job.attempts_max),
            relative(job.enqueued_at),
        ];
        cells.extend(any_tags.then(|| job.tags.join(",")));
        cells.extend(any_errors.then(|| job.error.clone().unwrap_or_default()));
        cells
    })
}

/// Returns the state of a job; for a finished one, its outcome.
fn state(job: &JobSummary) -> &str {
    match (job.state, &job.outcome) {
        (JobState::Finished, Some(outcome)) => outcome,
        (state, _) => state.as_str(),
    }
}
