//! `queue jobs list`

use clap::Args;
use queue_core::inspect::{JobSummary, jobs};
use queue_core::{JobId, JobState};

use crate::cli::filter::FilterArgs;
use crate::cli::global::Newest;
use crate::cli::here::are_several;
use crate::cli::ids::{WrittenId, job_id};
use crate::cli::output::{Column, relative, say};
use crate::cli::{Database, Exit, Failure, Global};

const LIMIT: u32 = 50;
/// How many characters of arguments are shown.
const ARGS_MAX: usize = 60;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    filter: FilterArgs,
    /// The maximum number of jobs
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = LIMIT,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Only jobs older than this one, such as the last one of the previous page
    #[arg(long, value_name = "ID", value_parser = job_id)]
    below: Option<WrittenId<JobId>>,
    /// Shows the beginning of their arguments, which may be personal data
    #[arg(long)]
    args: bool,
}

/// The list without any flags.
pub(super) const NEWEST: List = List {
    filter: FilterArgs::NONE,
    limit: LIMIT,
    below: None,
    args: false,
};

impl List {
    pub(super) fn says_nothing(&self) -> bool {
        self.filter.is_empty() && self.below.is_none() && self.limit == LIMIT && !self.args
    }

    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let filter = self.filter.filter()?;
        let below = self.below.as_ref().map(WrittenId::here).transpose()?;
        let config = global.load()?;
        let (mut conn, schema) = Database::open(&config).await?;
        let mut found = match self.args {
            true => jobs::list_with_args(&mut conn, &schema, &filter, below, self.limit).await,
            false => jobs::list(&mut conn, &schema, &filter, below, self.limit).await,
        }?;
        let redaction = config.settings.redact.redaction();
        found.iter_mut().for_each(|job| job.redact(&redaction));
        let empty = match self.says_nothing() {
            true => "there are no jobs yet: `queue enqueue KIND` adds one",
            false => "no job matches",
        };
        let newest = Newest {
            at: |job: &JobSummary| job.enqueued_at,
            most: self.limit,
        };
        global.print_newest(&found, empty, &columns(&found), Some(newest))?;
        if let (false, false, Some(last)) = (global.json, are_several(), found.last())
            && found.len() == self.limit as usize
        {
            say(format!("there may be more: add --below {}", last.id));
        }
        Ok(Exit::Fine)
    }
}

/// Leaves out the columns of tags, errors and arguments if there are none. The last ones are the first to go
/// on a narrow terminal, except the very last one.
fn columns(jobs: &[JobSummary]) -> Vec<Column<'static, JobSummary>> {
    let mut columns: Vec<Column<'_, JobSummary>> = vec![
        ("#ID", &|job| job.id.to_string()),
        ("KIND", &|job| job.kind.clone()),
        ("STATE", &|job| state(job).to_owned()),
        ("SINCE", &|job| relative(job.at)),
        ("QUEUE", &|job| job.queue.clone()),
        ("#ATTEMPT", &|job| job.attempt.to_string()),
        ("#FAILURES", &failures),
        ("ENQUEUED", &|job| relative(job.enqueued_at)),
    ];
    if jobs.iter().any(|job| !job.tags.is_empty()) {
        columns.push(("TAGS", &|job| job.tags.join(",")));
    }
    if jobs.iter().any(|job| job.error.is_some()) {
        columns.push(("LAST ERROR", &|job| job.error.clone().unwrap_or_default()));
    }
    if jobs.iter().any(|job| job.args.is_some()) {
        columns.push(("ARGS", &args));
    }
    columns
}

/// Returns the state of a job; for a finished one, its outcome.
fn state(job: &JobSummary) -> &str {
    match (job.state, &job.outcome) {
        (JobState::Finished, Some(outcome)) => outcome,
        (state, _) => state.as_str(),
    }
}

/// Writes how many runs have ended in an error, and how many may. A retry by hand sets the former to zero.
fn failures(job: &JobSummary) -> String {
    match job.failures {
        Some(failures) => format!("{failures}/{}", job.attempts_max),
        None => "-".to_owned(),
    }
}

/// Returns the beginning of the arguments.
fn args(job: &JobSummary) -> String {
    let args = job.args.as_ref().map_or("", |args| args.get());
    match args.char_indices().nth(ARGS_MAX) {
        Some((end, _)) => format!("{}…", &args[..end]),
        None => args.to_owned(),
    }
}
