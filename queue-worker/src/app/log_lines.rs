//! The log lines of a run, kept to be shown with its job.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

/// The most lines of a run that are kept, and the most bytes of one: the last lines.
#[cfg_attr(not(feature = "log-lines"), expect(dead_code))]
const LINES_MAX: usize = 200;
#[cfg_attr(not(feature = "log-lines"), expect(dead_code))]
const LINE_BYTES_MAX: usize = 500;

tokio::task_local! {
    /// The lines of the run that this task works for.
    static LINES: Arc<Lines>;
}

/// The last lines of one run.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    dropped: usize,
}

impl Lines {
    /// Returns the lines as JSON, if there are any.
    pub(crate) fn written(&self) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.lines.is_empty() {
            return None;
        }
        Some(json!({"dropped": kept.dropped, "lines": kept.lines}).to_string())
    }

    #[cfg(feature = "log-lines")]
    fn add(&self, mut line: String) {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
            kept.dropped += 1;
        }
        kept.lines.push_back(line);
    }
}

/// Polls work whose lines are kept.
pub(crate) async fn keep<T>(lines: Arc<Lines>, work: impl Future<Output = T>) -> T {
    LINES.scope(lines, work).await
}

/// Returns work on another thread that belongs to the same run.
pub(crate) fn on_another_thread<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let lines = LINES.try_with(Arc::clone);
    move || match lines {
        Ok(lines) => LINES.sync_scope(lines, work),
        Err(_not_kept) => work(),
    }
}

#[cfg(feature = "log-lines")]
mod layer {
    use std::fmt::{Debug, Write as _};

    use tracing::field::{Field, Visit};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Context;

    use super::LINES;

    /// A layer for `tracing` that keeps what runs of jobs log, for the kinds and processes that ask for it
    /// (`Perform::keeps_log`, `process.keep_logs`). The command line has it already. It sees what a run logs
    /// on its own task and thread, at the level `INFO` or above.
    ///
    /// ```
    /// use tracing_subscriber::layer::SubscriberExt as _;
    ///
    /// let log = tracing_subscriber::fmt().finish().with(queue_worker::LogLines);
    /// # drop(log);
    /// ```
    #[derive(Clone, Copy, Debug, Default)]
    pub struct LogLines;

    impl<S: Subscriber> Layer<S> for LogLines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if *event.metadata().level() > tracing::Level::INFO {
                return;
            }
            let _not_kept = LINES.try_with(|lines| lines.add(line(event)));
        }
    }

    /// Writes an event as one line: its time, level, target, message and fields.
    fn line(event: &Event<'_>) -> String {
        let now = chrono::Utc::now().format("%FT%T%.3fZ");
        let metadata = event.metadata();
        let mut words = Words {
            message: String::new(),
            fields: String::new(),
        };
        event.record(&mut words);
        let Words { message, fields } = words;
        format!(
            "{now} {} {}: {message}{fields}",
            metadata.level(),
            metadata.target()
        )
    }

    struct Words {
        message: String,
        fields: String,
    }

    impl Visit for Words {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _never_fails = match field.name() {
                "message" => write!(self.message, "{value:?}"),
                name => write!(self.fields, " {name}={value:?}"),
            };
        }
    }
}

#[cfg(feature = "log-lines")]
pub use layer::LogLines;

#[cfg(all(test, feature = "log-lines"))]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_long_ones_are_cut() {
        let lines = Lines::default();
        for number in 0..LINES_MAX + 3 {
            lines.add(format!("{number} {}", "é".repeat(LINE_BYTES_MAX)));
        }
        let kept = lines.0.lock().unwrap();
        assert_eq!((kept.lines.len(), kept.dropped), (LINES_MAX, 3));
        assert!(kept.lines[0].starts_with("3 é"));
        assert!(kept.lines[0].len() <= LINE_BYTES_MAX);
    }
}
