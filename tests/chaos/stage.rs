//! What is broken in a run: a server, a proxy before it, and worker processes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use queue_tests::proxy::Proxy;
use queue_tests::victim::{Orders, Victim};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use crate::jobs::WorkerOrders;
use crate::servers::Servers;

/// The number of worker processes.
pub(crate) const WORKERS: usize = 3;

/// The jobs that a worker runs at once.
pub(crate) const CONCURRENCY: usize = 8;

/// The worker processes show that they are alive once a second, and may be silent for so long.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(4);

/// How long to wait for jobs to end after a fault.
const PATIENCE: Duration = Duration::from_secs(45);

pub(crate) struct Stage {
    pub(crate) servers: Servers,
    pub(crate) proxy: Proxy,
    pub(crate) workers: Vec<Victim>,
    orders: WorkerOrders,
    /// The most jobs that one process held at once.
    reserve: AtomicI64,
    _folder: TempDir,
}

impl Stage {
    pub(crate) async fn build(with_patroni: bool) -> Result<Self> {
        let servers = Servers::start(with_patroni).await?;
        let proxy = Proxy::before(&servers.connect_options());
        let folder = tempfile::tempdir()?;
        let mut orders = Orders::to(proxy.url());
        orders.concurrency = CONCURRENCY;
        orders.heartbeat = Duration::from_secs(1);
        orders.dead_after = DEAD_AFTER;
        let journal = folder.path().join("journal");
        let mut stage = Self {
            servers,
            proxy,
            workers: Vec::new(),
            orders: WorkerOrders { orders, journal },
            reserve: AtomicI64::new(0),
            _folder: folder,
        };
        for _ in 0..WORKERS {
            stage.start_worker();
        }
        Ok(stage)
    }

    pub(crate) fn journal(&self) -> &PathBuf {
        &self.orders.journal
    }

    pub(crate) fn start_worker(&mut self) {
        let program = std::env::current_exe().expect("the path of this program");
        let orders = serde_json::to_string(&self.orders).expect("orders as JSON");
        let worker = Victim::start_with(program, &["--worker", &orders]);
        self.workers.push(worker);
    }

    /// Waits until all jobs up to an id have ended, and returns when. Returns nothing if that takes too
    /// long.
    pub(crate) async fn until_ended(&self, last: i64) -> Option<Instant> {
        let asked = format!(
            "select count(*) from (
                select job_id from queue.ready union all select job_id from queue.scheduled
                union all select job_id from queue.blocked union all select job_id from queue.claimed
            ) as open where job_id <= {last}"
        );
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(0) = self.servers.number(&asked).await {
                return Some(Instant::now());
            }
            self.note_reserve().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.print_open(last).await;
        None
    }

    /// Prints where jobs are that should have ended.
    async fn print_open(&self, last: i64) {
        let asked = "select state, job_id, attempt, age, locked from (
                select 'ready' as state, job_id, attempt, now() - ready_at as age, null as locked
                from queue.ready
                union all
                select 'scheduled', job_id, attempt, now() - due_at, null from queue.scheduled
                union all
                select 'blocked', job_id, attempt, null, null from queue.blocked
                union all
                select 'claimed by ' || process_id, job_id, attempt, now() - claimed_at, null
                from queue.claimed
            ) as open
            where job_id <= $1
            order by job_id";
        let asked = format!("select format('%s', open) from ({asked}) as open limit 20");
        let asked = asked.replace("$1", &last.to_string());
        let sessions = "select format('%s', activity) from (
                select pid, application_name, state, now() - state_change as age, wait_event,
                    left(query, 60) as query
                from pg_stat_activity where datname = 'queue' order by state_change
            ) as activity";
        let pool = self.servers.pool();
        for statement in [&*asked, sessions] {
            let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(statement.to_owned()));
            eprintln!("{:#?}", rows.fetch_all(&pool).await);
        }
    }

    /// Notes how many jobs the processes hold.
    async fn note_reserve(&self) {
        let asked = "select coalesce(max(jobs), 0) from (
                select count(*) as jobs from queue.claimed group by process_id
            ) as held";
        if let Ok(jobs) = self.servers.number(asked).await {
            self.reserve.fetch_max(jobs, Ordering::Relaxed);
        }
    }

    pub(crate) fn reserve(&self) -> i64 {
        self.reserve.load(Ordering::Relaxed)
    }

    /// Stops the worker processes, and returns what is wrong with their ends.
    pub(crate) async fn end_workers(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for worker in &mut self.workers {
            worker.terminate();
        }
        for worker in &mut self.workers {
            let status = worker.ended().await;
            if !status.success() {
                problems.push(format!("a worker process ended with {status}"));
            }
        }
        for table in ["processes", "claimed", "slots", "idle_processes", "pollers"] {
            let asked = format!("select count(*) from queue.{table}");
            match self.servers.number(&asked).await {
                Ok(0) => {}
                found => problems.push(format!("{table} has rows at the end: {found:?}")),
            }
        }
        problems
    }
}
