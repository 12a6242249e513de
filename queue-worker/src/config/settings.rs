//! What a process runs, as plain data with defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use queue_core::schedule::Tz;

use super::{LimitSetting, QueueList};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Everything one process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The workers; one that serves every queue by default. May be empty in a process that only
    /// dispatches, schedules or clears.
    pub workers: Vec<WorkerSettings>,
    /// The part that moves due jobs to ready.
    pub dispatcher: DispatcherSettings,
    /// The part that enqueues what is due again and again.
    pub scheduler: SchedulerSettings,
    /// The process itself: its liveness and its end.
    pub process: ProcessSettings,
    /// The part that clears what is kept no longer.
    pub maintenance: MaintenanceSettings,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// How many jobs of a key, a group, a queue (`@queue/mail`) or a kind (`@kind/import`) run at
    /// once, and start in a period, in all processes together. They are declared when a process
    /// starts, and hold where no operator has set anything.
    pub limits: BTreeMap<String, LimitSetting>,
}

/// One worker: the queues it serves, and how many of their jobs at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The queues it serves, the most urgent first; every queue by default.
    pub queues: QueueList,
    /// Jobs it runs at once, from 1 to 10,000; 10 by default.
    pub concurrency: usize,
    /// How often it looks for jobs when nothing wakes it; 1 second by default.
    pub poll_interval: Duration,
}

/// The part that moves due jobs to ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherSettings {
    /// Whether this process dispatches; true by default. Some process must.
    pub enabled: bool,
    /// How often it looks for due jobs; 1 second by default.
    pub poll_interval: Duration,
    /// Jobs moved by one statement, from 1 to 10,000; 1,000 by default.
    pub batch_size: u32,
}

/// The part that enqueues what is due again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerSettings {
    /// Whether this process enqueues what is due, and registers the schedules it declares; true by
    /// default. Some process must.
    pub enabled: bool,
    /// How often it looks for schedules that were added or changed; 1 second by default. What is
    /// due sooner is enqueued sooner.
    pub poll_interval: Duration,
    /// The zone whose clock schedules are by that name none; UTC by default.
    pub time_zone: Tz,
    /// What the schedules are declared by; the name of the program by default. When it is set,
    /// schedules of this source that a process does not declare are removed when it starts: all
    /// processes of one source declare the same ones. Otherwise they stay until somebody removes
    /// them, because other programs may have the same name.
    pub source: Option<String>,
}

/// The process itself: its liveness and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// What people call this process; by default it is made of host and process id.
    pub name: Option<String>,
    /// How often it says that it is alive; 5 seconds by default.
    pub heartbeat_interval: Duration,
    /// How long a process may be silent before others take its jobs over; 30 seconds by default,
    /// at least three times `heartbeat_interval`. Each process judges the others by its own
    /// value: keep it the same everywhere, and raise it before raising `heartbeat_interval`.
    pub dead_after: Duration,
    /// How long running jobs may take to finish once the process is told to stop; 25 seconds by
    /// default, which fits into the 30 that container platforms grant.
    pub shutdown_timeout: Duration,
    /// The time between asking a job to stop and dropping it; 5 seconds by default.
    pub cancel_grace: Duration,
    /// Whether the database may wake idle workers; true by default. With false they poll only.
    pub notifications: bool,
}

/// The part that clears ended jobs that are kept no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceSettings {
    /// Whether this process clears; true by default. Some process should.
    pub enabled: bool,
    /// How often it clears; every minute by default.
    pub interval: Duration,
    /// Jobs cleared by one statement, from 1 to 100,000; 5,000 by default.
    pub batch_size: u32,
}

/// How long ended jobs are kept. `None` is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long finished jobs are kept; one day by default.
    pub finished: Option<Duration>,
    /// How long failed jobs are kept; until someone decides, by default.
    pub failed: Option<Duration>,
    /// How long it is known what became of a due time of a schedule; 30 days by default, at least
    /// one. The last one of each schedule is always known.
    pub firings: Option<Duration>,
    /// Queues whose finished jobs are kept for another time.
    pub queues: BTreeMap<String, KeepFor>,
    /// Kinds whose finished jobs are kept for another time, whatever their queue says.
    pub kinds: BTreeMap<String, KeepFor>,
}

/// How long the finished jobs of one queue or kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepFor {
    /// They are never cleared.
    Forever,
    /// They are cleared when they have been finished for this long.
    For(Duration),
}

impl Retention {
    /// How long a finished job is kept: as its kind says, else its queue, else the default.
    pub fn finished_for(&self, queue: &str, kind: &str) -> KeepFor {
        let of_its_own = self.kinds.get(kind).or_else(|| self.queues.get(queue));
        of_its_own
            .copied()
            .unwrap_or_else(|| KeepFor::from(self.finished))
    }
}

impl From<Option<Duration>> for KeepFor {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Forever, Self::For)
    }
}

impl From<KeepFor> for Option<Duration> {
    fn from(keep: KeepFor) -> Self {
        match keep {
            KeepFor::Forever => None,
            KeepFor::For(duration) => Some(duration),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: vec![WorkerSettings::default()],
            dispatcher: DispatcherSettings::default(),
            scheduler: SchedulerSettings::default(),
            process: ProcessSettings::default(),
            maintenance: MaintenanceSettings::default(),
            retention: Retention::default(),
            limits: BTreeMap::new(),
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            queues: QueueList::any(),
            concurrency: 10,
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl Default for DispatcherSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            poll_interval: Duration::from_secs(1),
            batch_size: 1000,
        }
    }
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            poll_interval: Duration::from_secs(1),
            time_zone: Tz::UTC,
            source: None,
        }
    }
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            name: None,
            heartbeat_interval: Duration::from_secs(5),
            dead_after: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(25),
            cancel_grace: Duration::from_secs(5),
            notifications: true,
        }
    }
}

impl Default for MaintenanceSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
            batch_size: 5000,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            finished: Some(DAY),
            failed: None,
            firings: Some(30 * DAY),
            queues: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_beats_its_queue_and_a_queue_the_default() {
        let mut retention = Retention::default();
        retention
            .queues
            .insert("mail".to_owned(), KeepFor::For(7 * DAY));
        retention.kinds.insert("audit".to_owned(), KeepFor::Forever);

        for (queue, kind, keep) in [
            ("mail", "audit", KeepFor::Forever),
            ("mail", "welcome", KeepFor::For(7 * DAY)),
            ("default", "welcome", KeepFor::For(DAY)),
        ] {
            assert_eq!(retention.finished_for(queue, kind), keep, "{queue} {kind}");
        }
    }
}
