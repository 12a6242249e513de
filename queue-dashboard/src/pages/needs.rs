//! What acts need besides the jobs: a time or a number.

use chrono::DateTime;
use queue_core::operations::jobs::JobAction;

/// What rescheduling and another priority do.
pub(super) const RESCHEDULED: &str = "It waits until then. If that time has come, a scheduled job becomes ready, and \
    others stay as they are. Jobs that wait for other jobs stay as they are.";
pub(super) const PRIORITIZED: &str = "A smaller priority runs sooner. It is kept for further attempts. A ready job is then behind the \
    others of its new priority.";

/// Returns the action of a verb. One that needs a time or a number has any, until its form says more.
pub(crate) fn asking(verb: &str) -> Option<JobAction> {
    match verb {
        "reschedule" => Some(JobAction::Reschedule(DateTime::UNIX_EPOCH)),
        "priority" => Some(JobAction::Prioritize(0)),
        verb => JobAction::of_text(verb),
    }
}

/// The field of what an act needs.
pub(super) struct Needs {
    pub(super) label: &'static str,
    pub(super) example: &'static str,
    pub(super) value: String,
}

/// Returns the field of what an action needs, with what a job has now.
pub(super) fn needs(action: JobAction, value: String) -> Option<Needs> {
    let (label, example) = match action {
        JobAction::Reschedule(_) => (
            "When",
            "From now on, as 90s, 10m, 2h or 3d, or a time, as 2030-01-31T09:00:00Z.",
        ),
        JobAction::Prioritize(_) => ("Priority", "A number; a smaller one runs sooner."),
        _ => return None,
    };
    Some(Needs {
        label,
        example,
        value,
    })
}
