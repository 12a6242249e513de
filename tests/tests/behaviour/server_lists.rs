//! Programs with a list of servers, of which one takes writes.

use std::process::Stdio;

use crate::shell::{Shell, get, stopped_by};
use queue_core::{NewJob, Options, Queue};
use queue_tests::deeds::{self, Deed, Ledger};
use queue_tests::postgres::DedicatedServer;
use queue_tests::victim::Orders;
use queue_tests::world::eventually;
use queue_worker::{Process, Stop};
use rustix::process::Signal;
use serde_json::json;
use sqlx::PgPool;
use tokio::task::spawn_blocking;

const TOKEN: &str = "a token of at least thirty-two bytes";

/// Two servers: one takes writes, the other follows it.
struct Pair {
    primary: DedicatedServer,
    standby: DedicatedServer,
}

impl Pair {
    async fn start() -> Self {
        let primary = DedicatedServer::start().await;
        let standby = primary.standby().await;
        Self { primary, standby }
    }

    /// Returns a URL that names the standby first.
    fn url(&self, attributes: &str) -> String {
        let host = |server: &DedicatedServer| {
            let url = server.url();
            let host = url.strip_prefix("postgres://queue@").unwrap();
            host.strip_suffix("/queue").unwrap().to_owned()
        };
        let hosts = format!("{},{}", host(&self.standby), host(&self.primary));
        format!("postgres://queue@{hosts}/queue?target_session_attrs={attributes}")
    }

    fn shell(&self, attributes: &str) -> Shell {
        let mut shell = Shell::without_database();
        shell.url = Some(self.url(attributes));
        shell
    }
}

fn pool(server: &DedicatedServer) -> PgPool {
    PgPool::connect_lazy_with(server.connect_options())
}

async fn promote(standby: &DedicatedServer) {
    let promotion = sqlx::query("select pg_promote()");
    promotion.execute(&pool(standby)).await.unwrap();
}

async fn until_count(server: &DedicatedServer, of: &'static str, wanted: i64) {
    let pool = pool(server);
    eventually(&format!("{of}: {wanted}"), async || {
        sqlx::query_scalar(of).fetch_one(&pool).await.ok() == Some(wanted)
    })
    .await;
}

/// Enqueues a job that enqueues another one by the pool of its process, and waits for the end of both.
async fn relay(server: &DedicatedServer, ended: i64) {
    let relay = NewJob::untyped("relay", &json!({}), Options::new());
    let _ = Queue::new(pool(server)).enqueue_all([relay]).await.unwrap();
    until_finished(server, ended).await;
}

async fn until_finished(server: &DedicatedServer, jobs: i64) {
    until_count(server, "select count(*) from queue.finished", jobs).await;
}

/// Runs jobs in a process on a pair of servers while the standby takes over.
async fn take_over(leave: impl AsyncFnOnce(&mut DedicatedServer)) {
    let mut pair = Pair::start().await;
    let url = pair.url("read-write");
    let shell = pair.shell("read-write");
    let mut start = shell.command(&["start"]);
    let start = start.env("QUEUE_LISTEN_URL", url).stderr(Stdio::null());
    let process = start.spawn().unwrap();
    relay(&pair.primary, 2).await;
    until_finished(&pair.standby, 2).await;

    leave(&mut pair.primary).await;
    promote(&pair.standby).await;

    relay(&pair.standby, 4).await;
    let listening = "select count(*) from pg_stat_activity where query ilike 'listen %'";
    until_count(&pair.standby, listening, 1).await;
    assert!(stopped_by(process, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn a_worker_process_goes_on_when_a_standby_takes_over_from_a_server_that_crashed() {
    take_over(DedicatedServer::crash_server).await;
}

#[tokio::test]
async fn a_worker_process_goes_on_when_a_standby_takes_over_from_a_server_that_becomes_one() {
    take_over(DedicatedServer::become_standby).await;
}

#[tokio::test]
async fn commands_use_the_server_that_takes_writes_or_say_which_were_asked() {
    let mut pair = Pair::start().await;
    let shell = pair.shell("read-write");

    shell.print(&["queues", "pause", "mail", "--yes"]).await;
    shell.print(&["enqueue", "send"]).await;
    let (any, unknown) = (pair.shell("any"), pair.shell("standby"));
    let said = any.refused(3, &["queues", "resume", "mail"]).await;
    assert!(said.contains("takes no writes"), "{said}");
    let said = unknown.refused(2, &["stats"]).await;
    assert!(said.contains("target_session_attrs=standby"), "{said}");

    pair.primary.stop_server().await;
    let said = shell.refused(3, &["stats"]).await;
    assert!(said.contains("port 5432, or "), "{said}");
}

#[tokio::test]
async fn a_dashboard_shows_nothing_of_a_standby_until_it_is_promoted() {
    let mut pair = Pair::start().await;
    pair.primary.crash_server().await;
    let shell = pair.shell("read-write");
    let (child, address) = shell.dashboard(&[
        ("QUEUE_DASHBOARD_TOKEN", TOKEN),
        ("QUEUE_DASHBOARD_READ_ONLY", "true"),
    ]);
    let answers = async || {
        let address = address.clone();
        let asking = spawn_blocking(move || get(&address, "/ops/jobs/queues", "Bearer", TOKEN));
        asking.await.unwrap().starts_with("HTTP/1.1 200")
    };

    assert!(!answers().await);
    promote(&pair.standby).await;
    eventually("a page is shown", &answers).await;

    stopped_by(child, Signal::TERM).await;
}

#[tokio::test]
async fn a_process_follows_the_options_of_its_pool_to_another_server() {
    let (former, other) = (
        DedicatedServer::start().await,
        DedicatedServer::start().await,
    );
    let shared = pool(&former);
    Ledger::build(&pool(&other)).await;
    let app = deeds::app(pool(&other));
    let settings = Orders::to(String::new()).settings();
    let process = Process::new(Queue::new(shared.clone()), app, settings).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));
    until_count(&former, "select count(*) from queue.processes", 1).await;

    shared.set_connect_options(other.connect_options());
    let queue = Queue::new(pool(&other));
    queue.enqueue(Deed::Quick).await.unwrap();

    until_finished(&other, 1).await;
    stop.gracefully();
    running.await.unwrap();
}
