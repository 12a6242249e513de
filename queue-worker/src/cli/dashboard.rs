//! `queue dashboard`: serves the pages that show jobs and change them.

use std::io::{IsTerminal, stdin};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use queue_core::Queue;
use queue_core::inspect::begin_read;
use queue_dashboard::{Dashboard, PATH, hash_password};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::Instrument as _;

use super::output::{print, say};
use super::telemetry::Metrics;
use super::{Database, Exit, Failure, Global, across};
use crate::app::{App, State};
use crate::connection::logged;
use crate::metrics::{Reading, Readings};
use crate::spans::of_shard;
use crate::stop::{Stop, stop_on_signals};

const HELP: &str = "\
Examples:
  export QUEUE_DASHBOARD_USER=mira
  export QUEUE_DASHBOARD_PASSWORD=$(queue dashboard hash)
  queue dashboard                              at http://127.0.0.1:8080/ops/jobs
  queue dashboard --listen 0.0.0.0:8080        for others; put a proxy with TLS in front

Environment: QUEUE_DASHBOARD_USER and QUEUE_DASHBOARD_PASSWORD (plain, or an argon2 hash) open it;
without them every page is closed. QUEUE_DASHBOARD_ROLE is the role of that user (viewer, operator
or admin), QUEUE_DASHBOARD_READ_ONLY=true makes it read-only, QUEUE_DASHBOARD_PLACE is a label for
all pages, such as `production`, QUEUE_DASHBOARD_TRUSTED_PROXIES names proxies
whose X-Forwarded-For counts, QUEUE_DASHBOARD_PROXY_PREFIX is the path that a proxy removes,
QUEUE_DASHBOARD_TOKEN lets programs read that send it as a bearer token, and QUEUE_DASHBOARD_SECRET
signs forms, instead of a key that is kept in the database.

/up and /ready answer everybody with a status and a word, for load balancers. /metrics answers those
who may read, in the format of Prometheus.";

/// How long counting the jobs of queues may take.
const READ_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Args)]
#[command(after_help = HELP)]
pub(super) struct Command {
    #[command(subcommand)]
    command: Option<Sub>,
    /// The address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[derive(Clone, Subcommand)]
enum Sub {
    /// Reads a password from the standard input, and prints its argon2 hash
    Hash,
}

impl Command {
    pub(super) async fn run<S: State>(
        self,
        global: &Global,
        app: &App<S>,
    ) -> Result<Exit, Failure> {
        match self.command {
            Some(Sub::Hash) => hash(),
            None => serve(global, app, self.listen).await,
        }
    }
}

fn hash() -> Result<Exit, Failure> {
    if stdin().is_terminal() {
        say("Type the password, which is shown, and press Enter:");
    }
    let mut password = String::new();
    let read = stdin().read_line(&mut password);
    read.context("could not read the password")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::usage("there is no password on the standard input"));
    }
    print(hash_password(password).map_err(Failure::usage)?)?;
    Ok(Exit::Fine)
}

async fn serve<S: State>(
    global: &Global,
    app: &App<S>,
    listen: SocketAddr,
) -> Result<Exit, Failure> {
    let config = global.load_all()?;
    let (shards, used) = across::used(&config, Database::queue_of_dashboard).await?;
    let stop = Stop::new();
    let dashboard = match &shards {
        Some(shards) => Dashboard::of_shards(shards).only(&config.used_shards()),
        None => Dashboard::new(used[0].1.clone()),
    };
    let dashboard = dashboard.with_environment().map_err(Failure::usage)?;
    let is_open = dashboard.is_open();
    let metrics = Metrics::install()?;
    let dead_after = config.settings.process.dead_after;
    for (shard, queue) in used {
        let readings = Readings::new(queue.pool(), shard);
        let reading = read_for_metrics(queue, dead_after, readings);
        tokio::spawn(reading.instrument(of_shard(shard)));
    }
    let router = dashboard
        .metrics(move || metrics.text())
        .redaction(config.settings.redact.redaction())
        .dead_after(dead_after)
        .kinds(app.known_kinds())
        .time_zone(config.settings.scheduler.time_zone)
        .closing(asked(stop.clone()))
        .alone();
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("could not listen on {listen}"))?;
    let address = listener.local_addr().context("could not listen")?;
    print(format!("http://{address}{PATH}"))?;
    if !is_open {
        say(
            "the dashboard is closed: set QUEUE_DASHBOARD_USER and QUEUE_DASHBOARD_PASSWORD, and \
             start it again",
        );
    }
    tokio::spawn(stop_on_signals(stop.clone()));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(asked(stop.clone()));
    tokio::select! {
        served = serving => served.context("could not serve the dashboard")?,
        () = stop.asked_at_once() => {}
    }
    Ok(Exit::Fine)
}

/// Reads the tables for the metrics.
async fn read_for_metrics(queue: Queue, dead_after: Duration, readings: Readings) {
    loop {
        readings.wanted().await;
        let began = Instant::now();
        let read = async {
            let mut tx = begin_read(queue.pool(), READ_MAX).await?;
            Reading::of(&mut tx, queue.schema(), dead_after).await
        };
        match read.await {
            Ok(reading) => readings.keep(reading, began),
            Err(error) => {
                tracing::warn!(error = %logged(&error), "could not read the tables for the metrics");
                sleep(READ_MAX).await;
            }
        }
    }
}

async fn asked(stop: Stop) {
    stop.asked().await;
}
