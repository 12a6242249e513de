//! What a command exports about itself: metrics for Prometheus, and metrics and spans by OTLP, if the
//! environment names a collector.

use std::env;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use opentelemetry::global;
use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_prometheus::exporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Registry, TextEncoder};
use reqwest::blocking::Client;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Failure;
use super::output::program_name;

/// The variables that name a collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const ENDPOINT_OF_SPANS: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT_OF_METRICS: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";

/// How long the collector may take to answer, and to take what is left when the program ends.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

static METERS: OnceLock<SdkMeterProvider> = OnceLock::new();
static TRACERS: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The most sets of labels of one metric: a thousand pairs of a queue and a kind, for each outcome.
const SETS_MAX: usize = 8_000;

/// The metrics of this program.
#[derive(Clone)]
pub(super) struct Metrics(Registry);

impl Metrics {
    /// Sets the meter provider of this program. The instruments that are made after that are exported.
    pub(super) fn install() -> Result<Self, Failure> {
        let registry = Registry::new();
        let reader = exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .context("could not set up the metrics")?;
        let mut provider = SdkMeterProvider::builder()
            .with_resource(resource())
            .with_reader(reader)
            .with_view(|_: &Instrument| {
                let stream = Stream::builder().with_cardinality_limit(SETS_MAX);
                stream.build().ok()
            });
        if has_collector() {
            let exporter = MetricExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_http_client(client()?)
                .build()
                .map_err(|_| invalid("metrics"))?;
            provider = provider.with_periodic_exporter(exporter);
        }
        let provider = provider.build();
        global::set_meter_provider(provider.clone());
        let _is_first = METERS.set(provider);
        Ok(Self(registry))
    }

    /// Returns all metrics in the text format of Prometheus.
    pub(super) fn text(&self) -> String {
        let families = self.0.gather();
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| format!("# could not write the metrics: {error}\n"))
    }
}

/// Sets the tracer provider of this program, and returns it, if the environment names a collector.
pub(super) fn install_tracers() -> Result<Option<SdkTracerProvider>, Failure> {
    if !is_set(ENDPOINT) && !is_set(ENDPOINT_OF_SPANS) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(client()?)
        .build()
        .map_err(|_| invalid("spans"))?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(exporter)
        .build();
    global::set_tracer_provider(provider.clone());
    let _is_first = TRACERS.set(provider.clone());
    Ok(Some(provider))
}

/// Exports what is left.
pub(super) async fn finish() {
    let spans = spawn_blocking(|| TRACERS.get().map(SdkTracerProvider::shutdown));
    let metrics = spawn_blocking(|| METERS.get().map(SdkMeterProvider::shutdown));
    let finishing = async { tokio::join!(spans, metrics) };
    if timeout(ANSWER_TIMEOUT, finishing).await.is_err() {
        tracing::warn!("the collector of {ENDPOINT} did not take the last spans and metrics");
    }
}

/// Returns whether the environment names a collector of metrics.
pub(super) fn has_collector() -> bool {
    is_set(ENDPOINT) || is_set(ENDPOINT_OF_METRICS)
}

/// Names the variables, and not the error, which repeats a URL that may have a password.
fn invalid(exported: &str) -> Failure {
    Failure::usage(format!(
        "could not set up the export of {exported}: {ENDPOINT} or another variable OTEL_EXPORTER_OTLP_… is invalid"
    ))
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Names the program, unless the environment does.
fn resource() -> Resource {
    let resource = Resource::builder();
    match is_set("OTEL_SERVICE_NAME") || is_set("OTEL_RESOURCE_ATTRIBUTES") {
        true => resource.build(),
        false => resource.with_service_name(program_name()).build(),
    }
}

/// Makes the client of the exporters, which have threads of their own.
fn client() -> Result<Client, Failure> {
    // Has no effect if the program uses another provider.
    _ = rustls::crypto::ring::default_provider().install_default();
    let building = thread::spawn(|| Client::builder().timeout(ANSWER_TIMEOUT).build());
    let built = building.join().map_err(|_| anyhow!("the client failed"))?;
    Ok(built.context("could not set up HTTP for the collector")?)
}
