//! The server's process, when this process started it.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

/// A server that this process started, and that ends with it. Dropped, it is told to stop, and
/// nobody waits for that.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) pid: Pid,
    alive: Arc<Mutex<bool>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Server {
    /// Starts `command` from a thread that does nothing else and lives as long as the server:
    /// the signal of [`Guard`](super::guard::Guard) comes when the thread ends that started it,
    /// and a thread of a runtime may end long before the process does.
    pub(super) fn start(command: Command) -> io::Result<Server> {
        let alive = Arc::new(Mutex::new(true));
        let (report_start, started) = mpsc::channel();
        let (report_end, ended) = watch::channel(None);
        let shared = Arc::clone(&alive);
        thread::Builder::new()
            .name("embedded-postgres".to_owned())
            .spawn(move || keep(command, &report_start, &shared, &report_end))?;
        let pid = started.recv().map_err(io::Error::other)??;
        Ok(Server { pid, alive, ended })
    }

    /// Sends `signal`, unless the server has ended, whose number may be another's by now.
    pub(super) fn signal(&self, signal: Signal) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive {
            // The only failure left is that it became a zombie just now: it has ended.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits until it has ended.
    pub(super) async fn wait(&self) {
        // An error means that the thread is gone, and with it the server.
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::INT);
    }
}

fn keep(
    mut command: Command,
    started: &mpsc::Sender<io::Result<Pid>>,
    alive: &Mutex<bool>,
    ended: &watch::Sender<Option<ExitStatus>>,
) {
    match command.spawn() {
        Err(error) => {
            let _ = started.send(Err(error));
        }
        Ok(child) => {
            let _ = started.send(Ok(Pid::from_child(&child)));
            ended.send_replace(reap(child, alive).ok());
        }
    }
}

/// Waits for the end of `child`. Its number stays taken until it is reaped, which happens under
/// the same lock as signalling.
fn reap(mut child: Child, alive: &Mutex<bool>) -> io::Result<ExitStatus> {
    let ending = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let pid = WaitId::Pid(Pid::from_child(&child));
    while let Err(rustix::io::Errno::INTR) = waitid(pid.clone(), ending) {}
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    *alive = false;
    child.wait()
}
