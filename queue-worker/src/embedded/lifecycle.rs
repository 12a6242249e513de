//! How the server comes up and goes down.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::error::{At, EmbeddedError};
use super::leftover::{self, Leftover};
use super::server::Server;
use super::{Embedded, NAME, PORT, Running, cluster};

/// Recovery after a crash counts as starting.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

impl Embedded {
    /// Sees to it that a server runs and has its database, while no other process does the same.
    pub(super) async fn adopt_or_launch(&self) -> Result<Running, EmbeddedError> {
        let _lock = self.place.lock().await?;
        self.place.open_socket_dir(&self.account)?;
        let running = match self.adopt().await? {
            Some(pid) => Running::Adopted(pid),
            None => Running::Started(self.launch().await?),
        };
        let prepared = self.ensure_database().await;
        prepared.map_err(EmbeddedError::Database)?;
        Ok(running)
    }

    /// Takes over what another process left. A server that is shutting down or starting up is
    /// waited for; either it answers in the end, or it is gone.
    async fn adopt(&self) -> Result<Option<Pid>, EmbeddedError> {
        let data = &self.place.data;
        let deadline = Instant::now() + START_MAX;
        loop {
            let pid = match leftover::look(data).at(data)? {
                Leftover::Nothing => return Ok(None),
                Leftover::Stale => {
                    leftover::remove(data).at(data)?;
                    return Ok(None);
                }
                Leftover::Running(pid) => pid,
            };
            match self.try_connection().await {
                Ok(()) => return Ok(Some(pid)),
                Err(source) if Instant::now() > deadline => {
                    return Err(self.unanswering(pid, source));
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Starts a server of our own, on data that is made first if there is none.
    async fn launch(&self) -> Result<Server, EmbeddedError> {
        self.ensure_cluster().await?;
        let deadline = Instant::now() + START_MAX;
        loop {
            match self.launch_once(deadline).await {
                // The last backends of a server that was killed notice its death soon.
                Err(EmbeddedError::Ended { tail, .. })
                    if tail.contains("shared memory block") && Instant::now() < deadline =>
                {
                    sleep(PAUSE).await;
                }
                launched => return launched,
            }
        }
    }

    async fn launch_once(&self, deadline: Instant) -> Result<Server, EmbeddedError> {
        let command = self.postgres()?;
        let server = Server::start(command).map_err(|source| EmbeddedError::Run {
            program: self.binaries.program("postgres"),
            source,
        })?;
        loop {
            match self.try_connection().await {
                Ok(()) => return Ok(server),
                Err(source) if Instant::now() > deadline => {
                    server.signal(Signal::QUIT);
                    return Err(self.unanswering(server.pid, source));
                }
                Err(_) => {}
            }
            if let Some(status) = server.ended() {
                return Err(EmbeddedError::Ended {
                    status,
                    log: self.place.log.clone(),
                    tail: self.place.log_tail(),
                });
            }
            sleep(PAUSE).await;
        }
    }

    async fn ensure_cluster(&self) -> Result<(), EmbeddedError> {
        let (place, binaries) = (self.place.clone(), self.binaries.clone());
        let (account, guard) = (self.account.clone(), self.guard.clone());
        let durable = self.options.durable;
        let making = tokio::task::spawn_blocking(move || {
            cluster::ensure(&place, &binaries, &account, &guard, durable)
        });
        making
            .await
            .map_err(std::io::Error::other)
            .at(&self.place.data)?
    }

    fn postgres(&self) -> Result<Command, EmbeddedError> {
        let log = self.place.open_log()?;
        let errors = log.try_clone().at(&self.place.log)?;
        let program = self.binaries.program("postgres");
        let mut command = self.guard.command(&self.account, &program, "INT");
        command.arg("-D").arg(&self.place.data);
        command.arg("-k").arg(&self.place.socket);
        for (name, value) in self.settings() {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log).stderr(errors);
        // Ctrl-C in a terminal goes to its whole process group, and the server must outlive
        // those who are still putting their affairs in order.
        command.process_group(0);
        Ok(command)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let port = PORT.to_string();
        let mut settings = vec![("listen_addresses", ""), ("port", &port)];
        if !self.options.durable {
            settings.extend([("fsync", "off"), ("full_page_writes", "off")]);
        }
        settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.options.settings.iter().cloned())
            .collect()
    }

    pub(super) async fn end_server(&mut self, signal: Signal) -> Result<(), EmbeddedError> {
        let pid = match &self.running {
            Running::No => return Ok(()),
            Running::Started(server) => {
                server.signal(signal);
                let _ = timeout(STOP_MAX, server.wait()).await;
                server.ended().is_none().then_some(server.pid)
            }
            Running::Adopted(pid) => end_other(*pid, &self.place.data, signal).await,
        };
        match pid {
            Some(pid) => Err(EmbeddedError::StillRunning { pid: number(pid) }),
            None => {
                self.running = Running::No;
                self.place.close_socket_dir();
                Ok(())
            }
        }
    }

    async fn ensure_database(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.connect_to("postgres").connect().await?;
        let there: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(NAME)
                .fetch_one(&mut connection)
                .await?;
        if !there {
            sqlx::query("create database queue")
                .execute(&mut connection)
                .await?;
        }
        connection.close().await
    }

    async fn try_connection(&self) -> Result<(), sqlx::Error> {
        let options = self.connect_to("postgres");
        timeout(START_MAX, options.connect())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??
            .close()
            .await
    }

    fn unanswering(&self, pid: Pid, source: sqlx::Error) -> EmbeddedError {
        EmbeddedError::Unanswering {
            pid: number(pid),
            data: self.place.data.clone(),
            log: self.place.log.clone(),
            tail: self.place.log_tail(),
            source,
        }
    }
}

/// Ends a server that another process started; answers with its process if it still runs.
async fn end_other(pid: Pid, data: &Path, signal: Signal) -> Option<Pid> {
    let still_there =
        || matches!(leftover::look(data), Ok(Leftover::Running(found)) if found == pid);
    let deadline = Instant::now() + STOP_MAX;
    if still_there() {
        let _ = kill_process(pid, signal);
    }
    while still_there() {
        if Instant::now() > deadline {
            return Some(pid);
        }
        sleep(PAUSE).await;
    }
    None
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}
