//! `/queues` and `/queues/{name}`: what is behind?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::check_queue;
use queue_core::depths::ready_by_hour;
use queue_core::inspect::processes::{self, ProcessSummary};
use queue_core::inspect::queues::{self, Pause};
use queue_core::inspect::{COUNT_MAX, QueueSummary};
use sqlx::PgConnection;

use super::parts::{From, Pager};
use super::processes::{ProcessRow, is_alive, serves};
use crate::chart::{Chart, Within, spark_of_ready};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge, exact_minute, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::Visit;
use crate::words::{brief, counted, grouped};

/// After this time the oldest ready job is shown as late.
pub(super) const LATE_SECONDS: f64 = 600.0;

#[derive(Template)]
#[template(path = "queues.html")]
struct Queues {
    frame: Frame,
    answer: Html,
    rows: Vec<QueueRow>,
    as_of: Option<Html>,
    pager: Option<Pager>,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct One {
    frame: Frame,
    answer: Html,
    row: QueueRow,
    as_of: Option<Html>,
    chart: Chart,
    processes: Vec<ProcessRow>,
}

/// A queue in a table. A number has a link to its jobs.
pub(super) struct QueueRow {
    pub(super) name: Html,
    pub(super) href: String,
    pub(super) badge: Html,
    pub(super) is_paused: bool,
    /// Why it stands still.
    pub(super) under: Html,
    pub(super) oldest: String,
    pub(super) oldest_class: &'static str,
    pub(super) ready: (String, String),
    /// How many were ready in each hour of a day.
    pub(super) spark: Html,
    pub(super) running: (String, String),
    pub(super) scheduled: (String, String),
    pub(super) blocked: (String, String),
    pub(super) failed: (String, String),
    pub(super) pause_href: String,
    pub(super) resume_href: String,
}

impl QueueRow {
    pub(super) fn new(queue: &QueueSummary, links: &Links, now: DateTime<Utc>) -> Self {
        let name = queue.name.as_str();
        let number = |state: &str, count: i64| {
            let href = links.jobs(&[("state", state), ("queue", name)]);
            (grouped(count.unsigned_abs()), href)
        };
        let is_late = queue
            .latency_seconds
            .is_some_and(|oldest| oldest >= LATE_SECONDS);
        let is_paused = queue.paused_at.is_some();
        let href = links.one("queues", name);
        Self {
            name: user(name),
            badge: match (is_paused, is_late) {
                (true, _) => badge("paused"),
                (false, true) => badge("late"),
                _ => Html::new(),
            },
            is_paused,
            under: queue
                .pause()
                .map(|pause| paused(&pause, now))
                .unwrap_or_default(),
            oldest: queue.latency_seconds.map(brief).unwrap_or_default(),
            oldest_class: if is_late { "bad" } else { "" },
            ready: number("ready", queue.ready),
            spark: Html::new(),
            running: number("running", queue.running),
            scheduled: number("scheduled", queue.scheduled),
            blocked: number("blocked", queue.blocked),
            failed: number("failed", queue.failed),
            pause_href: format!("{href}/pause"),
            resume_href: format!("{href}/resume"),
            href,
        }
    }
}

/// Returns when the jobs of a queue were counted, if that was not just now: `as of 03:12`.
pub(super) fn as_of(queue: &QueueSummary, now: DateTime<Utc>) -> Option<Html> {
    let among = match queue.at_least {
        true => format!(
            " among {} jobs of each state",
            grouped(u64::from(COUNT_MAX))
        ),
        false => String::new(),
    };
    let at = exact_minute(queue.sampled_at?, now);
    Some(Html::new().text("as of ").html(&at).text(among))
}

/// Makes the rows of some queues, with how many of their jobs were ready in each hour of a day.
pub(super) async fn rows(
    queues: &[QueueSummary],
    site: &Site,
    conn: &mut PgConnection,
    links: &Links,
    now: DateTime<Utc>,
) -> Result<Vec<QueueRow>, Refusal> {
    let names = queues.iter().map(|queue| queue.name.as_str());
    let hours = ready_by_hour(conn, site.queue.schema(), names, now).await?;
    let rows = queues.iter().map(|queue| QueueRow {
        spark: spark_of_ready(hours.get(&queue.name)),
        ..QueueRow::new(queue, links, now)
    });
    Ok(rows.collect())
}

/// Puts queues that stand still first, then those whose oldest job waits longest.
pub(super) fn order(queues: &mut [QueueSummary]) {
    queues.sort_by(|one, other| {
        let stands = |queue: &QueueSummary| queue.paused_at.is_some() && queue.ready > 0;
        let oldest = |queue: &QueueSummary| queue.latency_seconds.unwrap_or(-1.0);
        (stands(other).cmp(&stands(one)))
            .then(oldest(other).total_cmp(&oldest(one)))
            .then(one.name.cmp(&other.name))
    });
}

pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Query(from): Query<From>,
) -> Result<Response, Refusal> {
    let mut tx = site.read().await?;
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Queues, "Queues").await?;
    let mut queues = queues::list_bounded(&mut tx, site.queue.schema()).await?;
    order(&mut queues);
    let (shown, pager) = from.part(&queues, "/queues", &visit.links);
    page(&Queues {
        frame,
        answer: answer(&queues),
        as_of: shown.first().and_then(|queue| as_of(queue, signs.now)),
        pager,
        rows: rows(shown, &site, &mut tx, &visit.links, signs.now).await?,
    })
}

