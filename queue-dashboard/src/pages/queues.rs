//! `/queues` and `/queues/{name}`: what is behind?

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::check_queue;
use queue_core::depths::ready_by_hour;
use queue_core::inspect::merged::{self, Merged};
use queue_core::inspect::processes::{self, ProcessSummary};
use queue_core::inspect::queues::{self, Pause};
use queue_core::inspect::{COUNT_MAX, QueueSummary};

use super::parts::{From, Pager};
use super::processes::{ProcessRow, is_alive, serves};
use crate::chart::{Chart, Within, spark_of_ready};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, ago, badge, exact_minute, user};
use crate::links::Links;
use crate::refusal::Refusal;
use crate::site::Site;
use crate::sites::{Found, Part, Reading, Sites};
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
    /// The shards that have it, and where it is paused.
    pub(super) shards: Html,
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
            shards: Html::new(),
            running: number("running", queue.running),
            scheduled: number("scheduled", queue.scheduled),
            blocked: number("blocked", queue.blocked),
            failed: number("failed", queue.failed),
            pause_href: format!("{href}/pause"),
            resume_href: format!("{href}/resume"),
            href,
        }
    }

    /// Describes a queue of all shards, which has a page on each that has it, or that of one queue.
    fn of_whole(queue: &Whole, links: &Links, now: DateTime<Utc>) -> Self {
        let name = queue.whole.name.as_str();
        let part = |(links, part): &(Links, QueueSummary)| {
            let mark = links.mark(&links.one("queues", name));
            match part.paused_at {
                Some(_) => mark.text("paused "),
                None => mark,
            }
        };
        let row = Self::new(&queue.whole, links, now);
        match &queue.parts[..] {
            [(links, _)] if links.shard().is_none() => row,
            parts => Self {
                href: links.jobs(&[("state", "ready"), ("queue", name)]),
                shards: parts
                    .iter()
                    .map(part)
                    .fold(Html::new(), |shards, part| shards.html(&part)),
                ..row
            },
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

/// A queue of all that were read, and the part of each.
pub(super) type Whole = Merged<Links, QueueSummary>;

/// Adds up the queues of shards, those that are behind first.
pub(super) fn together<'p>(
    parts: impl IntoIterator<Item = (&'p Links, &'p Vec<QueueSummary>)>,
) -> Vec<Whole> {
    let parts = parts.into_iter();
    let mut queues = merged::queues(parts.map(|(links, queues)| (links.clone(), queues.clone())));
    order(&mut queues);
    queues
}

/// Makes the rows of some queues, with how many of their jobs were ready in each hour of a day.
pub(super) async fn rows<T>(
    queues: &[Whole],
    found: &mut Found<T>,
    links: &Links,
) -> Result<Vec<QueueRow>, Refusal> {
    let now = found.signs.now;
    let mut hours: HashMap<String, Vec<i64>> = HashMap::new();
    for Part { reading: of, .. } in &mut found.parts {
        let (schema, names) = (of.site.queue.schema(), queues.iter().map(name));
        for (name, ready) in ready_by_hour(&mut of.tx, schema, names, now).await? {
            let sums = hours.entry(name).or_insert_with(|| vec![0; ready.len()]);
            for (sum, ready) in sums.iter_mut().zip(ready) {
                *sum += ready;
            }
        }
    }
    let rows = queues.iter().map(|queue| QueueRow {
        spark: spark_of_ready(hours.get(name(queue))),
        ..QueueRow::of_whole(queue, links, now)
    });
    Ok(rows.collect())
}

fn name(queue: &Whole) -> &str {
    &queue.whole.name
}

/// Puts queues that stand still first, then those whose oldest job waits longest.
fn order(queues: &mut [Whole]) {
    queues.sort_by(|Merged { whole: one, .. }, Merged { whole: other, .. }| {
        let stands = |queue: &QueueSummary| queue.paused_at.is_some() && queue.ready > 0;
        let oldest = |queue: &QueueSummary| queue.latency_seconds.unwrap_or(-1.0);
        (stands(other).cmp(&stands(one)))
            .then(oldest(other).total_cmp(&oldest(one)))
            .then(one.name.cmp(&other.name))
    });
}

pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(from): Query<From>,
) -> Result<Response, Refusal> {
    let read = async |mut of: Reading| {
        let queues = queues::list_bounded(&mut of.tx, of.site.queue.schema()).await?;
        Ok((of, queues))
    };
    let mut found = sites.read(&visit.links, read).await?;
    let queues = together(found.each());
    let (shown, pager) = from.part(&queues, "/queues", &visit.links);
    let now = found.signs.now;
    page(&Queues {
        answer: answer(&queues),
        as_of: shown.first().and_then(|queue| as_of(&queue.whole, now)),
        pager,
        rows: rows(shown, &mut found, &visit.links).await?,
        frame: Frame::around(&found, &visit, Page::Queues, "Queues"),
    })
}

fn answer(queues: &[Whole]) -> Html {
    let queues: Vec<&QueueSummary> = queues.iter().map(|queue| &queue.whole).collect();
    let paused: Vec<_> = queues
        .iter()
        .filter(|queue| queue.paused_at.is_some())
        .collect();
    let late = |queue: &&&QueueSummary| {
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
    let chart = Chart::read(&site, &mut tx, &within, &name, &href, signs.now).await?;
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
            .map(|process| ProcessRow::new(process, &site.settings, &visit.links, signs.now))
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
        .filter(|process| is_alive(process, &site.settings))
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
