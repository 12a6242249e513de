//! `/processes` and `/processes/{id}`: who is alive, and what does each run?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::processes::{self, ProcessJob, ProcessSummary};
use queue_core::inspect::spell_duration;
use queue_core::operations::processes::ProcessRequest;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::auth::Role;
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge, meter, pictured, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::{Settings, Site};
use crate::sites::{Reading, Sites};
use crate::visit::Visit;
use crate::words::{brief, counted, grouped, seconds_between};

/// The most processes on the page, and jobs of one.
const SHOWN_MAX: usize = 200;
const JOBS_MAX: u32 = 100;

#[derive(Template)]
#[template(path = "processes.html")]
struct Processes {
    frame: Frame,
    answer: Html,
    rows: Vec<ProcessRow>,
    more: usize,
}

#[derive(Template)]
#[template(path = "process.html")]
struct One {
    frame: Frame,
    answer: Html,
    row: ProcessRow,
    started: Html,
    kinds: Vec<String>,
    services: String,
    jobs: Vec<RunRow>,
    acts: Acts,
}

/// What the viewer may ask of the process.
struct Acts {
    quiet: bool,
    resume: bool,
    stop: bool,
}

impl Acts {
    fn new(process: &ProcessSummary, visit: &Visit) -> Self {
        let stops = process.stopping_at.is_some() || process.asked == Some(ProcessRequest::Stop);
        let is_operator = !stops && visit.may(Role::Operator);
        Self {
            quiet: is_operator && process.asked.is_none(),
            resume: is_operator && process.asked.is_some(),
            stop: !stops && visit.may(Role::Admin),
        }
    }
}

/// A process in a table.
pub(super) struct ProcessRow {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) host: String,
    pub(super) badge: Html,
    pub(super) is_well: bool,
    pub(super) is_silent: bool,
    pub(super) heard: String,
    pub(super) slots: String,
    pub(super) meter: Html,
    pub(super) queues: Html,
    pub(super) version: String,
    pub(super) up: String,
    pub(super) shard: Html,
}

/// A job that the process runs.
struct RunRow {
    id: String,
    href: String,
    kind: String,
    queue: Html,
    queue_href: String,
    runs_for: String,
    attempt: i32,
}

/// The state of a process, as it is shown.
fn state(process: &ProcessSummary, settings: &Settings) -> &'static str {
    if process.silent_seconds >= settings.silent_after().as_secs_f64() {
        "silent"
    } else if process.stopping_at.is_some() {
        "stopping"
    } else if process.is_quiet() {
        "quiet"
    } else {
        "alive"
    }
}

/// Returns whether a process starts jobs.
pub(super) fn is_alive(process: &ProcessSummary, settings: &Settings) -> bool {
    state(process, settings) == "alive"
}

/// Returns whether one of the workers of a process serves a queue.
pub(super) fn serves(process: &ProcessSummary, queue: &str) -> bool {
    let lists = texts(&process.details["queues"]);
    let mut patterns = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
    patterns.any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => queue.starts_with(prefix),
        None => pattern == queue,
    })
}

/// Returns whether a process knows a kind.
pub(super) fn knows(process: &ProcessSummary, kind: &str) -> bool {
    texts(&process.details["kinds"]).contains(&kind)
}

fn texts(value: &Value) -> Vec<&str> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

impl ProcessRow {
    pub(super) fn new(
        process: &ProcessSummary,
        settings: &Settings,
        links: &Links,
        now: DateTime<Utc>,
    ) -> Self {
        let word = state(process, settings);
        let slots = process.details["concurrency"].as_u64().unwrap_or_default();
        let used = process.running.unsigned_abs();
        Self {
            name: pictured(&process.name),
            href: links.one("processes", &process.id.to_string()),
            host: format!("{}, pid {}", pictured(&process.host), process.pid),
            badge: badge(word),
            is_well: word == "alive",
            is_silent: word == "silent",
            heard: format!("{} ago", brief(process.silent_seconds)),
            slots: format!("{} of {}", grouped(used), grouped(slots)),
            meter: meter(used, slots, false),
            queues: user(&texts(&process.details["queues"]).join("; ")),
            version: pictured(&process.version),
            up: brief(seconds_between(process.started_at, now)),
            shard: links.mark(&links.to("/processes")),
        }
    }
}

