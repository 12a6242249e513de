//! `POST /jobs/{id}/…`: retries, discards, cancels, runs or reschedules one job, or changes its priority.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::JobId;
use queue_core::operations::jobs::{Changes, JobAction, change, time_in};
use sqlx::PgConnection;

use super::{Posted, Wanted, allow, audit, begin, done};
use crate::html::pictured;
use crate::pages::needs::asking;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};

/// The most characters of a text that are repeated because they cannot be read.
const UNREAD_MAX: usize = 40;

pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Result<Response, Refusal> {
    let number: i64 = id
        .parse()
        .map_err(|_| Refusal::NoThing(format!("job {}", pictured(&id))))?;
    let job = JobId(number);
    let asked = asking(&verb).ok_or(Refusal::NoMethod)?;
    let wanted = Wanted {
        doing: doing(asked),
        what: &verb,
        target: format!("jobs/{job}"),
    };
    allow(&site, &visit, &headers, &posted, &wanted).await?;
    let mut tx = begin(&site).await?;
    let Some(action) = action(&mut tx, asked, &posted.to).await? else {
        let asks = format!("{}/{verb}", visit.links.job(job));
        return Ok(done(&visit, &Posted::default(), asks, &unread(&posted.to)));
    };
    let what = action.to_string();
    let wanted = Wanted {
        what: &what,
        ..wanted
    };
    let changes = change(&mut tx, site.queue.schema(), action, &[job]).await?;
    if changes.refused.is_empty() {
        audit(&mut tx, &site, &visit, &wanted, &posted).await?;
    }
    tx.commit().await?;
    let note = note(action, job, &changes);
    Ok(done(&visit, &posted, visit.links.job(job), &note))
}

/// Returns the action of a verb with what its form says: a time, or a time from now, or a number. Returns
/// nothing if that cannot be read.
pub(super) async fn action(
    conn: &mut PgConnection,
    asked: JobAction,
    to: &str,
) -> Result<Option<JobAction>, sqlx::Error> {
    let to = to.trim();
    Ok(match asked {
        JobAction::Reschedule(_) => match wait(to) {
            Some(wait) => Some(JobAction::Reschedule(time_in(conn, wait).await?)),
            None => JobAction::to(asked.verb(), to),
        },
        JobAction::Prioritize(_) => JobAction::to(asked.verb(), to),
        action => Some(action),
    })
}

/// Reads a time from now, such as `90s`, `10m`, `2h`, `3d` or `now`.
fn wait(text: &str) -> Option<Duration> {
    if text == "now" {
        return Some(Duration::ZERO);
    }
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u32 = text[..text.len() - 1].trim().parse().ok()?;
    Some(Duration::from_secs(u64::from(number) * unit))
}

pub(super) fn unread(to: &str) -> Note {
    let to: String = to.chars().take(UNREAD_MAX).collect();
    Note::warning(format!(
        "Nothing was changed: “{}” cannot be read.",
        pictured(&to)
    ))
}

pub(super) fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

pub(super) fn doing(action: JobAction) -> &'static str {
    match action {
        JobAction::Retry => "Retrying",
        JobAction::Discard => "Discarding",
        JobAction::Cancel => "Cancelling",
        JobAction::RunAnyway => "Running a blocked job",
        JobAction::Reschedule(_) => "Rescheduling",
        JobAction::Prioritize(_) => "Changing the priority",
    }
}

fn note(action: JobAction, job: JobId, changes: &Changes) -> Note {
    if let Some((_, reason)) = changes.refused.first() {
        return Note::warning(format!("Job {job} was not changed: {reason}."));
    }
    if !changes.asked_to_stop.is_empty() {
        return Note::well(format!("Job {job} was asked to stop."));
    }
    Note::well(match action {
        JobAction::Retry => format!("Retried job {job}: it is ready."),
        JobAction::Discard => format!("Discarded job {job}."),
        JobAction::Cancel => format!("Cancelled job {job}."),
        JobAction::RunAnyway => format!("Job {job} is ready, despite its limits."),
        JobAction::Reschedule(at) => format!("Job {job} is rescheduled to {}.", minute(at)),
        JobAction::Prioritize(priority) => format!("Job {job} has priority {priority}."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_from_now_has_a_unit() {
        for (text, seconds) in [
            ("now", 0),
            ("0s", 0),
            ("90s", 90),
            ("2h", 7_200),
            ("3d", 259_200),
        ] {
            assert_eq!(wait(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "10", "-5m", "1.5h", "10ü", "tomorrow"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
