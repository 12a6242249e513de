//! `/jobs/{id}`: what happened to it, and why is it not running?

pub(super) mod frames;
mod progress;
mod why;

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::{
    AttemptDetails, JobDetails, JobLimit, jobs, processes, queues, spell_duration, tenants,
    versions,
};
use queue_core::{JobId, JobState};

use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge, exact, icon_of_class, json, pictured, state_word, user};
use crate::links::Links;
use crate::pages::limits::limit_words;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;
use crate::words::{bytes, counted, seconds_between};
use frames::{Line, lines};
use progress::Progress;
use why::{Because, Case, Condition};

#[derive(Template)]
#[template(path = "job.html")]
struct One {
    frame: Frame,
    id: JobId,
    kind: Html,
    badge: Html,
    state: &'static str,
    because: Because,
    conditions: Vec<Condition>,
    error: Option<LastError>,
    progress: Progress,
    timeline: Vec<Event>,
    args: Option<Html>,
    args_size: String,
    context: Option<Html>,
    facts: Vec<(&'static str, Html)>,
    acts: Acts,
}

/// The acts that apply to the job, with their addresses.
#[derive(Default)]
struct Acts {
    retry: Option<String>,
    run: Option<String>,
    cancel: Option<String>,
    discard: Option<String>,
    reschedule: Option<String>,
    priority: Option<String>,
}

/// The error of the last attempt that ended in one.
struct LastError {
    of: String,
    ending: String,
    message: String,
    same: Option<String>,
    backtrace: Vec<Line>,
}

/// Something that happened to the job.
struct Event {
    icon: Html,
    what: String,
    said: Html,
    at: Html,
    anchor: Option<i32>,
}

pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let id: i64 = id
        .parse()
        .map_err(|_| Refusal::NoThing(format!("job {}", pictured(&id))))?;
    let id = JobId(id);
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let found = jobs::show(&mut tx, schema, id).await?;
    let mut job = found.ok_or(Refusal::NoJob(id))?;
    job.redact(&site.settings.redaction);
    let word = state_word(job.state, job.outcome.as_deref());
    let title = format!("{} #{id}, {word}", pictured(&job.kind));
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Jobs, title).await?;
    let links = &visit.links;
    let processes = processes::list(&mut tx, schema).await?;
    let case = Case {
        job: &job,
        processes: &processes,
        pause: queues::pause(&mut tx, schema, &job.queue).await?,
        tenant_pause: tenants::pause_of(&mut tx, schema, id).await?,
        versions: &versions::of_kinds(&mut tx, schema, &[&job.kind]).await?,
        site: &site,
        links,
        now: signs.now,
    };
    let sees_args = visit.may_see_args();
    page(&One {
        id,
        kind: user(&job.kind),
        badge: badge(word),
        state: word,
        because: case.because(),
        conditions: case.conditions(),
        error: last_error(&job),
        progress: Progress::of(&job, sees_args, signs.now),
        timeline: timeline(&job, signs.now),
        args: sees_args.then(|| json(&job.args)),
        args_size: bytes(job.args.get().len()),
        context: job.context.as_deref().filter(|_| sees_args).map(json),
        facts: facts(&job, links, signs.now),
        acts: match visit.may(Role::Operator) {
            true => Acts::of(&job, links),
            false => Acts::default(),
        },
        frame,
    })
}

impl Acts {
    fn of(job: &JobDetails, links: &Links) -> Self {
        let href =
            |verb: &str, applies: bool| applies.then(|| format!("{}/{verb}", links.job(job.id)));
        let state = job.state;
        let waits = matches!(
            state,
            JobState::Ready | JobState::Scheduled | JobState::Blocked
        );
        let awaits_retry = state == JobState::Scheduled && job.attempt > 0;
        Self {
            retry: href("retry", state == JobState::Failed || awaits_retry),
            run: href("run", state == JobState::Blocked),
            cancel: href(
                "cancel",
                !matches!(state, JobState::Failed | JobState::Finished)
                    && job.cancel_requested_at.is_none(),
            ),
            discard: href("discard", state == JobState::Failed),
            reschedule: href("reschedule", waits),
            priority: href("priority", waits),
        }
    }
}

