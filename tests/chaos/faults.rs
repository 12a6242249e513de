//! The faults, and the order in which they come.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use fastrand::Rng;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::time::sleep;

use crate::servers::{CONNECTIONS, Servers, Stop};
use crate::stage::{DEAD_AFTER, Stage};

/// What is done to processes, connections and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// A worker process is killed, and another one is started.
    Kill,
    /// A worker process is suspended for longer than it may be silent, and goes on.
    Suspend,
    /// The server ends all connections.
    Terminate,
    /// The server is stopped in order, and started.
    Restart,
    /// The server crashes, and is started.
    Crash,
    /// A standby to which commits wait is promoted after a crash of the primary server.
    Promote,
    /// The same with a standby that may lag behind.
    PromoteLagging,
    /// The server has no more connections for a few seconds.
    NoConnections,
    /// The disk is full for a few seconds.
    FullDisk,
    /// Connections pass nothing more, and stay open. New ones work.
    Cut,
    /// Connections break.
    Reset,
    /// Nothing passes for a few seconds, also on new connections. Those opened until then stay cut.
    Drop,
    /// Everything takes 50 ms each way, for a few seconds, while a backlog waits.
    Delay,
    /// One answer in ten is lost, for a few seconds.
    LoseAnswers,
    /// Patroni is asked to make the standby the primary server.
    Switchover,
    /// The primary server and its Patroni are killed, and Patroni promotes the standby.
    Failover,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no value is hidden");
        f.pad(value.get_name())
    }
}

impl Fault {
    /// Returns how long jobs may take to end after the fault is over: three times what is expected on a
    /// machine that does nothing else.
    pub(crate) fn back_within(self) -> Duration {
        let expected = match self {
            Self::Cut | Self::Drop => Duration::from_secs(11),
            // The others do not know at once that a process was killed.
            Self::Kill => DEAD_AFTER + Duration::from_secs(5),
            _ => Duration::from_secs(10),
        };
        3 * expected
    }

    /// Returns whether the fault takes back what was acknowledged.
    pub(crate) fn takes_back(self) -> bool {
        self == Self::PromoteLagging
    }

    /// Returns whether the fault can be made on these servers.
    fn is_possible(self, servers: &Servers) -> bool {
        match self {
            Self::Switchover | Self::Failover => servers.has_patroni(),
            Self::Kill | Self::Suspend => true,
            Self::FullDisk => servers.has_disk && !servers.has_patroni(),
            _ => !servers.has_patroni(),
        }
    }

    /// Strikes, and returns when the fault was over.
    pub(crate) async fn strike(self, stage: &mut Stage, rng: &mut Rng) -> Result<Instant> {
        let time = Duration::from_millis(rng.u64(1_000..5_000));
        let which = rng.usize(..stage.workers.len());
        let proxy = &stage.proxy;
        match self {
            Self::Kill => {
                stage.workers.swap_remove(which).kill().await;
                stage.start_worker();
            }
            Self::Suspend => {
                stage.workers[which].pause();
                sleep(DEAD_AFTER + time).await;
                stage.workers[which].resume();
            }
            Self::Terminate => terminate(stage).await?,
            Self::Restart => restart(stage, Stop::Fast, time / 2).await?,
            Self::Crash => restart(stage, Stop::Immediate, time / 2).await?,
            Self::Promote => promote(stage, true).await?,
            Self::PromoteLagging => promote(stage, false).await?,
            Self::NoConnections => take_connections(stage, time).await?,
            Self::FullDisk => {
                stage.servers.fill_disk(true).await;
                sleep(time).await;
                stage.servers.fill_disk(false).await;
                // It may have given up.
                let _runs = stage.servers.start_server().await;
            }
            Self::Cut => proxy.cut(),
            Self::Reset => proxy.reset(),
            Self::Drop => {
                proxy.drop_all(true);
                sleep(time).await;
                proxy.cut();
                proxy.drop_all(false);
            }
            Self::Delay => {
                proxy.delay(Duration::from_millis(50));
                sleep(time).await;
                proxy.delay(Duration::ZERO);
            }
            Self::LoseAnswers => {
                proxy.lose_one_in(10);
                sleep(time).await;
                proxy.lose_one_in(0);
            }
            Self::Switchover | Self::Failover => {
                stage.servers.change_primary(self == Self::Failover).await?;
                proxy.lead_to(&stage.servers.connect_options());
            }
        }
        Ok(Instant::now())
    }
}

async fn terminate(stage: &Stage) -> Result<()> {
    let others = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = 'queue' and pid <> pg_backend_pid()";
    stage.servers.number(others).await?;
    Ok(())
}

async fn restart(stage: &Stage, stop: Stop, pause: Duration) -> Result<()> {
    stage.servers.stop_server(stop).await?;
    sleep(pause).await;
    stage.servers.start_server().await
}

async fn promote(stage: &mut Stage, is_synchronous: bool) -> Result<()> {
    let standby = stage.servers.make_standby(is_synchronous).await?;
    stage.servers.stop_server(Stop::Immediate).await?;
    stage.servers.promote(standby).await?;
    stage.proxy.lead_to(&stage.servers.connect_options());
    Ok(())
}

/// Takes all connections of the server, also those of the workers, and keeps them for a while.
async fn take_connections(stage: &Stage, time: Duration) -> Result<()> {
    let options = stage.servers.connect_options();
    let mut taken: Vec<PgConnection> = Vec::new();
    terminate(stage).await?;
    for _ in 0..10 * CONNECTIONS {
        match options.connect().await {
            Ok(conn) => taken.push(conn),
            Err(_) => break,
        }
        if taken.len() == CONNECTIONS / 2
            && let Some(conn) = taken.last_mut()
        {
            // What the workers have opened meanwhile.
            let others = "select pg_terminate_backend(pid) from pg_stat_activity
                where application_name like 'queue %'";
            sqlx::query(others).execute(conn).await?;
        }
    }
    sleep(time).await;
    Ok(())
}

/// The faults in a random order that a seed repeats. Each comes once before one comes again.
pub(crate) struct Deck {
    rng: Rng,
    faults: Vec<Fault>,
    rest: Vec<Fault>,
}

impl Deck {
    pub(crate) fn new(seed: u64, only: &[Fault], stage: &Stage) -> Self {
        let all = Fault::value_variants().iter().copied();
        let faults = all
            .filter(|fault| only.is_empty() || only.contains(fault))
            .filter(|fault| fault.is_possible(&stage.servers));
        Self {
            rng: Rng::with_seed(seed),
            faults: faults.collect(),
            rest: Vec::new(),
        }
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Returns how long nothing is to happen before the next fault.
    pub(crate) fn calm(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(500..2_000))
    }

    pub(crate) fn draw(&mut self) -> Fault {
        if self.rest.is_empty() {
            self.rest.clone_from(&self.faults);
            self.rng.shuffle(&mut self.rest);
        }
        self.rest
            .pop()
            .expect("at least one fault can be made here")
    }
}
