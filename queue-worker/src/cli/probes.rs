//! What a worker process answers on its port: `/up`, `/ready` and `/metrics`.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::Failure;
use super::telemetry::Metrics;
use crate::health::Health;

/// The media type of the text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens on a port of all addresses, and answers until the program ends.
pub(super) async fn serve(port: u16, health: Health, metrics: Metrics) -> Result<(), Failure> {
    let ready = move || async move {
        match health.problem(Instant::now()) {
            None => (StatusCode::OK, "ready\n".to_owned()),
            Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
        }
    };
    let text = async move || ([(header::CONTENT_TYPE, PROMETHEUS)], metrics.text()).into_response();
    let router = Router::new()
        .route("/up", get(async || "up\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(text));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    let listener = listener.with_context(|| format!("could not listen on port {port}"))?;
    let address = listener.local_addr().context("could not listen")?;
    tracing::info!(port = address.port(), "answers at /up, /ready and /metrics");
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}
