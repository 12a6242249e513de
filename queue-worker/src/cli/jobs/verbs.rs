//! `queue jobs retry`, `discard`, `cancel` and `run`: which jobs each applies to, and how.

use clap::Args;
use queue_core::inspect::{COUNT_MAX, JobFilter, JobSummary, jobs};
use queue_core::transitions::cancel::{cancel, cancel_waiting};
use queue_core::transitions::retry_now::retry_now;
use queue_core::transitions::unblock::run_anyway;
use queue_core::{JobId, JobState, Outcome, Schema};
use sqlx::PgConnection;

use super::bulk;
use crate::cli::confirm::confirm;
use crate::cli::database::Database;
use crate::cli::exit::{Exit, Failure};
use crate::cli::filter::{FilterArgs, job_id};
use crate::cli::global::Global;
use crate::cli::output::{count_of_jobs, say};

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

#[derive(Debug, Args)]
#[command(after_help = "\
Without --state, a filter means failed jobs. They get all their attempts again. With
`--state scheduled`, jobs that wait for another attempt run now; those that wait for their first
are left alone.")]
pub(super) struct Retry {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --state, a filter means scheduled, ready, blocked and failed jobs. A discarded job is
finished; it is kept for a while, like all finished ones. Running jobs are not discarded but
cancelled.")]
pub(super) struct Discard {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --state, a filter means scheduled, ready, blocked and running jobs. Those that wait are
finished at once. A running one is asked to stop, and cancelled when it does; one that ends well all the same
is done. Failed jobs are not cancelled but discarded.")]
pub(super) struct Cancel {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A filter means blocked jobs. They become ready and run as soon as a worker is free, without regard to
their limits: others may run beside them, and they hold no slot. That they were let run is kept, and
`queue jobs show` tells it. If one is tried again, its limits count again.")]
pub(super) struct Run {
    #[command(flatten)]
    which: Which,
}

impl Retry {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        change(global, Verb::Retry, self.which).await
    }
}

impl Discard {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        change(global, Verb::Discard, self.which).await
    }
}

impl Cancel {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        change(global, Verb::Cancel, self.which).await
    }
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        change(global, Verb::Run, self.which).await
    }
}

async fn change(global: &Global, verb: Verb, which: Which) -> Result<Exit, Failure> {
    if which.ids.is_empty() && which.filter.is_empty() {
        return Err(Failure::usage(format!(
            "which jobs? Name their ids, or a filter such as `--state {}` or `--queue NAME`",
            verb.default_states()[0]
        )));
    }
    if which.ids.is_empty() {
        return change_matching(global, verb, which).await;
    }
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let report = bulk::change_named(&mut conn, &database.schema, verb, &which.ids).await?;
    report.conclude(verb, global.json)?;
    Ok(report.exit())
}

async fn change_matching(global: &Global, verb: Verb, which: Which) -> Result<Exit, Failure> {
    let filter = verb.filter(&which.filter)?;
    let database = Database::of(global)?;
    let mut conn = database.connect().await?;
    let count = jobs::count(&mut conn, &database.schema, &filter, COUNT_MAX).await?;
    let described = which.filter.describe(&filter.states);
    if count.count == 0 {
        say(format!("there are no jobs{described}"));
        bulk::Report::default().conclude(verb, global.json)?;
        return Ok(Exit::Fine);
    }
    let question = format!("{} {}{described}", verb.name(), count_of_jobs(count));
    if !confirm(&question, which.yes)? {
        return Ok(Exit::Failed);
    }
    let report = bulk::change_matching(&mut conn, &database.schema, verb, &filter, count).await?;
    report.conclude(verb, global.json)?;
    Ok(Exit::Fine)
}

/// What is done to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Retry,
    Discard,
    Cancel,
    Run,
}

