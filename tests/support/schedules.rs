//! Code shared by the tests of recurring jobs.

use queue_core::recurring::Recurring;
use queue_worker::Settings;

use crate::stage::Note;
use crate::world::{World, eventually, worker};

/// Returns settings of a process that declares recurring jobs under a source.
#[must_use]
pub fn by(source: &str) -> Settings {
    let mut settings = worker("*", 4);
    settings.scheduler.source = Some(source.to_owned());
    settings
}

/// Returns a recurring job that enqueues a [`Note`] with its name.
///
/// # Panics
/// When the schedule cannot be parsed.
#[must_use]
pub fn schedule(name: &str, times: &str) -> Recurring {
    Recurring::new(name, times, Note::new(name)).expect("a valid schedule")
}

/// Returns the names of all recurring jobs, sorted.
pub async fn names(world: &World) -> Vec<String> {
    let rows: Vec<(String,)> = world
        .rows("select name from queue.recurring_jobs order by name")
        .await;
    rows.into_iter().map(|(name,)| name).collect()
}

/// Waits until exactly these recurring jobs exist.
pub async fn until_names(world: &World, expected: &[&str]) {
    let what = format!("the recurring jobs are {expected:?}");
    eventually(&what, async || names(world).await == expected).await;
}
