//! What a process measures, through the API of OpenTelemetry. The instruments do nothing unless the
//! application, or the command line, has set a meter provider before the process starts.

mod readings;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
use opentelemetry::{KeyValue, global};
use queue_core::metrics::{METER, by_kind, with_labels};
use queue_core::transitions::claim_limited::Parked;

use crate::spans::note_work;

pub(crate) use self::readings::{Reading, Readings};

/// The upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 13] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 10_800.0,
];

/// The upper bounds of the buckets of numbers of jobs.
const JOBS: [f64; 10] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 2_000.0];

struct Instruments {
    started: Counter<u64>,
    ended: Counter<u64>,
    crashed: Counter<u64>,
    lost: Counter<u64>,
    blocked: Counter<u64>,
    waited: Histogram<f64>,
    ran: Histogram<f64>,
    slots: UpDownCounter<i64>,
    slots_used: UpDownCounter<i64>,
    claimed: Histogram<u64>,
    claiming: Histogram<f64>,
    recorded: Histogram<u64>,
    recording: Histogram<f64>,
    heartbeats_missed: Counter<u64>,
    late: Histogram<f64>,
    polling: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter(METER);
    let count = |name, text| meter.u64_counter(name).with_description(text).build();
    let level = |name, text| {
        let counter = meter.i64_up_down_counter(name);
        counter.with_description(text).build()
    };
    Instruments {
        started: count("queue.jobs.started", "Runs of jobs that have begun"),
        ended: count(
            "queue.jobs.ended",
            "Runs that ended, by what the job is then: done, failed, retried, discarded, cancelled, \
             snoozed or released",
        ),
        crashed: count(
            "queue.jobs.crashed",
            "Jobs of dead processes that this process has recovered",
        ),
        lost: count(
            "queue.jobs.lost",
            "Outcomes ignored because the job belonged to another process by then",
        ),
        blocked: count(
            "queue.jobs.blocked",
            "Jobs for which a claim found no room in a limit",
        ),
        waited: seconds(
            &meter,
            "queue.job.wait",
            "How long jobs were ready before they ran",
        ),
        ran: seconds(&meter, "queue.job.run", "How long runs took"),
        slots: level("queue.slots", "Jobs that the process may run at once"),
        slots_used: level("queue.slots.used", "Slots in use"),
        claimed: jobs(&meter, "queue.claim.jobs", "Jobs that a claim found"),
        claiming: seconds(&meter, "queue.claim.duration", "How long claims took"),
        recorded: jobs(
            &meter,
            "queue.record.jobs",
            "Outcomes recorded by one write",
        ),
        recording: seconds(
            &meter,
            "queue.record.duration",
            "How long writes of outcomes took",
        ),
        heartbeats_missed: {
            let missed = count(
                "queue.heartbeats.missed",
                "Heartbeats that could not be written",
            );
            // An alert needs the zero before the first.
            missed.add(0, &[]);
            missed
        },
        late: seconds(
            &meter,
            "queue.recurring.late",
            "How long after their due times recurring jobs were enqueued",
        ),
        polling: meter
            .u64_gauge("queue.workers.polling")
            .with_description("Workers that poll because jobs come too fast for notifications")
            .build(),
    }
});

fn seconds(meter: &Meter, name: &'static str, text: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_description(text);
    let bounds = SECONDS.to_vec();
    histogram.with_unit("s").with_boundaries(bounds).build()
}

fn jobs(meter: &Meter, name: &'static str, text: &'static str) -> Histogram<u64> {
    let histogram = meter.u64_histogram(name).with_description(text);
    histogram.with_boundaries(JOBS.to_vec()).build()
}

/// Counts a run that begins.
pub(crate) fn note_start(queue: &str, kind: &str) {
    with_labels(queue, kind, |labels| INSTRUMENTS.started.add(1, labels));
}

/// Counts a run that ended, and measures it if it was a run of this process.
pub(crate) fn note_end(
    queue: &str,
    kind: &str,
    outcome: &'static str,
    times: Option<(Duration, Duration)>,
) {
    with_labels(queue, kind, |labels| {
        if let Some((waited, ran)) = times {
            INSTRUMENTS.waited.record(waited.as_secs_f64(), labels);
            INSTRUMENTS.ran.record(ran.as_secs_f64(), labels);
        }
        let [queue, kind] = labels.clone();
        let outcome = KeyValue::new("outcome", outcome);
        INSTRUMENTS.ended.add(1, &[queue, kind, outcome]);
    });
}

/// Counts an outcome that was ignored.
pub(crate) fn note_lost(queue: &str, kind: &str) {
    with_labels(queue, kind, |labels| INSTRUMENTS.lost.add(1, labels));
}

/// Counts a job of a dead process that was recovered.
pub(crate) fn note_crash(queue: &str, kind: &str) {
    with_labels(queue, kind, |labels| INSTRUMENTS.crashed.add(1, labels));
}

/// Measures a claim.
pub(crate) fn note_claim(jobs: usize, since: Instant) {
    INSTRUMENTS.claimed.record(jobs as u64, &[]);
    let took = since.elapsed().as_secs_f64();
    INSTRUMENTS.claiming.record(took, &[]);
    note_work("claim", jobs, since);
}

/// Counts the jobs that a claim has blocked.
pub(crate) fn note_blocked(parked: &[Parked]) {
    let blocked = parked.iter().filter(|job| job.decision == "blocked");
    let blocked = blocked.map(|job| (&*job.queue, &*job.kind));
    by_kind(blocked, |count, labels| {
        INSTRUMENTS.blocked.add(count, labels);
    });
}

/// Measures a write of outcomes.
pub(crate) fn note_record(outcomes: usize, since: Instant) {
    INSTRUMENTS.recorded.record(outcomes as u64, &[]);
    let took = since.elapsed().as_secs_f64();
    INSTRUMENTS.recording.record(took, &[]);
    note_work("record", outcomes, since);
}

/// Counts a heartbeat that could not be written.
pub(crate) fn note_missed_heartbeat() {
    INSTRUMENTS.heartbeats_missed.add(1, &[]);
}

/// Measures how late a recurring job was enqueued.
pub(crate) fn note_late(late: Duration) {
    INSTRUMENTS.late.record(late.as_secs_f64(), &[]);
}

/// Notes how many workers poll.
pub(crate) fn note_polling(workers: usize) {
    INSTRUMENTS.polling.record(workers as u64, &[]);
}

/// A part of a level, which sinks again when this is dropped.
#[derive(Debug)]
pub(crate) struct Share(i64, fn(&Instruments) -> &UpDownCounter<i64>);

impl Share {
    fn of(share: i64, level: fn(&Instruments) -> &UpDownCounter<i64>) -> Self {
        level(&INSTRUMENTS).add(share, &[]);
        Self(share, level)
    }

    /// The slots of a worker.
    pub(crate) fn slots(count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        Self::of(count, |instruments| &instruments.slots)
    }

    /// A slot in use.
    pub(crate) fn slot_used() -> Self {
        Self::of(1, |instruments| &instruments.slots_used)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        (self.1)(&INSTRUMENTS).add(-self.0, &[]);
    }
}