fn answer(queues: &[QueueSummary]) -> Html {
    let paused: Vec<_> = queues
        .iter()
        .filter(|queue| queue.paused_at.is_some())
        .collect();
    let late = |queue: &&QueueSummary| {
        queue.paused_at.is_none() && queue.latency_seconds.unwrap_or_default() >= LATE_SECONDS
    };
    let late = queues.iter().find(late);
    let mut answer = match paused.as_slice() {
        [] if queues.is_empty() => return Html::new().strong("No queue has been seen yet."),
        [] if late.is_none() => return Html::new().strong("No queue is behind."),
        [] => Html::new(),
        [one] => Html::new()
            .strong("One queue is paused:")
            .text(" ")
            .user(&one.name)
            .text("."),
        [first, rest @ ..] => {
            let many = format!("{} queues are paused:", paused.len());
            let rest = counted(rest.len() as u64, "other", "others");
            Html::new()
                .strong(many)
                .text(" ")
                .user(&first.name)
                .text(format!(" and {rest}."))
        }
    };
    if let Some(late) = late {
        let oldest = brief(late.latency_seconds.unwrap_or_default());
        answer = answer.text(" The oldest job in ").user(&late.name);
        answer = answer.text(format!(" has waited for {oldest}."));
    }
    answer
}

/// `GET /queues/{name}`
pub(crate) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    Query(within): Query<Within>,
) -> Result<Response, Refusal> {
    if check_queue(&name).is_err() {
        return Err(Refusal::NoThing(format!("queue {name}")));
    }
    let mut tx = site.read().await?;
    let schema = site.queue.schema();
    let title = format!("Queue {name}");
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Queues, title).await?;
    let queue = queues::show(&mut tx, schema, &name).await?;
    let queue = queue.ok_or_else(|| Refusal::NoThing(format!("queue {name}")))?;
    let href = visit.links.one("queues", &name);
    let chart = Chart::read(&site, &mut tx, &within, Some(&name), &href, signs.now).await?;
    let processes = processes::list(&mut tx, schema).await?;
    let serving: Vec<_> = processes
        .iter()
        .filter(|process| serves(process, &name))
        .collect();
    page(&One {
        frame,
        answer: one_answer(&queue, &serving, &site, signs.now),
        row: QueueRow::new(&queue, &visit.links, signs.now),
        as_of: as_of(&queue, signs.now),
        chart,
        processes: serving
            .into_iter()
            .map(|process| ProcessRow::new(process, &site, &visit.links, signs.now))
            .collect(),
    })
}

/// Returns since when a queue or a tenant is paused, by whom and why: `Paused by mira 2h ago: “maintenance”`.
pub(super) fn paused(pause: &Pause, now: DateTime<Utc>) -> Html {
    let mut html = Html::new().text("Paused ");
    if let Some(by) = &pause.by {
        html = html.text("by ").user(by).text(" ");
    }
    html = html.html(&ago(pause.at, now));
    match &pause.why {
        Some(why) => html.text(": “").user(why).text("”"),
        None => html,
    }
}

/// Returns by whom and why a queue or a tenant is paused, as the rest of a sentence: ` by mira: “maintenance”`.
pub(crate) fn by_and_why(pause: &Pause) -> Html {
    let mut html = Html::new();
    if let Some(by) = &pause.by {
        html = html.text(" by ").user(by);
    }
    match &pause.why {
        Some(why) => html.text(": “").user(why).text("”"),
        None => html,
    }
}

fn one_answer(
    queue: &QueueSummary,
    serving: &[&ProcessSummary],
    site: &Site,
    now: DateTime<Utc>,
) -> Html {
    let alive = serving
        .iter()
        .filter(|process| is_alive(process, site))
        .count();
    let ready = counted(queue.ready.unsigned_abs(), "job is ready", "jobs are ready");
    match (queue.pause(), alive) {
        (Some(pause), _) => Html::new()
            .strong("It is paused")
            .text(" since ")
            .html(&exact_minute(pause.at, now))
            .html(&by_and_why(&pause))
            .text(format!(". {ready}, and none starts until it is resumed.")),
        (None, 0) if queue.ready > 0 => Html::new()
            .strong("No living process serves it.")
            .text(format!(" {ready}, and none starts.")),
        _ => match queue.latency_seconds {
            None => Html::new().strong("No job waits in it."),
            Some(oldest) => {
                let oldest = brief(oldest);
                Html::new()
                    .strong(ready)
                    .text(format!("; the oldest has waited for {oldest}."))
            }
        },
    }
}
