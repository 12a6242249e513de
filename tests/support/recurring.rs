//! What tests of schedules share.

use queue_core::recurring::RecurringJob;
use queue_worker::Settings;

use crate::stage::Note;
use crate::world::{World, eventually, worker};

/// Settings of a process that declares its schedules by a source.
#[must_use]
pub fn by(source: &str) -> Settings {
    let mut settings = worker("*", 4);
    settings.scheduler.source = Some(source.to_owned());
    settings
}

/// Makes a schedule that enqueues a [`Note`] with its name.
///
/// # Panics
/// When the times are not understood.
#[must_use]
pub fn recurring_job(name: &str, times: &str) -> RecurringJob {
    RecurringJob::new(name, times, Note::new(name)).expect("times that are understood")
}

/// Returns the names of all schedules, in their order.
pub async fn names(world: &World) -> Vec<String> {
    let rows: Vec<(String,)> = world
        .rows("select name from queue.recurring_jobs order by name")
        .await;
    rows.into_iter().map(|(name,)| name).collect()
}

/// Waits until these are the schedules there are.
pub async fn until_names(world: &World, expected: &[&str]) {
    let what = format!("the schedules are {expected:?}");
    eventually(&what, async || names(world).await == expected).await;
}
