//! Worker processes that tests send signals to.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use queue_worker::Settings;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::world::notifications;

/// What a victim is told, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Its database.
    pub url: String,
    /// The queues it serves.
    pub queues: String,
    /// The jobs it runs at once.
    pub concurrency: usize,
    /// How often it says that it lives.
    pub heartbeat: Duration,
    /// How long others may be silent.
    pub dead_after: Duration,
    /// How long its jobs may take to finish.
    pub shutdown_timeout: Duration,
    /// How long a job may go on after it was asked to stop.
    pub cancel_grace: Duration,
}

impl Orders {
    /// Orders for a worker that serves every queue and notices the death of another soon.
    #[must_use]
    pub fn to(url: String) -> Self {
        Self {
            url,
            queues: "*".to_owned(),
            concurrency: 4,
            heartbeat: Duration::from_millis(200),
            dead_after: Duration::from_millis(1_500),
            shutdown_timeout: Duration::from_secs(20),
            cancel_grace: Duration::from_millis(500),
        }
    }

    /// Serves other queues.
    #[must_use]
    pub fn queues(mut self, queues: &str) -> Self {
        queues.clone_into(&mut self.queues);
        self
    }

    /// The settings of such a worker.
    ///
    /// # Panics
    /// When the list of queues is wrong.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.workers[0].queues = self.queues.parse().expect("a list of queues");
        settings.workers[0].concurrency = self.concurrency;
        settings.workers[0].poll_interval = Duration::from_millis(200);
        settings.dispatcher.poll_interval = Duration::from_millis(100);
        settings.process.heartbeat_interval = self.heartbeat;
        settings.process.dead_after = self.dead_after;
        settings.process.shutdown_timeout = self.shutdown_timeout;
        settings.process.cancel_grace = self.cancel_grace;
        settings.process.notifications = notifications();
        settings
    }
}

/// A worker process of its own; it is killed when this is dropped.
pub struct Victim {
    child: Child,
    pid: Pid,
}

impl Victim {
    /// Starts the program `test-worker`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(program: impl AsRef<Path>, orders: &Orders) -> Self {
        let orders = serde_json::to_string(orders).expect("orders as JSON");
        let child = Command::new(program.as_ref())
            .arg(orders)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the program should start");
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Self {
            child,
            pid: pid.expect("a process that has just been started has an id"),
        }
    }

    /// The operating system's id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Ends it without any farewell, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Tells it to stop at once.
    pub fn quit(&self) {
        self.signal(Signal::QUIT);
    }

    /// Makes it stand still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .expect("the process should end")
            .expect("the end of the process should be seen")
    }

    fn signal(&self, signal: Signal) {
        // It may be gone already, by its own hand.
        let _gone = kill_process_group(self.pid, signal);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Once it has been waited for, its id may be another's.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}
