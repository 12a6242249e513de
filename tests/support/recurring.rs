//! Helpers for tests of recurring jobs.

use queue_core::recurring::RecurringJob;
use queue_worker::Settings;

use crate::stage::Note;
use crate::world::{World, eventually, worker};

/// Returns settings of a process that declares its recurring jobs under a source.
#[must_use]
pub fn by(source: &str) -> Settings {
    let mut settings = worker("*", 4);
    settings.scheduler.source = Some(source.to_owned());
    settings
}

/// Makes a recurring job that enqueues a [`Note`] with its name.
///
/// # Panics
/// Panics if the schedule is invalid.
#[must_use]
pub fn recurring_job(name: &str, schedule: &str) -> RecurringJob {
    RecurringJob::new(name, schedule, Note::new(name)).expect("a valid schedule")
}

/// Returns the names of all recurring jobs, sorted.
pub async fn names(world: &World) -> Vec<String> {
    let rows: Vec<(String,)> = world
        .rows("select name from queue.recurring_jobs order by name")
        .await;
    rows.into_iter().map(|(name,)| name).collect()
}

/// Waits until these are the names of all recurring jobs.
pub async fn until_names(world: &World, expected: &[&str]) {
    let what = format!("the recurring jobs are {expected:?}");
    eventually(&what, async || names(world).await == expected).await;
}
