//! `queue jobs list`

use clap::Args;
use queue_core::inspect::{JobSummary, jobs};
use queue_core::{JobId, JobState};

use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::filter::{FilterArgs, job_id};
use crate::cli::global::Global;
use crate::cli::output::{Rows, print_json, relative, say};

const LIMIT: u32 = 50;

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: FilterArgs,
    /// How many at most
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = LIMIT,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Only those older than this job: the last one of the page before
    #[arg(long, value_name = "ID", value_parser = job_id)]
    below: Option<JobId>,
}

impl List {
    pub(super) fn says_nothing(&self) -> bool {
        self.filter.is_empty() && self.below.is_none() && self.limit == LIMIT
    }

    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let filter = self.filter.filter()?;
        let database = Database::of(global)?;
        let mut conn = database.connect().await?;
        let found =
            jobs::list(&mut conn, &database.schema, &filter, self.below, self.limit).await?;
        if global.json {
            print_json(&found)?;
        } else if found.is_empty() {
            say(match self.says_nothing() {
                true => "there are no jobs yet: `queue enqueue KIND` adds one",
                false => "no job matches",
            });
        } else {
            table(&found)?;
            self.point_to_more(&found);
        }
        Ok(Exit::Fine)
    }

    fn point_to_more(&self, found: &[JobSummary]) {
        if let Some(last) = found.last()
            && found.len() == self.limit as usize
        {
            say(format!("there may be more: add --below {}", last.id));
        }
    }
}

/// Shows tags and errors only where there are some; arguments never: they may hold data of
/// people.
fn table(jobs: &[JobSummary]) -> Result<(), Failure> {
    let any_tags = jobs.iter().any(|job| !job.tags.is_empty());
    let any_errors = jobs.iter().any(|job| job.error.is_some());
    let mut titles = vec![
        "#ID", "KIND", "QUEUE", "STATE", "SINCE", "#ATTEMPT", "ENQUEUED",
    ];
    titles.extend(any_tags.then_some("TAGS"));
    titles.extend(any_errors.then_some("LAST ERROR"));
    let mut rows = Rows::new(&titles);
    for job in jobs {
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
        rows.add(cells);
    }
    rows.print()
}

/// Of a finished job people want to know how.
fn state(job: &JobSummary) -> &str {
    match (job.state, &job.outcome) {
        (JobState::Finished, Some(outcome)) => outcome,
        (state, _) => state.as_str(),
    }
}
