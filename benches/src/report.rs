//! The report: one line of JSON per measure as soon as it is known, or a table at the end.

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::rate::Rate;
use crate::rounds::median;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) measure: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jobs_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit_jobs_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// What `ratio` is relative to, if not the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_of: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wal_bytes_per_job: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_kib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_percent: Option<f64>,
    /// Of the server and the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_per_job: Option<f64>,
    /// Of the server alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_us_per_job: Option<f64>,
    /// Of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transactions_per_second: Option<f64>,
    /// The most of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<i64>,
    /// The size of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<usize>,
}

pub(crate) struct Report {
    json: bool,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            lines: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, line: Line) {
        let line = line.rounded();
        if self.json {
            let json = serde_json::to_string(&line).expect("a line of text and numbers is JSON");
            println!("{json}");
        } else {
            eprintln!("{} …", line.measure);
        }
        self.lines.push(line);
    }

    pub(crate) fn finish(&self) {
        if !self.json && !self.lines.is_empty() {
            println!("{}", table(&self.lines));
        }
    }
}

impl Line {
    /// Sums up rounds of the queue and of the limit.
    pub(crate) fn against_limit(measure: String, rounds: &[(Rate, Rate)]) -> Self {
        let speed = |rate: &Rate| rate.jobs_per_second;
        let of = |figure: &dyn Fn(&(Rate, Rate)) -> f64| Some(median(rounds.iter().map(figure)));
        Self {
            measure,
            jobs_per_second: of(&|(ours, _)| speed(ours)),
            limit_jobs_per_second: of(&|(_, limit)| speed(limit)),
            ratio: of(&|(ours, limit)| speed(ours) / speed(limit)),
            wal_bytes_per_job: of(&|(ours, _)| ours.wal_bytes_per_job),
            ..Self::default()
        }
    }

    fn rounded(mut self) -> Self {
        round(&mut self.jobs_per_second, 0);
        round(&mut self.limit_jobs_per_second, 0);
        round(&mut self.ratio, 3);
        round(&mut self.wal_bytes_per_job, 0);
        round(&mut self.p50_ms, 2);
        round(&mut self.p95_ms, 2);
        round(&mut self.p99_ms, 2);
        round(&mut self.max_ms, 2);
        round(&mut self.cpu_percent, 2);
        round(&mut self.cpu_us_per_job, 2);
        round(&mut self.server_us_per_job, 2);
        round(&mut self.transactions_per_second, 2);
        self
    }
}

fn round(figure: &mut Option<f64>, places: i32) {
    let unit = 10f64.powi(places);
    *figure = figure.map(|figure| (figure * unit).round() / unit);
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "measure",
        "jobs/s",
        "limit jobs/s",
        "ratio",
        "WAL B/job",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "longest ms",
        "KiB",
        "CPU %",
        "CPU µs/job",
        "of the server",
        "transactions/s",
        "connections",
        "bytes",
    ]);
    for line in lines {
        table.add_row([
            line.measure.clone(),
            cell(line.jobs_per_second),
            cell(line.limit_jobs_per_second),
            cell(line.ratio),
            cell(line.wal_bytes_per_job),
            cell(line.p50_ms),
            cell(line.p95_ms),
            cell(line.p99_ms),
            cell(line.max_ms),
            cell(line.memory_kib),
            cell(line.cpu_percent),
            cell(line.cpu_us_per_job),
            cell(line.server_us_per_job),
            cell(line.transactions_per_second),
            cell(line.connections),
            cell(line.bytes),
        ]);
    }
    table
}

fn cell(figure: Option<impl ToString>) -> String {
    figure.map_or_else(String::new, |figure| figure.to_string())
}
