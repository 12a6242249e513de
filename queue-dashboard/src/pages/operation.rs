//! `/operations/{id}`: how far is an act on many jobs, and can I stop it?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use queue_core::inspect::operations::{self, OperationDetails};
use queue_core::operations::jobs::JobAction;

use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;
use crate::words::{counted, grouped};

#[derive(Template)]
#[template(path = "operation.html")]
struct One {
    frame: Frame,
    title: String,
    badge: Html,
    answer: Html,
    /// How much is done, in percent; nothing if the whole is not known.
    percent: Option<u64>,
    facts: Vec<(&'static str, Html)>,
    stop: Option<String>,
}

pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let missing = || Refusal::NoThing("operation of this number".to_owned());
    let number: i64 = id.parse().map_err(|_| missing())?;
    let mut tx = site.read().await?;
    let found = operations::show(&mut tx, site.queue.schema(), number).await?;
    let operation = found.ok_or_else(missing)?;
    let title = title(&operation);
    let (frame, _) = Frame::new(&site, &visit, &mut tx, Page::Jobs, title.as_str()).await?;
    let is_open = is_running(&operation) && operation.stop_asked_at.is_none();
    let done = done(&operation) + left_out(&operation);
    page(&One {
        badge: state(&operation),
        answer: answer(&operation),
        percent: (!operation.counted_at_least)
            .then(|| (done * 100).checked_div(number_of(operation.counted)))
            .flatten()
            .map(|percent| percent.min(100)),
        facts: facts(&operation),
        stop: (is_open && frame.is_operator)
            .then(|| format!("{}/stop", visit.links.one("operations", &id))),
        title,
        frame,
    })
}

fn number_of(count: i64) -> u64 {
    count.unsigned_abs()
}

/// Returns how many jobs it has changed or asked to stop.
fn done(operation: &OperationDetails) -> u64 {
    number_of(operation.changed + operation.asked_to_stop)
}

fn left_out(operation: &OperationDetails) -> u64 {
    number_of(operation.left_out.values().sum())
}

pub(super) fn is_running(operation: &OperationDetails) -> bool {
    operation.ended_at.is_none()
}

/// Returns what it does and how many jobs it was begun for: `Retrying 2,864 failed jobs`.
pub(crate) fn title(operation: &OperationDetails) -> String {
    let verb = match JobAction::of_text(&operation.action) {
        Some(JobAction::Retry) => "Retrying",
        Some(JobAction::Discard) => "Discarding",
        Some(JobAction::Cancel) => "Cancelling",
        Some(JobAction::RunAnyway) => "Running",
        Some(JobAction::Reschedule(_)) => "Rescheduling",
        Some(JobAction::Prioritize(_)) => "Changing the priority of",
        None => "Changing",
    };
    let many = match operation.counted_at_least {
        true => "all jobs that match".to_owned(),
        false => counted(number_of(operation.counted), "job", "jobs"),
    };
    format!("{verb} {many}")
}

fn state(operation: &OperationDetails) -> Html {
    badge(match (&operation.error, operation.stop_asked_at) {
        (Some(_), _) => "failed",
        (None, _) if is_running(operation) => "running",
        (None, Some(_)) => "cancelled",
        (None, None) => "finished",
    })
}

/// Returns what an action has made of so many jobs: `1,912 jobs are ready again`.
fn became(operation: &OperationDetails) -> String {
    let jobs = counted(done(operation), "job", "jobs");
    match JobAction::of_text(&operation.action) {
        Some(JobAction::Retry) => format!("{jobs} made ready again"),
        Some(action) => format!("{jobs} {}", action.past()),
        None => format!("{jobs} changed"),
    }
}

fn answer(operation: &OperationDetails) -> Html {
    let became = became(operation);
    let answer = Html::new().strong(format!("{became}."));
    if let Some(error) = &operation.error {
        return answer.text(" It could not go on: ").user(error);
    }
    match (is_running(operation), &operation.stopped_by) {
        (true, Some(by)) => answer.text(" ").user(by).text(" has asked it to stop."),
        (true, None) => answer.text(" It goes on when this page is closed."),
        (false, Some(by)) => answer
            .text(" Stopped by ")
            .user(by)
            .text("; the rest stays as it was."),
        (false, None) => answer.text(" It is done."),
    }
}

fn facts(operation: &OperationDetails) -> Vec<(&'static str, Html)> {
    let now = operation.now;
    let mut facts = vec![(
        "Changed",
        Html::new().text(grouped(number_of(operation.changed))),
    )];
    if operation.asked_to_stop > 0 {
        let asked = grouped(number_of(operation.asked_to_stop));
        facts.push(("Asked to stop", Html::new().text(asked)));
    }
    let mut left = Html::new().text(grouped(left_out(operation)));
    for (reason, jobs) in &operation.left_out {
        let jobs = grouped(number_of(*jobs));
        left = left
            .raw("<span class=\"under\">")
            .text(format!("{jobs}: {reason}"))
            .raw("</span>");
    }
    facts.push(("Left out", left));
    if is_running(operation) && !operation.counted_at_least {
        let done = done(operation) + left_out(operation);
        let rest = number_of(operation.counted).saturating_sub(done);
        facts.push(("To go", Html::new().text(grouped(rest))));
    }
    let begun = ago(operation.created_at, now);
    let mut begun = begun.text(" by ").user(&operation.who);
    if let Some(why) = &operation.why {
        begun = begun.text(": “").user(why).text("”");
    }
    facts.push(("Begun", begun));
    if let Some(at) = operation.ended_at {
        facts.push(("Ended", ago(at, now)));
    }
    facts
}