fn last_error(job: &JobDetails) -> Option<LastError> {
    let last = job.attempts.last()?;
    let alike = job
        .attempts
        .iter()
        .rev()
        .skip(1)
        .filter(|attempt| attempt.error == last.error);
    let same = match alike.count() {
        0 => None,
        1 => Some("One other attempt failed with the same error.".to_owned()),
        many => Some(format!("{many} other attempts failed with the same error.")),
    };
    Some(LastError {
        of: format!("attempt {}, of {} allowed", last.attempt, job.attempts_max),
        ending: last.ending.clone(),
        message: pictured(last.error.trim_end()),
        same,
        backtrace: last.backtrace.as_deref().map(lines).unwrap_or_default(),
    })
}

/// Returns what happened, the last first.
fn timeline(job: &JobDetails, now: DateTime<Utc>) -> Vec<Event> {
    // Of events of the same time, the one that stands first came first.
    let attempts = job.attempts.iter();
    let mut events: Vec<_> = attempts
        .map(|attempt| (attempt.ended_at, attempt_event(attempt, now)))
        .collect();
    let mut add = |glyph: &str, class: &str, what: String, said: Html, at: DateTime<Utc>| {
        events.push((
            at,
            Event {
                icon: icon_of_class(glyph, class),
                what,
                said,
                at: exact(at, now),
                anchor: None,
            },
        ));
    };
    add(
        "ready",
        "ink-ready",
        "Enqueued".into(),
        Html::new(),
        job.enqueued_at,
    );
    let reached = [
        (
            job.ready_at.filter(|_| job.attempt > 0),
            "ready",
            "Ready again",
        ),
        (job.let_run_at, "resume", "Run anyway"),
        (job.blocked_at, "blocked", "Blocked"),
        (job.claimed_at, "running", "Claimed"),
        (job.cancel_requested_at, "cancelled", "Asked to stop"),
        (job.failed_at, "failed", "Failed"),
        (job.started_at, "running", "Started"),
    ];
    for (at, glyph, what) in reached {
        let said = match (glyph, &job.blocked_on, &job.process) {
            ("blocked", Some(key), _) => Html::new().text("on ").user(key),
            ("running", _, Some(process)) => Html::new().text("by ").user(process),
            _ => Html::new(),
        };
        if let Some(at) = at {
            add(glyph, &format!("ink-{glyph}"), what.to_owned(), said, at);
        }
    }
    if let Some(at) = job.finished_at {
        let word = state_word(job.state, job.outcome.as_deref());
        let class = if word == "finished" {
            "ink-finished"
        } else {
            "ink-ended"
        };
        let what = format!("{}{}", word[..1].to_uppercase(), &word[1..]);
        add(word, class, what, Html::new(), at);
    }
    // One statement enqueues and blocks a job, and may read the clock for the block first.
    events.sort_by_key(|(at, _)| (*at).max(job.enqueued_at));
    events.into_iter().rev().map(|(_, event)| event).collect()
}

fn attempt_event(attempt: &AttemptDetails, now: DateTime<Utc>) -> Event {
    let took = spell_duration(seconds_between(attempt.started_at, attempt.ended_at));
    let number = attempt.attempt;
    let what = match attempt.ending.as_str() {
        "crash" => format!("The process died under attempt {number} after {took}"),
        "cancelled" => format!("Attempt {number} was cancelled after {took}"),
        "timeout" => format!("Attempt {number} took too long: {took}"),
        "panic" => format!("Attempt {number} panicked after {took}"),
        _ => format!("Attempt {number} failed after {took}"),
    };
    let line = attempt.error.lines().next().unwrap_or_default();
    let line: String = line.chars().take(300).collect();
    let place = Html::new().text("in ").user(&attempt.process);
    let place = match &attempt.version {
        Some(version) => place.text(", version ").user(version),
        None => place,
    };
    Event {
        icon: icon_of_class("failed", "ink-failed"),
        what,
        said: place.text(": ").user(&line),
        at: exact(attempt.ended_at, now),
        anchor: Some(number),
    }
}

