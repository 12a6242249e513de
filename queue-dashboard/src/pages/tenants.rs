//! `/tenants` and `/tenants/{name}`: who uses how much, and does one starve the others?

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use queue_core::inspect::tenants::{self, COUNTED};
use queue_core::inspect::{TenantDetails, TenantSummary};
use serde::Deserialize;

use super::limits::limit_words;
use super::overview::{Figure, figures};
use super::parts::first_by_name;
use super::queues::{LATE_SECONDS, by_and_why, paused};
use crate::frame::{Frame, Page, page};
use crate::html::{Html, badge, exact_minute, pictured, progress, user};
use crate::links::{Links, encoded};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::sites::{Reading, Sites};
use crate::visit::Visit;
use crate::words::{brief, count, counted, grouped, percent};

/// The most tenants on one page.
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "tenants.html")]
struct Tenants {
    frame: Frame,
    answer: Html,
    rows: Vec<TenantRow>,
    after: String,
    first: String,
    next: Option<String>,
    /// Whether there is more than this page.
    is_part: bool,
}

#[derive(Template)]
#[template(path = "tenant.html")]
struct One {
    frame: Frame,
    answer: Html,
    row: TenantRow,
    figures: Vec<Figure>,
    /// Whether there are more jobs than the figures count.
    is_part: bool,
    reset_href: Option<String>,
}

/// A tenant in a table. A number of jobs has a link to them.
struct TenantRow {
    shard: Html,
    name: Html,
    title: String,
    href: String,
    badge: Html,
    is_paused: bool,
    /// Why it stands still.
    under: Html,
    running: (String, String),
    /// Its part of what runs, in percent and as a bar, and the part that its weight gives it.
    part: Option<(String, Html)>,
    share: String,
    weight: String,
    ready: (String, String),
    oldest: String,
    oldest_class: &'static str,
    failed: (String, String),
    limit: String,
    pause_href: String,
    resume_href: String,
}

/// What all tenants have together, if they are known.
struct Whole {
    running: i64,
    weights: i64,
}

#[derive(Deserialize)]
pub(crate) struct From {
    #[serde(default)]
    pub(crate) after: String,
}

/// `GET /tenants`
pub(crate) async fn list(
    State(sites): State<Sites>,
    Extension(visit): Extension<Visit>,
    Query(from): Query<From>,
) -> Result<Response, Refusal> {
    let read = async |mut of: Reading| {
        let tenants = tenants::list(&mut of.tx, of.site.queue.schema(), &from.after, ROWS).await?;
        Ok((of, tenants))
    };
    let read = sites.read(&visit.links, read).await?;
    let mut found = first_by_name(read.each(), |tenant| &tenant.name, ROWS as usize);
    let links = &visit.links;
    let last = found.last().filter(|_| found.len() >= ROWS as usize);
    let next = last.map(|(_, last)| links.to(&format!("/tenants?after={}", encoded(&last.name))));
    let is_part = next.is_some() || !from.after.is_empty();
    // Turns are those of one shard.
    let whole = (!is_part && !read.is_merged).then(|| Whole::of(&found));
    if !is_part {
        order(&mut found);
    }
    page(&Tenants {
        answer: answer(&found, whole.as_ref(), read.signs.paused_tenants),
        rows: found
            .iter()
            .map(|(links, tenant)| TenantRow::new(tenant, whole.as_ref(), links, read.signs.now))
            .collect(),
        first: links.to("/tenants"),
        next,
        is_part,
        after: from.after,
        frame: Frame::around(&read, &visit, Page::Tenants, "Tenants"),
    })
}

/// Puts tenants that stand still first, then those of which most runs.
fn order(tenants: &mut [(&Links, &TenantSummary)]) {
    tenants.sort_by(|(_, one), (_, other)| {
        let stands = |tenant: &TenantSummary| tenant.paused_at.is_some() && tenant.ready.count > 0;
        let oldest = |tenant: &TenantSummary| tenant.latency_seconds.unwrap_or(-1.0);
        (stands(other).cmp(&stands(one)))
            .then(other.running.cmp(&one.running))
            .then(oldest(other).total_cmp(&oldest(one)))
    });
}

impl Whole {
    fn of(tenants: &[(&Links, &TenantSummary)]) -> Self {
        let tenants = || tenants.iter().map(|(_, tenant)| *tenant);
        let takes_turns = tenants().filter(|tenant| takes_turns(tenant));
        Self {
            running: tenants().map(|tenant| tenant.running).sum(),
            weights: takes_turns.map(|tenant| i64::from(tenant.weight)).sum(),
        }
    }

    /// Returns how much of what runs is a tenant's.
    fn part(&self, tenant: &TenantSummary) -> String {
        percent(tenant.running.unsigned_abs(), self.running.unsigned_abs())
    }

    /// Returns the part of the turns that is a tenant's.
    fn share(&self, tenant: &TenantSummary) -> Option<String> {
        let weight = u64::from(tenant.weight.unsigned_abs());
        takes_turns(tenant).then(|| percent(weight, self.weights.unsigned_abs()))
    }
}

