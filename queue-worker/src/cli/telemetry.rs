//! What a command exports about itself: metrics for Prometheus.

use anyhow::Context as _;
use opentelemetry::global;
use opentelemetry_prometheus::exporter;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

use super::Failure;

/// The most sets of labels of one metric: a thousand pairs of a queue and a kind, by what became of the job.
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
        let provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_view(|_: &Instrument| {
                let stream = Stream::builder().with_cardinality_limit(SETS_MAX);
                stream.build().ok()
            })
            .build();
        global::set_meter_provider(provider);
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
