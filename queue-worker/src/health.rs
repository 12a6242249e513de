//! Whether a process does its work, for those who watch it from outside.

#[cfg(feature = "cli")]
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "cli")]
use futures_util::future::select_all;
use tokio::sync::watch;

/// The health of a process, by its heartbeats.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: watch::Sender<State>,
    /// The age of a heartbeat at which others may presume the process dead.
    silent_after: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// What it waits for.
    Starting(&'static str),
    Beaten(Instant),
    Stopping,
}

impl Health {
    pub(crate) fn new(silent_after: Duration) -> Self {
        Self {
            state: watch::Sender::new(State::Starting(
                "the process has not registered with the database yet",
            )),
            silent_after,
        }
    }

    /// Notes a heartbeat that was written.
    pub(crate) fn note_heartbeat(&self, now: Instant) {
        self.state.send_if_modified(|state| {
            let is_new = matches!(state, State::Starting(_));
            if !matches!(state, State::Stopping) {
                *state = State::Beaten(now);
            }
            is_new
        });
    }

    /// Notes what keeps the process from registering, unless it has registered before.
    pub(crate) fn note_waiting(&self, waits_for: &'static str) {
        self.state.send_if_modified(|state| {
            if matches!(state, State::Starting(_)) {
                *state = State::Starting(waits_for);
            }
            false
        });
    }

    /// Notes that the process was asked to stop.
    pub(crate) fn note_stop(&self) {
        self.state.send_replace(State::Stopping);
    }

    /// Waits until the process has registered, or was asked to stop before.
    pub(crate) async fn started(&self) {
        let has_started = |state: &State| !matches!(state, State::Starting(_));
        let _ = self.state.subscribe().wait_for(has_started).await;
    }

    /// Waits until the process was asked to stop.
    pub(crate) async fn stopped(&self) {
        let is_stopping = |state: &State| matches!(state, State::Stopping);
        let _ = self.state.subscribe().wait_for(is_stopping).await;
    }

    /// Returns whether the last heartbeat is so old that others may presume the process dead.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        matches!(*self.state.borrow(), State::Beaten(at) if self.is_old(now, at))
    }

    fn is_old(&self, now: Instant, heartbeat: Instant) -> bool {
        now.duration_since(heartbeat) >= self.silent_after
    }

    /// Returns why the process is not ready, if so.
    pub(crate) fn problem(&self, now: Instant) -> Option<&'static str> {
        match *self.state.borrow() {
            State::Starting(waits_for) => Some(waits_for),
            State::Beaten(at) if self.is_old(now, at) => {
                Some("the database does not take the heartbeats of the process")
            }
            State::Beaten(_) => None,
            State::Stopping => Some("the process is stopping"),
        }
    }
}

/// The health of a process by that of each shard that it serves.
#[cfg(feature = "cli")]
#[derive(Clone, Debug)]
pub(crate) struct HealthOfShards(Vec<(Option<Arc<str>>, Health)>);

#[cfg(feature = "cli")]
impl HealthOfShards {
    pub(crate) fn new(shards: impl Iterator<Item = (Option<Arc<str>>, Health)>) -> Self {
        Self(shards.collect())
    }

    /// Waits until the process has registered with one shard, or was asked to stop before.
    pub(crate) async fn started(&self) {
        let started = self.0.iter().map(|(_, health)| Box::pin(health.started()));
        select_all(started).await;
    }

    /// Waits until the process was asked to stop.
    pub(crate) async fn stopped(&self) {
        let stopped = self.0.iter().map(|(_, health)| Box::pin(health.stopped()));
        select_all(stopped).await;
    }

    /// Returns whether the process is ready, which it is if it works on one shard, and what is wrong with each.
    pub(crate) fn problems(&self, now: Instant) -> (bool, Vec<String>) {
        let problems = self.0.iter().filter_map(|(shard, health)| {
            let problem = health.problem(now)?;
            Some(match shard {
                Some(shard) => format!("shard {shard}: {problem}"),
                None => problem.to_owned(),
            })
        });
        let problems: Vec<String> = problems.collect();
        (problems.len() < self.0.len(), problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_while_its_heartbeats_are_written() {
        let health = Health::new(Duration::from_secs(20));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(health.problem(at(0)).is_some());

        health.note_heartbeat(at(0));
        assert_eq!(health.problem(at(19)), None);
        assert!(health.problem(at(20)).unwrap().contains("heartbeats"));
        health.note_heartbeat(at(20));
        assert_eq!(health.problem(at(21)), None);

        health.note_stop();
        health.note_heartbeat(at(21));
        assert!(health.problem(at(21)).unwrap().contains("stopping"));
    }
}
