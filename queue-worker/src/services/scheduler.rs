//! Enqueues recurring jobs when they are due. Any number of schedulers can run at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use queue_core::recurring::{
    Fired, Firing, FiringOutcome, Kinds, RecurringError, RecurringJob, Registered, Tick, declare,
    fire_next, next_due, register, replan,
};
use queue_core::schedule::Tz;
use queue_core::{Schema, redact};
use sqlx::PgConnection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::run_error::with_causes;
use crate::config::SchedulerSettings;
use crate::lookout::Lookout;
use crate::metrics::note_late;
use crate::shared_connection::SharedConnection;
use crate::spans::note_work;

/// The shortest sleep, so that a recurring job that another scheduler has locked is not polled in a
/// tight loop.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// The longest sleep while a due recurring job is locked or has failed: the process that holds the
/// lock may die, and the job should not wait for the next `poll_interval` then.
const LOCKED_SLEEP_MAX: Duration = Duration::from_secs(1);

/// How often the scheduler looks for plans that a wrong clock has moved too far ahead.
const REPLAN_EVERY: Duration = Duration::from_secs(60);

/// The recurring jobs that a process declares. They are registered once, when the database is first
/// reached. They are not registered again after a lost connection, because a newer program may have
/// declared others meanwhile.
pub(crate) struct Declared {
    source: String,
    /// Whether other recurring jobs of the source are removed.
    is_owner: bool,
    recurring_jobs: Vec<RecurringJob>,
    /// Those that are on other shards.
    elsewhere: Vec<RecurringJob>,
    are_registered: AtomicBool,
}

impl Declared {
    /// Takes the source from the settings. Without one, the source is the program's name, which other
    /// programs may share, so recurring jobs that are not declared stay.
    pub(crate) fn new(
        source: Option<String>,
        program: String,
        recurring_jobs: Vec<RecurringJob>,
        elsewhere: Vec<RecurringJob>,
    ) -> Self {
        Self {
            is_owner: source.is_some(),
            source: source.unwrap_or(program),
            recurring_jobs,
            elsewhere,
            are_registered: AtomicBool::new(false),
        }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    async fn register(
        &self,
        conn: &mut PgConnection,
        schema: &Schema,
        zone: Tz,
    ) -> Result<Registered, RecurringError> {
        let (source, declared) = (&self.source, &self.recurring_jobs);
        if self.is_owner {
            register(conn, schema, source, declared, zone).await
        } else {
            declare(conn, schema, source, declared, &self.elsewhere, zone).await
        }
    }
}

pub(crate) struct Scheduler {
    pub(crate) schema: Schema,
    pub(crate) settings: SchedulerSettings,
    pub(crate) declared: Arc<Declared>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) connection: Arc<SharedConnection>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) stopping: CancellationToken,
}

/// Recurring jobs that are still due after each was tried.
#[derive(Default)]
struct StillDue {
    /// The names of recurring jobs that were unreadable, or failed.
    names: Vec<String>,
    has_failed: bool,
}

impl Scheduler {
    /// Registers the declared recurring jobs, and then enqueues recurring jobs until the process
    /// stops. Sleeps until the next one is due, and looks every `poll_interval` whether one was added
    /// or changed meanwhile that is due sooner.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), sqlx::Error> {
        if !self.declared.are_registered.load(Ordering::Acquire) {
            self.register().await?;
            self.declared.are_registered.store(true, Ordering::Release);
        }
        let mut reported = HashSet::new();
        let mut sleep_min = SLEEP_MIN;
        let poll_interval = self.settings.poll_interval;
        let mut replanning = tokio::time::interval(REPLAN_EVERY);
        replanning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stopping.is_cancelled() {
            let began = Instant::now();
            let still_due = self.fire_all(&mut reported).await?;
            let due = self
                .connection
                .run(async |conn| next_due(conn, &self.schema, &self.kinds, &still_due.names).await)
                .await?;
            let interval = match still_due.has_failed {
                true => poll_interval.min(LOCKED_SLEEP_MAX),
                false => poll_interval,
            };
            let wait = due.unwrap_or(Duration::MAX);
            sleep_min = next_sleep_min(sleep_min, wait).min(poll_interval);
            let due_at = Instant::now().checked_add(wait.max(sleep_min));
            let is_due = self
                .lookout
                .until_due(due_at, began, interval, |seen| seen.recurring_at);
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = is_due => {}
                _ = replanning.tick() => self.replan().await?,
            }
        }
        Ok(())
    }

    async fn replan(&self) -> Result<(), sqlx::Error> {
        let recurring_jobs = self
            .connection
            .run(async |conn| replan(conn, &self.schema, None).await)
            .await?;
        if !recurring_jobs.is_empty() {
            tracing::warn!(
                ?recurring_jobs,
                "brought back plans that were more than a day ahead: check the database's clock",
            );
        }
        Ok(())
    }

    async fn register(&self) -> Result<(), sqlx::Error> {
        let zone = self.settings.time_zone;
        let registered = self
            .connection
            .run(
                async |conn| match self.declared.register(conn, &self.schema, zone).await {
                    Err(RecurringError::Database(error)) => Err(error),
                    answer => Ok(answer),
                },
            )
            .await?;
        match registered {
            Ok(registered) => report_registered(&self.declared.source, &registered),
            Err(error) => tracing::error!(
                error = redact(&with_causes(&error)),
                "could not register the recurring jobs of this program; none was changed",
            ),
        }
        Ok(())
    }

    /// Enqueues every recurring job that is due. An unreadable one is logged once; one that
    /// fails is retried after the others.
    async fn fire_all(&self, reported: &mut HashSet<String>) -> Result<StillDue, sqlx::Error> {
        let mut still_due = StillDue::default();
        while !self.stopping.is_cancelled() {
            let began = Instant::now();
            let tick = self
                .connection
                .run(async |conn| {
                    fire_next(conn, &self.schema, None, &self.kinds, &still_due.names).await
                })
                .await?;
            match tick {
                Tick::Idle => break,
                Tick::Fired(fired) => {
                    note_late(fired.late);
                    note_work("schedule", 1, began);
                    report_fired(&fired);
                    reported.remove(&fired.name);
                }
                Tick::Unreadable { name, reason } => {
                    if reported.insert(name.clone()) {
                        tracing::error!(
                            recurring_job = name,
                            error = redact(&reason),
                            "could not read a due recurring job; another version of the program may have stored it",
                        );
                    }
                    still_due.names.push(name);
                }
                Tick::Failed { name, error } => {
                    tracing::warn!(
                        recurring_job = name,
                        error = redact(&with_causes(&error)),
                        "could not enqueue a recurring job; retrying",
                    );
                    still_due.names.push(name);
                    still_due.has_failed = true;
                }
            }
        }
        Ok(still_due)
    }
}

