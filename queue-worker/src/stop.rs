//! How a process is told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Tells a process to stop: gracefully at first, then at once. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// Makes a handle with which nothing has been asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the process to claim no more jobs, to let running ones finish within the shutdown
    /// timeout, and to end.
    pub fn gracefully(&self) {
        self.asked.cancel();
    }

    /// Asks the process to interrupt what runs, give it back, and end.
    pub fn at_once(&self) {
        self.asked.cancel();
        self.at_once.cancel();
    }

    /// Tells whether the process has been asked to stop, in either way.
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Makes a handle that is asked whenever this one is, and may be asked by itself.
    pub(crate) fn for_one_life(&self) -> Self {
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

/// Passes signals on: the first TERM or INT asks to stop, a second one or a QUIT to end at once.
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
    loop {
        let is_quit = tokio::select! {
            _ = term.recv() => false,
            _ = int.recv() => false,
            _ = quit.recv() => true,
        };
        if is_quit || stop.is_asked() {
            stop.at_once();
            return;
        }
        stop.gracefully();
    }
}
