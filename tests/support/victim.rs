//! Worker processes that tests send signals to.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use queue_worker::Settings;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::world::{World, notifications};

/// The settings of a victim, passed to it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Its database.
    pub url: String,
    /// The database as its jobs reach it, whose own statements have names: never by a pooler.
    pub url_of_jobs: String,
    /// The queues it serves.
    pub queues: String,
    /// The jobs it runs at once.
    pub concurrency: usize,
    /// The interval of its heartbeat.
    pub heartbeat: Duration,
    /// How long other processes may be silent.
    pub dead_after: Duration,
    /// How long its jobs may take to finish after a request to stop.
    pub shutdown_timeout: Duration,
    /// How long a job may run after it was asked to stop.
    pub cancel_grace: Duration,
}

impl Orders {
    /// Returns orders for a worker on the database of a world, by its pooler if there is one.
    #[must_use]
    pub fn of(world: &World) -> Self {
        Self {
            url_of_jobs: world.url(),
            ..Self::to(world.url_of_processes())
        }
    }

    /// Returns orders for a worker that serves all queues and detects dead processes quickly.
    #[must_use]
    pub fn to(url: String) -> Self {
        Self {
            url_of_jobs: url.clone(),
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

    /// Returns the settings of such a worker.
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
        // A sweep finds the batches that a killed process has not settled.
        settings.maintenance.interval = Duration::from_secs(1);
        settings.process.heartbeat_interval = self.heartbeat;
        settings.process.dead_after = self.dead_after;
        settings.process.shutdown_timeout = self.shutdown_timeout;
        settings.process.cancel_grace = self.cancel_grace;
        settings.process.notifications = notifications();
        settings
    }
}

/// A separate worker process. It is killed when this value is dropped.
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
        Self::start_with(program, &[&orders])
    }

    /// Starts a program that runs jobs until TERM.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(program: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let child = Command::new(program.as_ref())
            .args(arguments)
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

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Sends TERM: it stops gracefully.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends QUIT: it stops at once.
    pub fn quit(&self) {
        self.signal(Signal::QUIT);
    }

    /// Suspends it.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
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
        // It may have ended already.
        let _gone = kill_process_group(self.pid, signal);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Once it has been waited for, its id may belong to another process.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}
