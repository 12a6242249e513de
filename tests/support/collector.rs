//! A collector of OpenTelemetry, which decodes what programs send to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// What was received. Cheap to clone.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    metrics: Vec<String>,
}

impl Collector {
    /// Starts to listen, and returns the address for `OTEL_EXPORTER_OTLP_ENDPOINT` too.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> (Self, String) {
        let collector = Self::default();
        let router = Router::new()
            .route("/v1/traces", post(take_spans))
            .route("/v1/metrics", post(take_metrics))
            .with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        tokio::spawn(axum::serve(listener, router).into_future());
        (collector, format!("http://{address}"))
    }

    /// Returns the spans with a name.
    #[must_use]
    pub fn spans(&self, name: &str) -> Vec<Span> {
        let received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = received.spans.iter().filter(|span| span.name == name);
        spans.cloned().collect()
    }

    /// Returns the names of the metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        received.metrics.clone()
    }

    fn note(&self, note: impl FnOnce(&mut Received)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Returns the attributes of a span as texts.
#[must_use]
pub fn attributes(span: &Span) -> HashMap<&str, String> {
    let pairs = span.attributes.iter().filter_map(|pair| {
        let text = match pair.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        Some((pair.key.as_str(), text))
    });
    pairs.collect()
}

async fn take_spans(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("spans should be readable");
    let resources = request.resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    collector.note(|received| received.spans.extend(spans));
}

async fn take_metrics(State(collector): State<Collector>, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body).expect("metrics should be readable");
    let resources = request.resource_metrics.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_metrics);
    let names = scopes.flat_map(|scope| scope.metrics);
    let names = names.map(|metric| metric.name);
    collector.note(|received| received.metrics.extend(names));
}
