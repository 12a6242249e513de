//! What the metrics show of the tables and of the pool. The tables are read in the background while somebody
//! reads the metrics, however often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, global};
use queue_core::Schema;
use queue_core::inspect::doctor::{CHECKS, Finding, examine};
use queue_core::inspect::queues::{self, QueueSummary};
use queue_core::metrics::METER;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::rest::rest_after;

/// How often the tables are read at most.
const READ_EVERY: Duration = Duration::from_secs(10);

/// For how long they are read after somebody has asked, and for how long they are shown.
const KNOWN_FOR: Duration = Duration::from_secs(180);

/// The most queues that are shown.
const QUEUES_MAX: usize = 1_000;

/// How many jobs each queue has, for how long its oldest ready one waits, and what the doctor finds.
#[derive(Clone, Default)]
pub(crate) struct Reading {
    queues: Vec<QueueSummary>,
    findings: Vec<Finding>,
}

impl Reading {
    /// Reads the tables.
    pub(crate) async fn of(
        conn: &mut PgConnection,
        schema: &Schema,
        dead_after: Duration,
    ) -> Result<Self, sqlx::Error> {
        let mut queues = queues::list(conn, schema).await?;
        queues.truncate(QUEUES_MAX);
        let findings = examine(conn, schema, dead_after).await?;
        Ok(Self { queues, findings })
    }
}

/// The last reading, and whether somebody wants another.
#[derive(Clone, Default)]
pub(crate) struct Readings {
    /// The label that all have, if there are several shards.
    shard: Vec<KeyValue>,
    kept: Arc<Mutex<Kept>>,
    asked: Arc<Notify>,
}

#[derive(Default)]
struct Kept {
    last: Option<(Instant, Reading)>,
    read_next: Option<Instant>,
    asked_at: Option<Instant>,
}

impl Readings {
    /// Makes the instruments that show the last reading, and the connections of a pool: for a queue, or for one of
    /// several shards.
    pub(crate) fn new(pool: &PgPool, shard: Option<&str>) -> Self {
        let shard = shard.map(|shard| KeyValue::new("shard", shard.to_owned()));
        let readings = Self {
            shard: shard.into_iter().collect(),
            ..Self::default()
        };
        let meter = global::meter(METER);
        readings.show_depth(&meter);
        readings.show_latency(&meter);
        readings.show_findings(&meter);
        readings.show_pool(&meter, pool.clone());
        readings
    }

    fn show_depth(&self, meter: &Meter) {
        let readings = self.clone();
        let gauge = meter.i64_observable_gauge("queue.depth");
        let gauge = gauge.with_description("Jobs of a queue by state, as of some seconds ago");
        let gauge = gauge.with_callback(move |gauge| {
            for queue in readings.ask().queues {
                let states = [
                    ("ready", queue.ready),
                    ("scheduled", queue.scheduled),
                    ("blocked", queue.blocked),
                    ("running", queue.running),
                    ("failed", queue.failed),
                ];
                for (state, jobs) in states {
                    let name = KeyValue::new("queue", queue.name.clone());
                    let labels = readings.labels([name, KeyValue::new("state", state)]);
                    gauge.observe(jobs, &labels);
                }
            }
        });
        gauge.build();
    }

    fn show_latency(&self, meter: &Meter) {
        let readings = self.clone();
        let gauge = meter.f64_observable_gauge("queue.latency").with_unit("s");
        let text = "How long the oldest ready job of a queue has been ready, or 0";
        let gauge = gauge.with_description(text).with_callback(move |gauge| {
            for queue in readings.ask().queues {
                let latency = queue.latency_seconds.unwrap_or_default();
                let labels = readings.labels([KeyValue::new("queue", queue.name)]);
                gauge.observe(latency, &labels);
            }
        });
        gauge.build();
    }

    fn show_findings(&self, meter: &Meter) {
        let readings = self.clone();
        let gauge = meter.u64_observable_gauge("queue.findings");
        let text = "What `queue doctor` finds, by check";
        let gauge = gauge.with_description(text).with_callback(move |gauge| {
            let Some(Reading { findings, .. }) = readings.ask_if_known() else {
                return;
            };
            for check in CHECKS {
                let count = findings.iter().filter(|found| found.check == check).count();
                let labels = readings.labels([KeyValue::new("check", check)]);
                gauge.observe(count as u64, &labels);
            }
        });
        gauge.build();
    }

    fn show_pool(&self, meter: &Meter, pool: PgPool) {
        let readings = self.clone();
        let gauge = meter.u64_observable_gauge("queue.pool.connections");
        let text = "Connections of the pool with which jobs are enqueued";
        let gauge = gauge.with_description(text).with_callback(move |gauge| {
            let (all, idle) = (u64::from(pool.size()), pool.num_idle() as u64);
            for (state, count) in [("idle", idle), ("used", all.saturating_sub(idle))] {
                let labels = readings.labels([KeyValue::new("state", state)]);
                gauge.observe(count, &labels);
            }
        });
        gauge.build();
    }

    fn labels<const N: usize>(&self, own: [KeyValue; N]) -> Vec<KeyValue> {
        own.into_iter().chain(self.shard.iter().cloned()).collect()
    }

    /// Returns what was read last, and lets it be read again.
    fn ask(&self) -> Reading {
        self.ask_if_known().unwrap_or_default()
    }

    fn ask_if_known(&self) -> Option<Reading> {
        let mut kept = self.kept();
        kept.asked_at = Some(Instant::now());
        self.asked.notify_one();
        let (_, reading) = kept
            .last
            .as_ref()
            .filter(|(at, _)| at.elapsed() < KNOWN_FOR)?;
        Some(reading.clone())
    }

    /// Waits until somebody has asked and the tables should be read again.
    pub(crate) async fn wanted(&self) {
        let read_next = self.kept().read_next;
        if let Some(at) = read_next {
            sleep_until(at.into()).await;
        }
        while !self.is_asked() {
            self.asked.notified().await;
        }
    }

    /// Keeps what was read.
    pub(crate) fn keep(&self, reading: Reading, began: Instant) {
        let mut kept = self.kept();
        let now = Instant::now();
        kept.last = Some((now, reading));
        kept.read_next = Some(now + rest_after(now - began).max(READ_EVERY));
    }

    fn is_asked(&self) -> bool {
        let asked_at = self.kept().asked_at;
        asked_at.is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
