//! Enqueues a file of jobs in the order of its lines, one chunk per transaction.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use indicatif::ProgressBar;
use queue_core::NewJob;
use serde_json::json;

use super::destination::Destination;
use super::line::{self, JobByName};
use crate::cli::output::{counted, say};
use crate::cli::{Exit, Failure, Global, progress};
use crate::config::Config;

/// The size of a chunk: as much as one COPY may take.
const CHUNK_JOBS: usize = 5_000;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn run(
    global: &Global,
    config: &Config,
    path: &Path,
    by_name: JobByName<'_>,
) -> Result<Exit, Failure> {
    let mut lines = Lines::open(path)?;
    let to = Destination::of(config).await?;
    let enqueued = enqueue_all(&to, &mut lines, by_name).await;
    lines.bar.finish_and_clear();
    let enqueued = enqueued?;
    say(format!("enqueued {}", counted(enqueued, "job", "jobs")));
    global.conclude(&json!({"enqueued": enqueued}))
}

async fn enqueue_all(
    to: &Destination,
    lines: &mut Lines,
    by_name: JobByName<'_>,
) -> Result<u64, Failure> {
    let mut enqueued = 0;
    loop {
        let first = lines.number + 1;
        let mut jobs = Vec::new();
        let read = lines.read(to, by_name, &mut jobs);
        let count = jobs.len() as u64;
        if let Err(error) = to.enqueue_all(jobs).await {
            lines.bar.finish_and_clear();
            say(format!(
                "{} before line {first} of {} enqueued, and none from that line on",
                counted(enqueued, "job was", "jobs were"),
                lines.name
            ));
            return Err(error);
        }
        enqueued += count;
        lines.bar.set_message(counted(enqueued, "job", "jobs"));
        match read {
            Ok(true) => {}
            Ok(false) => return Ok(enqueued),
            Err(message) => return Err(refused(lines, enqueued, &message)),
        }
    }
}

fn refused(lines: &Lines, enqueued: u64, message: &str) -> Failure {
    let Lines { name, number, .. } = lines;
    Failure::usage(format!(
        "line {number} of {name}: {message}\n\
         {} enqueued, from all lines before it; correct it and continue with line {number}",
        counted(enqueued, "job was", "jobs were")
    ))
}

/// The lines of a file, and the number of the last one that was read.
struct Lines {
    input: Box<dyn BufRead + Send>,
    name: String,
    number: u64,
    bar: ProgressBar,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Failure> {
        let mut lines = Self {
            input: Box::new(BufReader::new(io::stdin())),
            name: "the standard input".to_owned(),
            number: 0,
            bar: progress::spinner(),
        };
        if path != Path::new("-") {
            let name = path.display().to_string();
            let unreadable =
                |error: io::Error| Failure::usage(format!("could not read `{name}`: {error}"));
            let file = File::open(path).map_err(unreadable)?;
            let bytes = file.metadata().map_err(unreadable)?.len();
            lines.input = Box::new(BufReader::with_capacity(256 * 1024, file));
            (lines.name, lines.bar) = (name, progress::bytes(bytes));
        }
        Ok(lines)
    }

    /// Reads jobs until there are enough for one transaction. Skips empty lines, but counts them.
    /// Returns whether there may be more lines; the error is a message about the last line.
    fn read(
        &mut self,
        to: &Destination,
        by_name: JobByName<'_>,
        jobs: &mut Vec<NewJob>,
    ) -> Result<bool, String> {
        let mut text = Vec::new();
        let mut bytes = 0;
        while jobs.len() < CHUNK_JOBS && bytes < CHUNK_BYTES {
            text.clear();
            self.number += 1;
            let read = self.input.read_until(b'\n', &mut text);
            match read.map_err(|error| format!("could not read the line: {error}"))? {
                0 => return Ok(false),
                read => bytes += read,
            }
            self.bar.inc(text.len() as u64);
            if !text.trim_ascii().is_empty() {
                let job = line::read(text.trim_ascii(), by_name)?;
                to.check(&job)?;
                jobs.push(job);
            }
        }
        Ok(true)
    }
}
