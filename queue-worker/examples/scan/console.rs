//! Output for people: all of it goes to standard error, above the progress bar if there is one.
//! Standard output is for the paths of manifests.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use queue_worker::inspect::BatchSummary;

/// How often a progress line is printed where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

const BAR: &str = "{bar:30} {human_pos} of {human_len} files{msg}";

/// Standard error, shared with the progress bar. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Console {
    bars: MultiProgress,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
        }
    }

    /// Prints a line.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        // A closed pipe is no reason to stop.
        self.bars.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }

    /// Logs warnings and errors of the queue, or what `QUEUE_LOG` names. How each job ended is left
    /// out: its run reports that.
    pub(crate) fn start_log(&self) {
        let wanted = std::env::var("QUEUE_LOG").unwrap_or_default();
        let wanted = if wanted.is_empty() {
            "warn,queue_worker::completer::write=off"
        } else {
            &wanted
        };
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(wanted))
            .with_writer(self.clone())
            .with_ansi(false)
            .init();
    }

    /// Shows a progress bar.
    pub(crate) fn progress(&self) -> Progress {
        let style = ProgressStyle::with_template(BAR)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = self.bars.add(ProgressBar::no_length().with_style(style));
        Progress {
            console: self.clone(),
            bar,
            said: Instant::now(),
        }
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A progress bar on a terminal, elsewhere a line now and then.
pub(crate) struct Progress {
    console: Console,
    bar: ProgressBar,
    said: Instant,
}

impl Progress {
    /// Shows how many files of a run have ended.
    pub(crate) fn show(&mut self, batch: &BatchSummary) {
        let files = batch.jobs.unsigned_abs();
        let done = (batch.jobs - batch.pending).unsigned_abs();
        self.bar.set_length(files);
        self.bar.set_position(done);
        let failed = match batch.failed.unsigned_abs() {
            0 => String::new(),
            number => format!(", {} failed", HumanCount(number)),
        };
        self.bar.set_message(failed.clone());
        if self.bar.is_hidden() && self.said.elapsed() >= LINE_INTERVAL {
            self.said = Instant::now();
            let (done, files) = (HumanCount(done), HumanCount(files));
            self.console
                .say(format!("  {done} of {files} files{failed}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
