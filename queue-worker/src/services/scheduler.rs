//! Enqueues what is due again and again. Any number may run at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queue_core::Schema;
use queue_core::recurring::{
    Fired, Firing, FiringOutcome, Recurring, RecurringError, Registered, Tick, declare, fire_next,
    next_due, register, replan,
};
use queue_core::schedule::Tz;
use sqlx::PgConnection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::run_error::with_causes;
use crate::config::SchedulerSettings;
use crate::connection::Connection;

/// The shortest sleep, so that what another scheduler decides about is not asked for in a tight
/// loop.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// The longest sleep while something due is locked, or has failed: whoever holds the lock may die,
/// and what is due should not wait for the next `poll_interval` then.
const LOCKED_SLEEP_MAX: Duration = Duration::from_secs(1);

/// How often it looks for plans that a wrong clock has moved too far ahead.
const REPLAN_EVERY: Duration = Duration::from_secs(60);

/// The schedules that a process declares. They are registered once in its life, as soon as the
/// database is there; not again when a connection was lost, because a newer program may have
/// declared others meanwhile.
pub(crate) struct Declared {
    source: String,
    /// Whether the schedules of the source are these and no others.
    is_owner: bool,
    schedules: Vec<Recurring>,
    are_registered: AtomicBool,
}

impl Declared {
    /// Makes those of a source that others may share unknowingly: what it does not declare stays.
    pub(crate) fn by(source: String, schedules: Vec<Recurring>) -> Self {
        Self {
            source,
            is_owner: false,
            schedules,
            are_registered: AtomicBool::new(false),
        }
    }

    /// Makes those of a source that was named on purpose: what it does not declare is removed.
    pub(crate) fn by_owner(source: String, schedules: Vec<Recurring>) -> Self {
        Self {
            is_owner: true,
            ..Self::by(source, schedules)
        }
    }

    async fn register(
        &self,
        conn: &mut PgConnection,
        schema: &Schema,
        zone: Tz,
    ) -> Result<Registered, RecurringError> {
        let (source, schedules) = (&self.source, &self.schedules);
        if self.is_owner {
            register(conn, schema, source, schedules, zone).await
        } else {
            declare(conn, schema, source, schedules, zone).await
        }
    }
}

pub(crate) struct Scheduler {
    pub(crate) schema: Schema,
    pub(crate) settings: SchedulerSettings,
    pub(crate) declared: Arc<Declared>,
    pub(crate) stopping: CancellationToken,
}

/// What is left of a look at all that was due.
#[derive(Default)]
struct Pass {
    /// The names of schedules that are due all the same: they were not understood, or failed.
    left_alone: Vec<String>,
    has_failed: bool,
}