/// Returns the processes of queues, those that are not well first, then the busiest.
pub(super) fn together<'p>(
    parts: impl IntoIterator<Item = (&'p Links, &'p Vec<ProcessSummary>)>,
    visit: &Visit,
) -> Vec<(&'p Links, &'p ProcessSummary)> {
    let rank = |process: &ProcessSummary| match state(process, &visit.settings) {
        "silent" => 0,
        "stopping" => 1,
        "quiet" => 2,
        _ => 3,
    };
    let of_part = |(links, all): (&'p Links, &'p Vec<ProcessSummary>)| {
        all.iter().map(move |process| (links, process))
    };
    let mut processes: Vec<_> = parts.into_iter().flat_map(of_part).collect();
    processes.sort_by(|(_, one), (_, other)| {
        (rank(one).cmp(&rank(other)))
            .then(other.running.cmp(&one.running))
            .then(one.name.cmp(&other.name))
    });
    processes
}

pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Refusal> {
    let read = async |mut of: Reading| {
        let processes = processes::list(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, processes))
    };
    let found = sites.read(&visit.links, read).await?;
    let processes = together(found.each(), &visit);
    let all: Vec<&ProcessSummary> = processes.iter().map(|(_, process)| *process).collect();
    let answer = answer(&all, &visit.settings);
    page(&Processes {
        frame: Frame::around(&found, &visit, Page::Processes, "Processes"),
        // Nothing says that rows of two shards are of one process: ids differ, and a container that restarts has
        // the name, host and pid of the process before it.
        answer: match found.is_merged && !all.is_empty() {
            true => answer.text(" A process that serves several shards is counted on each."),
            false => answer,
        },
        more: processes.len().saturating_sub(SHOWN_MAX),
        rows: processes
            .iter()
            .take(SHOWN_MAX)
            .map(|(links, process)| {
                ProcessRow::new(process, &visit.settings, links, found.signs.now)
            })
            .collect(),
    })
}

fn answer(processes: &[&ProcessSummary], settings: &Settings) -> Html {
    let silent: Vec<_> = processes
        .iter()
        .filter(|process| state(process, settings) == "silent")
        .collect();
    let all = processes.len() as u64;
    let quiet = processes
        .iter()
        .filter(|process| state(process, settings) == "quiet")
        .count();
    let Some(first) = silent.first() else {
        return match all {
            _ if quiet > 0 => Html::new()
                .strong(format!(
                    "{quiet} of {} claim nothing more",
                    counted(all, "process", "processes")
                ))
                .text(" because somebody asked for that."),
            0 => Html::new()
                .strong("No process is alive.")
                .text(" No job runs until one starts."),
            1 => Html::new().strong("The one process is well."),
            _ => Html::new().strong(format!("All {all} processes are well.")),
        };
    };
    let many = match silent.len() {
        1 => format!("One of {} is silent.", counted(all, "process", "processes")),
        many => format!("{many} of {all} processes are silent."),
    };
    let heard = brief(first.silent_seconds);
    let dead_after = spell_duration(settings.dead_after.as_secs_f64());
    Html::new().strong(many).text(" ").user(&first.name).text(format!(
        " was last heard of {heard} ago; after {dead_after} a process counts as dead, and others take \
         its jobs."
    ))
}