/// Returns the shortest sleep before the next poll. It doubles while a due recurring job is locked.
fn next_sleep_min(sleep_min: Duration, wait: Duration) -> Duration {
    if wait < sleep_min {
        (sleep_min * 2).min(LOCKED_SLEEP_MAX)
    } else {
        SLEEP_MIN
    }
}

fn report_registered(source: &str, registered: &Registered) {
    let (added, changed, removed) = (&registered.added, &registered.changed, &registered.removed);
    if !(added.is_empty() && changed.is_empty()) {
        tracing::info!(source, ?added, ?changed, "registered recurring jobs");
    }
    if !removed.is_empty() {
        tracing::warn!(
            source,
            ?removed,
            "removed recurring jobs that are no longer declared"
        );
    }
    if !registered.leftovers.is_empty() {
        tracing::warn!(
            source,
            leftovers = ?registered.leftovers,
            "recurring jobs that this program no longer declares are still enqueued: remove them with \
             `queue recurring remove`, or set `scheduler.source`, so that they are removed at the start",
        );
    }
    for collision in &registered.collisions {
        let owner = collision.owner.as_deref();
        tracing::error!(
            source,
            recurring_job = collision.name,
            owner = owner.unwrap_or("none: it was added at run time"),
            differences = ?collision.differences,
            "did not change a recurring job that another program declares otherwise: give both the same \
             definition, or rename one",
        );
    }
}

fn report_fired(fired: &Fired) {
    let recurring_job = fired.name.as_str();
    if fired.lost > 0 {
        tracing::info!(
            recurring_job,
            count = fired.lost,
            "skipped due times that were decided before"
        );
    }
    report_missed(recurring_job, &fired.firings);
    for firing in &fired.firings {
        report_firing(recurring_job, firing);
    }
}

/// Logs missed due times in one line, because there may be many after a long downtime.
fn report_missed(recurring_job: &str, firings: &[Firing]) {
    let missed = || {
        firings
            .iter()
            .filter(|firing| matches!(firing.outcome, FiringOutcome::Missed))
    };
    if let (Some(first), Some(last)) = (missed().next(), missed().next_back()) {
        let since = first.since.unwrap_or(first.due_at);
        tracing::warn!(
            recurring_job,
            %since,
            until = %last.due_at,
            "missed due times; nothing is enqueued for them",
        );
    }
}

fn report_firing(recurring_job: &str, firing: &Firing) {
    let due_at = firing.due_at;
    match &firing.outcome {
        FiringOutcome::Enqueued(job_id) => {
            tracing::debug!(recurring_job, %due_at, %job_id, "enqueued a recurring job");
        }
        FiringOutcome::Missed => {}
        FiringOutcome::Overlapped(job_id) => tracing::info!(
            recurring_job,
            %due_at,
            %job_id,
            "did not enqueue a recurring job: its earlier job has not ended",
        ),
        FiringOutcome::Failed(error) => tracing::error!(
            recurring_job,
            %due_at,
            error = redact(&with_causes(error)),
            "could not enqueue a recurring job",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_recurring_job_is_polled_less_and_less_often_down_to_once_a_second() {
        let mut sleeps = vec![SLEEP_MIN];
        while sleeps.len() < 20 {
            let last = sleeps[sleeps.len() - 1];
            sleeps.push(next_sleep_min(last, Duration::ZERO));
        }

        assert_eq!(sleeps[1], 2 * SLEEP_MIN);
        assert_eq!(sleeps[19], Duration::from_secs(1));
        let after = next_sleep_min(sleeps[19], Duration::from_secs(60));
        assert_eq!(after, SLEEP_MIN);
    }
}