fn takes_turns(tenant: &TenantSummary) -> bool {
    tenant.paused_at.is_none() && (tenant.ready.count > 0 || tenant.running > 0)
}

fn answer(tenants: &[(&Links, &TenantSummary)], whole: Option<&Whole>, paused: i64) -> Html {
    let answer = Html::new();
    let answer = match (paused, whole) {
        _ if tenants.is_empty() => return answer.strong("No tenant has jobs in a fair queue."),
        (0, _) => answer.strong("No tenant is paused."),
        (1, _) => answer.strong("One tenant is paused."),
        (paused, _) => answer.strong(format!("{paused} tenants are paused.")),
    };
    let most = tenants.iter().map(|(_, tenant)| tenant);
    let most = most.max_by_key(|tenant| tenant.running);
    let (Some(whole), Some(most)) = (whole, most.filter(|most| most.running > 0)) else {
        return answer;
    };
    let part = format!(" has {} of what runs", whole.part(most));
    let answer = answer.text(" ").user(&most.name).text(part);
    match whole.share(most) {
        Some(share) => answer.text(format!("; its share is {share}.")),
        None => answer.text("."),
    }
}

impl TenantRow {
    fn new(
        tenant: &TenantSummary,
        whole: Option<&Whole>,
        links: &Links,
        now: DateTime<Utc>,
    ) -> Self {
        let name = tenant.name.as_str();
        let jobs = |state: &str| links.jobs(&[("state", state), ("tenant", name)]);
        let href = links.one("tenants", name);
        let is_late = tenant
            .latency_seconds
            .is_some_and(|oldest| oldest >= LATE_SECONDS);
        let pause = tenant.pause();
        let weight = counted(u64::from(tenant.weight.unsigned_abs()), "job", "jobs");
        let is_limited = tenant.to.is_some() || tenant.space_seconds.is_some();
        let limit = limit_words(tenant.to, tenant.space_seconds, tenant.burst);
        Self {
            shard: links.mark(&links.to("/tenants")),
            name: user(name),
            title: pictured(name),
            badge: pause.as_ref().map(|_| badge("paused")).unwrap_or_default(),
            is_paused: pause.is_some(),
            under: pause.map(|pause| paused(&pause, now)).unwrap_or_default(),
            running: (grouped(tenant.running.unsigned_abs()), jobs("running")),
            part: whole.map(|whole| {
                let part = whole.part(tenant);
                let label = format!("{part} of running jobs");
                let bar = progress(&[("", tenant.running)], whole.running, &label);
                (part, bar)
            }),
            share: whole
                .and_then(|whole| whole.share(tenant))
                .unwrap_or_default(),
            weight: format!("{weight} in a turn"),
            ready: (count(tenant.ready), jobs("ready")),
            oldest: tenant.latency_seconds.map(brief).unwrap_or_default(),
            oldest_class: if is_late { "bad" } else { "" },
            failed: (grouped(tenant.failed.unsigned_abs()), jobs("failed")),
            limit: if is_limited { limit } else { String::new() },
            pause_href: format!("{href}/pause"),
            resume_href: format!("{href}/resume"),
            href,
        }
    }
}

/// `GET /tenants/{name}`
pub(crate) async fn one(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let mut tx = site.read().await?;
    let found = tenants::show(&mut tx, site.queue.schema(), &name).await?;
    let TenantDetails { summary, jobs } = found.ok_or_else(|| Refusal::no_tenant(&name))?;
    let title = format!("Tenant {}", pictured(&name));
    let (frame, signs) = Frame::new(&site, &visit, &mut tx, Page::Tenants, title).await?;
    let links = &visit.links;
    let row = TenantRow::new(&summary, None, links, signs.now);
    let limit = links.one("limits", &format!("@tenant/{name}"));
    page(&One {
        frame,
        answer: one_answer(&summary, signs.now),
        figures: figures(&jobs, summary.latency_seconds, &[("tenant", &name)], links),
        is_part: jobs.total() >= u64::from(COUNTED),
        reset_href: (!row.limit.is_empty()).then(|| format!("{limit}/reset")),
        row,
    })
}

fn one_answer(tenant: &TenantSummary, now: DateTime<Utc>) -> Html {
    let ready = tenant.ready.count;
    let is = if ready == 1 { "job is" } else { "jobs are" };
    let ready = format!("{} {is} ready in fair queues", count(tenant.ready));
    match (tenant.pause(), tenant.latency_seconds) {
        (Some(pause), _) => Html::new()
            .strong("It is paused")
            .text(" since ")
            .html(&exact_minute(pause.at, now))
            .html(&by_and_why(&pause))
            .text(format!(". {ready}, and none starts until it is resumed.")),
        (None, None) => Html::new().strong("No job of it is ready in a fair queue."),
        (None, Some(oldest)) => Html::new()
            .strong(ready)
            .text(format!("; the oldest has waited for {}.", brief(oldest))),
    }
}