/// `GET /processes/{id}`
pub(crate) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let process = find(&mut tx, &site, &id).await?;
    let title = format!("Process {}", pictured(&process.name));
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Processes, title).await?;
    let jobs = processes::jobs(&mut tx, schema, process.id, JOBS_MAX).await?;
    page(&One {
        frame,
        answer: one_answer(&process, &site),
        acts: Acts::new(&process, &visit),
        row: ProcessRow::new(&process, &site.settings, &visit.links, signs.now),
        started: ago(process.started_at, signs.now),
        kinds: texts(&process.details["kinds"])
            .into_iter()
            .map(pictured)
            .collect(),
        services: services(&process.details),
        jobs: jobs
            .iter()
            .map(|job| RunRow::new(job, &visit.links, signs.now))
            .collect(),
    })
}

/// Finds the process of an address.
pub(crate) async fn find(
    conn: &mut PgConnection,
    site: &Site,
    id: &str,
) -> Result<ProcessSummary, Refusal> {
    let missing = || Refusal::NoThing(format!("process {}", pictured(id)));
    let uuid: Uuid = id.parse().map_err(|_| missing())?;
    let mut known = processes::list(conn, site.queue.schema())
        .await?
        .into_iter();
    known.find(|process| process.id == uuid).ok_or_else(missing)
}

fn one_answer(process: &ProcessSummary, site: &Site) -> Html {
    let running = counted(process.running.unsigned_abs(), "job", "jobs");
    let heard = brief(process.silent_seconds);
    match state(process, &site.settings) {
        "silent" => Html::new()
            .strong(format!("It was last heard of {heard} ago."))
            .text(" When it counts as dead, others take its jobs."),
        "stopping" => Html::new().strong("It is stopping.").text(format!(
            " It starts nothing new, and {running} may still end."
        )),
        "quiet" => {
            let (by, at) = (process.asked_by.as_deref(), process.asked_at);
            Html::new()
                .strong("It is quiet.")
                .text(" Asked by ")
                .user(by.unwrap_or("somebody"))
                .text(at.map_or(String::new(), |at| {
                    let ago = brief(seconds_between(at, process.heartbeat_at));
                    format!(" {ago} ago")
                }))
                .text(format!(
                    ", it claims nothing more, and has {running} that may still end."
                ))
        }
        _ => {
            let asked = match process.asked {
                Some(_) => " With its next heartbeat it reads what it was asked for.",
                None => "",
            };
            Html::new().strong("It is alive.").text(format!(
                " It has claimed {running}, and was heard of {heard} ago.{asked}"
            ))
        }
    }
}

fn services(details: &Value) -> String {
    let names = ["dispatcher", "scheduler", "maintenance"];
    let on: Vec<&str> = names
        .into_iter()
        .filter(|name| details[*name] == Value::Bool(true))
        .collect();
    match on.as_slice() {
        [] => "none".to_owned(),
        on => on.join(", "),
    }
}

impl RunRow {
    fn new(job: &ProcessJob, links: &Links, now: DateTime<Utc>) -> Self {
        Self {
            id: format!("#{}", job.id),
            href: links.job(job.id),
            kind: pictured(&job.kind),
            queue: user(&job.queue),
            queue_href: links.one("queues", &job.queue),
            runs_for: brief(seconds_between(job.claimed_at, now)),
            attempt: job.attempt,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(details: Value) -> ProcessSummary {
        ProcessSummary {
            id: Uuid::nil(),
            name: "worker".to_owned(),
            host: "host".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            started_at: Utc::now(),
            heartbeat_at: Utc::now(),
            silent_seconds: 0.0,
            stopping_at: None,
            asked: None,
            asked_by: None,
            asked_at: None,
            running: 0,
            idle: false,
            details,
        }
    }

    #[test]
    fn a_process_serves_the_queues_of_its_patterns() {
        let process = process(json!({"queues": ["mail, reports*", "slow"], "kinds": ["send"]}));
        for (queue, is_served) in [
            ("mail", true),
            ("reports/eu", true),
            ("slow", true),
            ("mails", false),
        ] {
            assert_eq!(serves(&process, queue), is_served, "{queue}");
        }
        assert!(knows(&process, "send") && !knows(&process, "sen"));
    }
}