fn facts(job: &JobDetails, links: &Links, now: DateTime<Utc>) -> Vec<(&'static str, Html)> {
    let under =
        |html: Html, text: String| html.raw("<span class=\"under\">").text(text).raw("</span>");
    let queue = Html::new().link(&links.one("queues", &job.queue), &job.queue);
    let mut facts = vec![
        ("Queue", under(queue, format!("priority {}", job.priority))),
        ("Tenant", tenant(job, links)),
        ("Attempts", attempts(job)),
        ("Enqueued", ago(job.enqueued_at, now)),
        ("Waited", Html::new().text(spell_duration(job.wait_seconds))),
    ];
    if let Some(ran) = job.run_seconds {
        let name = if job.state == JobState::Claimed {
            "Runs for"
        } else {
            "Ran"
        };
        facts.push((name, Html::new().text(spell_duration(ran))));
    }
    if let Some(due_at) = job.due_at {
        facts.push(("Due", ago(due_at, now)));
    }
    facts.extend(
        job.limits
            .iter()
            .map(|limit| ("Key", limit_fact(limit, links))),
    );
    if !job.holds_slots_of.is_empty() {
        facts.push(("Holds", user(&job.holds_slots_of.join(", "))));
    }
    if let Some(batch) = job.batch_id {
        let href = links.one("batches", &batch.to_string());
        facts.push(("Batch", Html::new().link(&href, &format!("#{batch}"))));
    }
    let unique = match (job.is_unique, job.holds_key) {
        (false, _) => Html::new().text("no"),
        (true, true) => under(Html::new().text("yes"), "holds its key".into()),
        (true, false) => under(Html::new().text("yes"), "has freed its key".into()),
    };
    facts.push(("Unique", unique));
    facts.push(("Tags", tags(&job.tags)));
    facts
}

fn tenant(job: &JobDetails, links: &Links) -> Html {
    match &job.tenant {
        Some(tenant) => Html::new().link(&links.one("tenants", tenant), tenant),
        None => Html::new().text("none"),
    }
}

fn attempts(job: &JobDetails) -> Html {
    let begun = match job.attempt {
        0 => "none begun".to_owned(),
        begun => format!("{begun} begun"),
    };
    let failures = job.failures.filter(|failures| *failures > 0);
    let under = match failures {
        Some(failures) => format!("{failures} of {} failed", job.attempts_max),
        None => format!("{} allowed", job.attempts_max),
    };
    let crashes = job.crashes.filter(|crashes| *crashes > 0);
    let crashes = crashes.map(|crashes| {
        let crashes = counted(u64::from(crashes.unsigned_abs()), "crash", "crashes");
        format!(", {crashes}")
    });
    Html::new()
        .text(begun)
        .raw("<span class=\"under\">")
        .text(format!("{under}{}", crashes.unwrap_or_default()))
        .raw("</span>")
}

fn limit_fact(limit: &JobLimit, links: &Links) -> Html {
    let words = limit_words(limit.to, limit.space_seconds, limit.burst);
    Html::new()
        .raw("<span class=\"mono\">")
        .link(&links.to("/limits"), &limit.key)
        .raw("</span><span class=\"under\">")
        .text(words)
        .raw("</span>")
}

fn tags(tags: &[String]) -> Html {
    if tags.is_empty() {
        return Html::new().text("none");
    }
    let html = tags
        .iter()
        .fold(Html::new().raw("<span class=\"tags\">"), |html, tag| {
            html.raw("<span class=\"tag\">").user(tag).raw("</span>")
        });
    html.raw("</span>")
}
