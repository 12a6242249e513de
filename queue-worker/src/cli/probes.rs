//! What a worker process answers on its port: `/up`, `/ready` and `/metrics`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::Failure;
use super::telemetry::Metrics;
use crate::health::HealthOfShards;

/// The media type of the text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most connections at once, and how long one may be silent. Without these bounds a client could use up the files
/// that the process may have open, and with them its connections to the database.
const CONNECTIONS_MAX: usize = 64;
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The pause after a connection that could not be accepted, as when too many files are open.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens on a port of all addresses, and answers until the program ends.
pub(super) async fn serve(
    port: u16,
    health: HealthOfShards,
    metrics: Metrics,
) -> Result<(), Failure> {
    let ready = move || async move {
        let (is_ready, problems) = health.problems(Instant::now());
        let problems: String = problems
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect();
        match is_ready {
            true => (StatusCode::OK, format!("ready\n{problems}")),
            false => (StatusCode::SERVICE_UNAVAILABLE, problems),
        }
    };
    let text = async move || ([(header::CONTENT_TYPE, PROMETHEUS)], metrics.text()).into_response();
    let router = Router::new()
        .route("/up", get(async || "up\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(text));
    let listener = listen(port).await;
    let listener = listener.with_context(|| format!("could not listen on port {port}"))?;
    let address = listener.local_addr().context("could not listen")?;
    tracing::info!(port = address.port(), "answers at /up, /ready and /metrics");
    tokio::spawn(answer(listener, router));
    Ok(())
}

/// Listens on the addresses of IPv6, and so of IPv4 too, or on those of IPv4 alone if there are no others.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

async fn answer(listener: TcpListener, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let serving = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _closed_or_silent = serving.await;
            drop(place);
        });
    }
}
