//! The options: what to measure, where, and how long.

use clap::{Parser, ValueEnum};

/// Compares the queue with the least SQL that could do its work.
#[derive(Debug, Parser)]
#[command(name = "queue-benches", version)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum)]
    pub(crate) measure: Measure,

    /// For `compare`, the commit to compare with.
    pub(crate) with: Option<String>,

    /// The server to measure on, in a temporary database. By default a durable server is started.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,

    /// Jobs per round.
    #[arg(long, default_value_t = 300_000)]
    pub(crate) jobs: usize,

    /// Jobs that the worker runs at once.
    #[arg(long, default_value_t = 200)]
    pub(crate) concurrency: usize,

    /// Rounds in which both sides are measured in turns; the figures are medians over them.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,

    /// Jobs in the long backlog.
    #[arg(long, default_value_t = 5_000_000)]
    pub(crate) backlog: usize,

    /// Jobs that are due at the same second.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) due: usize,

    /// Count the statements and round trips of a sample.
    #[arg(long, hide = true)]
    pub(crate) counted: bool,

    /// Print one JSON object per line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// Everything.
    All,
    /// The limit alone.
    Limit,
    /// Running jobs that do nothing.
    Drain,
    /// Enqueueing in bulk, and one at a time.
    Enqueue,
    /// The time from enqueueing a job to its start by an idle worker.
    Latency,
    /// Running jobs while others enqueue them one by one.
    Live,
    /// The time from a job's commit to its start, when its transaction stayed open for a while.
    Late,
    /// Running jobs far from the database.
    Trips,
    /// Draining from a long backlog.
    Backlog,
    /// Draining and promoting while an old snapshot is held open.
    Horizon,
    /// Limits per key: draining, enqueueing, one hot key, and a million jobs waiting for one.
    Keys,
    /// The steps of a thousand jobs, a step alone, and an event that wakes many jobs.
    Steps,
    /// The jobs of one batch, and the same jobs without a batch.
    Batches,
    /// Fair queues: draining the jobs of some tenants, and ten jobs beside 100,000 of another tenant.
    Tenants,
    /// The memory and the processor time of an idle process.
    Memory,
    /// The transactions, connections and processor time of fifty idle processes.
    Idle,
    /// How long the pages of the dashboard take, and how large they are, with a million and a half jobs.
    Pages,
    /// How one server grows with processes, connections and queues.
    Scaling,
    /// The cost of the choice of a shard, and two servers drained as shards.
    Shards,
    /// What ten viewers of the Overview cost while a backlog is drained.
    Viewers,
    /// The working tree compared with another commit.
    Compare,
    /// The process whose memory is measured.
    #[value(hide = true)]
    IdleWorker,
    /// One sample of a comparison.
    #[value(hide = true)]
    Sample,
}

impl Options {
    pub(crate) fn measures(&self) -> Vec<Measure> {
        match self.measure {
            Measure::All => vec![
                Measure::Limit,
                Measure::Enqueue,
                Measure::Drain,
                Measure::Latency,
                Measure::Live,
                Measure::Late,
                Measure::Trips,
                Measure::Horizon,
                Measure::Backlog,
                Measure::Keys,
                Measure::Steps,
                Measure::Batches,
                Measure::Tenants,
                Measure::Memory,
                Measure::Idle,
                Measure::Pages,
                Measure::Viewers,
                Measure::Scaling,
                Measure::Shards,
            ],
            one => vec![one],
        }
    }
}