impl Scheduler {
    /// Registers what the process declares, and enqueues what is due until the process stops. It
    /// sleeps until the next schedule is due, and looks every `poll_interval` for those that were
    /// added or changed meanwhile.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut connection: Connection,
    ) -> Result<(), sqlx::Error> {
        if !self.declared.are_registered.load(Ordering::Acquire) {
            self.register(&mut connection).await?;
            self.declared.are_registered.store(true, Ordering::Release);
            connection.close().await;
        }
        // One schedule behind somebody's lock must not keep the others waiting.
        let mut connection = connection.waiting_briefly();
        let mut reported = HashSet::new();
        let mut sleep_min = SLEEP_MIN;
        let poll_interval = self.settings.poll_interval;
        let mut replanning = tokio::time::interval(REPLAN_EVERY);
        replanning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stopping.is_cancelled() {
            let pass = self.fire_all(&mut connection, &mut reported).await?;
            let due = connection
                .run(async |conn| next_due(conn, &self.schema, &pass.left_alone).await)
                .await?;
            let sleep_max = match pass.has_failed {
                true => poll_interval.min(LOCKED_SLEEP_MAX),
                false => poll_interval,
            };
            let wait = due.unwrap_or(sleep_max);
            sleep_min = next_sleep_min(sleep_min, wait).min(poll_interval);
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = tokio::time::sleep(wait.clamp(sleep_min, sleep_max)) => {}
                _ = replanning.tick() => self.replan(&mut connection).await?,
            }
        }
        connection.close().await;
        Ok(())
    }

    async fn replan(&self, connection: &mut Connection) -> Result<(), sqlx::Error> {
        let schedules = connection
            .run(async |conn| replan(conn, &self.schema, None).await)
            .await?;
        if !schedules.is_empty() {
            tracing::warn!(
                ?schedules,
                "the plans of schedules were more than a day ahead, and are brought back: \
                 look at the clock of the database",
            );
        }
        Ok(())
    }

    async fn register(&self, connection: &mut Connection) -> Result<(), sqlx::Error> {
        let zone = self.settings.time_zone;
        let registered = connection
            .run(
                async |conn| match self.declared.register(conn, &self.schema, zone).await {
                    Err(RecurringError::Database(error)) => Err(error),
                    answer => Ok(answer),
                },
            )
            .await?;
        match registered {
            Ok(registered) => report_registered(&self.declared.source, &registered),
            Err(refused) => tracing::error!(
                error = with_causes(&refused),
                "the schedules of this program are refused: none was changed",
            ),
        }
        Ok(())
    }

    /// Fires every schedule that is due. Those that are not understood are reported once, and those
    /// that failed are tried again at the next pass; they hold up no other.
    async fn fire_all(
        &self,
        connection: &mut Connection,
        reported: &mut HashSet<String>,
    ) -> Result<Pass, sqlx::Error> {
        let mut pass = Pass::default();
        while !self.stopping.is_cancelled() {
            let tick = connection
                .run(async |conn| fire_next(conn, &self.schema, None, &pass.left_alone).await)
                .await?;
            match tick {
                Tick::Idle => break,
                Tick::Fired(fired) => {
                    report_fired(&fired);
                    reported.remove(&fired.name);
                }
                Tick::NotUnderstood { name, reason } => {
                    if reported.insert(name.clone()) {
                        tracing::error!(
                            schedule = name,
                            reason,
                            "a schedule is due that this program does not understand",
                        );
                    }
                    pass.left_alone.push(name);
                }
                Tick::Failed { name, error } => {
                    tracing::warn!(
                        schedule = name,
                        %error,
                        "a schedule is due and could not be decided about; trying again",
                    );
                    pass.left_alone.push(name);
                    pass.has_failed = true;
                }
            }
        }
        Ok(pass)
    }
}

/// Returns the shortest sleep before the next look: what is due all the same is locked, perhaps for
/// long.
fn next_sleep_min(sleep_min: Duration, wait: Duration) -> Duration {
    if wait < sleep_min {
        (sleep_min * 2).min(LOCKED_SLEEP_MAX)
    } else {
        SLEEP_MIN
    }
}

fn report_registered(source: &str, registered: &Registered) {
    let Registered {
        added,
        changed,
        removed,
        collisions,
    } = registered;
    if !(added.is_empty() && changed.is_empty()) {
        tracing::info!(source, ?added, ?changed, "registered schedules");
    }
    if !removed.is_empty() {
        tracing::warn!(
            source,
            ?removed,
            "removed schedules that are declared no more"
        );
    }
    for collision in collisions {
        let owner = collision.owner.as_deref();
        tracing::error!(
            source,
            schedule = collision.name,
            owner = owner.unwrap_or("nobody: it was added at run time"),
            "a schedule of this name belongs to somebody else, and was left alone: rename one",
        );
    }
}

fn report_fired(fired: &Fired) {
    let schedule = fired.name.as_str();
    if fired.lost > 0 {
        tracing::info!(
            schedule,
            count = fired.lost,
            "due times were decided about before"
        );
    }
    report_missed(schedule, &fired.firings);
    for firing in &fired.firings {
        report_firing(schedule, firing);
    }
}

/// After a long standstill there may be many: they are told in one line.
fn report_missed(schedule: &str, firings: &[Firing]) {
    let missed = || {
        firings
            .iter()
            .filter(|firing| matches!(firing.outcome, FiringOutcome::Missed))
    };
    if let (Some(first), Some(last)) = (missed().next(), missed().next_back()) {
        let since = first.since.unwrap_or(first.due_at);
        tracing::warn!(
            schedule,
            %since,
            until = %last.due_at,
            "due times were missed, and nothing is enqueued for them",
        );
    }
}

fn report_firing(schedule: &str, firing: &Firing) {
    let due_at = firing.due_at;
    match &firing.outcome {
        FiringOutcome::Enqueued(job_id) => {
            tracing::debug!(schedule, %due_at, %job_id, "enqueued what was due");
        }
        FiringOutcome::Missed => {}
        FiringOutcome::Overlapped(job_id) => tracing::info!(
            schedule,
            %due_at,
            %job_id,
            "nothing was enqueued: an earlier job has not ended",
        ),
        FiringOutcome::Failed(error) => tracing::error!(
            schedule,
            %due_at,
            error = with_causes(error),
            "what was due could not be enqueued",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_is_looked_for_less_and_less_often_but_every_second() {
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