/// The jobs that a verb has reached.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) changed: Vec<JobId>,
    pub(super) asked_to_stop: Vec<JobId>,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
            Self::Cancel => "cancel",
            Self::Run => "run",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Discard => "discarded",
            Self::Cancel => "cancelled",
            Self::Run => "run anyway",
        }
    }

    /// Says what was done to jobs: `retried 2 jobs`.
    pub(super) fn done(self, jobs: &str) -> String {
        match self {
            Self::Run => format!("let {jobs} run in spite of limits"),
            verb => format!("{} {jobs}", verb.past()),
        }
    }

    /// The states a verb applies to.
    fn states(self) -> &'static [JobState] {
        use JobState::{Blocked, Claimed, Failed, Ready, Scheduled};
        match self {
            Self::Retry => &[Failed, Scheduled],
            Self::Discard => &[Scheduled, Ready, Blocked, Failed],
            Self::Cancel => &[Scheduled, Ready, Blocked, Claimed],
            Self::Run => &[Blocked],
        }
    }

    /// The states that a filter means which names none.
    fn default_states(self) -> &'static [JobState] {
        match self {
            Self::Retry => &[JobState::Failed],
            Self::Discard | Self::Cancel | Self::Run => self.states(),
        }
    }

    fn filter(self, args: &FilterArgs) -> Result<JobFilter, Failure> {
        let mut filter = args.filter()?;
        if let Some(state) = filter
            .states
            .iter()
            .find(|state| !self.states().contains(state))
        {
            return Err(Failure::usage(format!(
                "{state} jobs cannot be {}{}",
                self.past(),
                self.instead(*state)
            )));
        }
        if filter.states.is_empty() {
            filter.states = self.default_states().to_vec();
        }
        Ok(filter)
    }

    /// Tells whether a job, as it stands, can be changed so.
    pub(super) fn applies_to(self, job: &JobSummary) -> bool {
        let waits_for_its_first = job.state == JobState::Scheduled && job.attempt == 0;
        self.states().contains(&job.state) && !(self == Self::Retry && waits_for_its_first)
    }

    /// Says why a job was not changed: what it is now, or what must have stood in the way.
    pub(super) fn refusal(self, job: &JobSummary) -> String {
        let state = match (&job.outcome, job.state) {
            (Some(outcome), _) => format!("it is finished ({outcome})"),
            (None, state) => format!("it is {state}"),
        };
        match (self, job.state) {
            (Self::Retry, JobState::Scheduled) if job.attempt == 0 => {
                "it is scheduled for its first attempt, which is not a retry".to_owned()
            }
            (Self::Retry, JobState::Ready) => {
                "it is ready already, and runs as soon as a worker is free".to_owned()
            }
            (Self::Run, JobState::Ready) => {
                "it is ready: whether it has room is decided when a worker is free".to_owned()
            }
            (Self::Retry, JobState::Failed) => {
                "another job holds its unique key, or is being changed by somebody else".to_owned()
            }
            (Self::Cancel, JobState::Claimed) => "it was asked to stop before".to_owned(),
            _ if self.applies_to(job) => "somebody else was changing it: try again".to_owned(),
            _ => format!("{state}{}", self.instead(job.state)),
        }
    }

    /// Says what to do instead to jobs of a state that a verb does not apply to.
    fn instead(self, state: JobState) -> &'static str {
        match (self, state) {
            (Self::Retry, JobState::Blocked) => {
                ": use `queue jobs run` to run it in spite of its limit"
            }
            (Self::Discard, JobState::Claimed) => ": use `queue jobs cancel`",
            (Self::Cancel, JobState::Failed) => ": use `queue jobs discard`",
            _ => "",
        }
    }

    /// Changes what can be changed of a batch.
    pub(super) async fn apply(
        self,
        conn: &mut PgConnection,
        schema: &Schema,
        jobs: &[JobId],
    ) -> Result<Applied, sqlx::Error> {
        let mut applied = Applied::default();
        match self {
            Self::Retry => applied.changed = retry_now(conn, schema, jobs).await?,
            Self::Discard => {
                applied.changed = cancel_waiting(conn, schema, jobs, Outcome::Discarded).await?;
            }
            Self::Cancel => {
                let cancelled = cancel(conn, schema, jobs).await?;
                applied.changed = cancelled.ended;
                applied.asked_to_stop = cancelled.asked;
            }
            Self::Run => applied.changed = run_anyway(conn, schema, jobs).await?,
        }
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn job(state: JobState, attempt: i32) -> JobSummary {
        JobSummary {
            id: JobId(1),
            kind: "send".to_owned(),
            queue: "mail".to_owned(),
            state,
            outcome: (state == JobState::Finished).then(|| "done".to_owned()),
            priority: 0,
            attempt,
            attempts_max: 10,
            tags: Vec::new(),
            enqueued_at: Utc::now(),
            at: Utc::now(),
            error: None,
        }
    }

    #[test]
    fn a_first_run_is_not_a_retry() {
        assert!(Verb::Retry.applies_to(&job(JobState::Scheduled, 1)));
        assert!(!Verb::Retry.applies_to(&job(JobState::Scheduled, 0)));
        assert!(Verb::Cancel.applies_to(&job(JobState::Scheduled, 0)));
    }

    #[test]
    fn a_refusal_names_the_verb_that_applies() {
        let refusal = Verb::Discard.refusal(&job(JobState::Claimed, 1));
        assert_eq!(refusal, "it is running: use `queue jobs cancel`");
        let refusal = Verb::Cancel.refusal(&job(JobState::Failed, 1));
        assert_eq!(refusal, "it is failed: use `queue jobs discard`");
        let refusal = Verb::Retry.refusal(&job(JobState::Blocked, 0));
        assert!(refusal.starts_with("it is blocked: use `queue jobs run`"));
        let refusal = Verb::Retry.refusal(&job(JobState::Finished, 1));
        assert_eq!(refusal, "it is finished (done)");
    }

    #[test]
    fn only_blocked_jobs_are_run_anyway() {
        assert!(Verb::Run.applies_to(&job(JobState::Blocked, 0)));
        for state in JobState::ALL
            .into_iter()
            .filter(|state| *state != JobState::Blocked)
        {
            assert!(!Verb::Run.applies_to(&job(state, 1)), "{state}");
        }
        assert_eq!(
            Verb::Run.refusal(&job(JobState::Claimed, 1)),
            "it is running"
        );
    }

    #[test]
    fn a_filter_by_a_state_that_the_verb_does_not_apply_to_is_refused() {
        let running = FilterArgs {
            state: vec![JobState::Claimed],
            ..FilterArgs::default()
        };
        assert!(Verb::Discard.filter(&running).is_err());
        assert!(Verb::Cancel.filter(&running).is_ok());
        let none = Verb::Retry.filter(&FilterArgs::default());
        assert!(none.is_ok_and(|filter| filter.states == [JobState::Failed]));
    }
}
