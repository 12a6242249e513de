//! How far a job is: its finished steps, its cursors, its output, and what its runs have logged.

use chrono::{DateTime, Utc};
use queue_core::inspect::{CursorDetails, Done, JobDetails, RunLog, StepDetails};

use crate::html::{Html, exact, icon_of_class, json, pictured, progress, user};
use crate::words::{bytes, counted, grouped};

/// The most letters of a cursor's place.
const PLACE: usize = 200;

pub(super) struct Progress {
    /// How much of the work is done: a bar, and the same in words.
    pub(super) done: Option<(Html, String)>,
    pub(super) rows: Vec<Row>,
    /// Says how many finished steps are not among the rows.
    pub(super) earlier: Option<String>,
    pub(super) output: Option<Html>,
    pub(super) logs: Vec<Log>,
}

/// A finished step, or a cursor.
pub(super) struct Row {
    pub(super) icon: Html,
    pub(super) name: Html,
    pub(super) said: Html,
    pub(super) at: Html,
}

/// What one run has logged.
pub(super) struct Log {
    pub(super) of: String,
    pub(super) lines: String,
}

impl Progress {
    /// Describes how far a job is. Places and outputs are for those who see arguments.
    pub(super) fn of(job: &JobDetails, sees_args: bool, now: DateTime<Utc>) -> Self {
        let found = &job.progress;
        let steps = found.steps.iter().map(|step| Row::step(step, now));
        let cursors = found.cursors.iter();
        let cursors = cursors.map(|cursor| Row::cursor(cursor, sees_args, now));
        let output = found.output.as_deref().filter(|_| sees_args);
        Self {
            done: found.done.as_ref().map(done),
            rows: steps.chain(cursors).collect(),
            earlier: earlier(found.earlier_steps),
            output: output.map(json),
            logs: found.logs.iter().map(Log::new).collect(),
        }
    }
}

fn earlier(steps: u64) -> Option<String> {
    let counted = counted(steps, "earlier step is", "earlier steps are");
    (steps > 0).then(|| format!("{counted} not listed"))
}

fn done(Done { done, of }: &Done) -> (Html, String) {
    let words = format!("{} of {} done", grouped(*done), grouped(*of));
    let [part, whole] = [done, of].map(|count| i64::try_from(*count).unwrap_or(i64::MAX));
    (progress(&[("done-part", part)], whole, &words), words)
}

impl Row {
    fn step(step: &StepDetails, now: DateTime<Utc>) -> Self {
        let name = user(&step.name);
        Self {
            icon: icon_of_class("finished", "ink-finished"),
            name: match step.occurrence {
                1 => name,
                number => name.text(format!(" ({number})")),
            },
            said: Html::new().text(format!(
                "a result of {}",
                bytes(step.result_bytes.unsigned_abs() as usize)
            )),
            at: exact(step.finished_at, now),
        }
    }

    fn cursor(cursor: &CursorDetails, sees_args: bool, now: DateTime<Utc>) -> Self {
        let place: String = cursor.place.get().chars().take(PLACE).collect();
        let said = Html::new().text("cursor");
        Self {
            icon: icon_of_class("running", "ink-running"),
            name: user(&cursor.name),
            said: match sees_args {
                true => said.text(" at ").user(&place),
                false => said,
            },
            at: exact(cursor.set_at, now),
        }
    }
}

impl Log {
    fn new(log: &RunLog) -> Self {
        let of = format!("attempt {}", log.attempt);
        Self {
            of: match log.dropped {
                0 => of,
                dropped => format!("{of}, without the first {} lines", grouped(dropped)),
            },
            lines: pictured(&log.lines.join("\n")),
        }
    }
}
