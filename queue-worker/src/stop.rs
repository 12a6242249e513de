//! Stopping a process, by a handle or by signals.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Stops a process: gracefully at first, then at once. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// Makes a handle that has not been used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the process to claim no more jobs, to let running ones finish within the shutdown
    /// timeout, and to end.
    pub fn gracefully(&self) {
        self.asked.cancel();
    }

    /// Asks the process to interrupt its running jobs, give them back, and end.
    pub fn at_once(&self) {
        self.asked.cancel();
        self.at_once.cancel();
    }

    /// Returns whether the process has been asked to stop, in either way.
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Makes a handle that follows this one, and can also be used alone.
    pub(crate) fn child(&self) -> Self {
        Self {
            asked: self.asked.child_token(),
            at_once: self.at_once.child_token(),
        }
    }

    /// Returns a guard that asks the process to stop gracefully when it is dropped.
    pub(crate) fn guard(&self) -> DropGuard {
        self.asked.clone().drop_guard()
    }

    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    pub(crate) async fn asked_at_once(&self) {
        self.at_once.cancelled().await;
    }
}

/// Signals within this time of the first count as one: a terminal and a service manager may both send
/// one, and some send several.
const REPEATED_WITHIN: Duration = Duration::from_secs(1);

/// Stops on signals: gracefully on the first TERM or INT, at once on a later one or on QUIT.
pub(crate) async fn stop_on_signals(stop: Stop) {
    let listened = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
    ]
    .map(signal);
    let [Ok(mut term), Ok(mut int), Ok(mut quit)] = listened else {
        tracing::error!("cannot listen for signals: only KILL will end this process");
        return;
    };
    let mut first: Option<Instant> = None;
    loop {
        let is_quit = tokio::select! {
            _ = term.recv() => false,
            _ = int.recv() => false,
            _ = quit.recv() => true,
        };
        let is_repeated = first.is_some_and(|first| first.elapsed() < REPEATED_WITHIN);
        if is_quit || (stop.is_asked() && !is_repeated) {
            stop.at_once();
            return;
        }
        first.get_or_insert_with(Instant::now);
        stop.gracefully();
    }
}
