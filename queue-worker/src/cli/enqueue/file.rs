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
    to: &Destination<'_>,
    lines: &mut Lines,
    by_name: JobByName<'_>,
) -> Result<u64, Failure> {
    let mut enqueued = 0;
    loop {
        let (mut numbers, mut jobs) = (Vec::new(), Vec::new());
        let read = lines.read(to, by_name, &mut numbers, &mut jobs);
        let count = jobs.len() as u64;
        if let Err((failure, of_these)) = to.enqueue_all(jobs).await {
            lines.bar.finish_and_clear();
            let missing = numbers
                .iter()
                .zip(&of_these)
                .filter(|(_, is_new)| !**is_new);
            let missing: Vec<u64> = missing.map(|(number, _)| *number).collect();
            enqueued += count - missing.len() as u64;
            say(not_enqueued(lines, enqueued, &missing));
            return Err(failure);
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

/// Says which lines were not enqueued, of those up to the last that was read, and that none behind it was.
fn not_enqueued(lines: &Lines, enqueued: u64, missing: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for number in missing {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => spans.push((*number, *number)),
        }
    }
    // The last span goes on to the end of the file.
    let last = spans.pop_if(|(_, last)| *last == lines.number);
    let from = last.map_or(lines.number + 1, |(first, _)| first);
    let spans = spans.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let enqueued = counted(enqueued, "job was", "jobs were");
    match Vec::from_iter(spans).join(", ") {
        spans if spans.is_empty() => format!(
            "{enqueued} enqueued, and none from line {from} of {} on",
            lines.name
        ),
        spans => format!(
            "{enqueued} enqueued, but not those of lines {spans} of {}, and none from line {from} on",
            lines.name
        ),
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
        to: &Destination<'_>,
        by_name: JobByName<'_>,
        numbers: &mut Vec<u64>,
        jobs: &mut Vec<NewJob>,
    ) -> Result<bool, String> {
        let mut text = Vec::new();
        let mut bytes = 0;
        while jobs.len() < CHUNK_JOBS && bytes < CHUNK_BYTES {
            text.clear();
            self.number += 1;
            let read = self.input.read_until(b'\n', &mut text);
            match read.map_err(|error| format!("could not read the line: {error}"))? {
                0 => {
                    self.number -= 1;
                    return Ok(false);
                }
                read => bytes += read,
            }
            self.bar.inc(text.len() as u64);
            if !text.trim_ascii().is_empty() {
                let job = line::read(text.trim_ascii(), by_name)?;
                to.check(&job)?;
                numbers.push(self.number);
                jobs.push(job);
            }
        }
        Ok(true)
    }
}
