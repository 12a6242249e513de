//! What is around every page: the navigation, who one is, and a message.

use std::sync::Arc;

use askama::Template;
use axum::response::{Html as HtmlResponse, IntoResponse, Response};
use queue_core::inspect::signs::{self, Signs};
use queue_core::inspect::spell_duration;
use sqlx::PgConnection;

use crate::assets;
use crate::auth::Role;
use crate::html::{Html, pictured};
use crate::links::{Links, encoded};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::visit::{Note, Visit};

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Overview,
    Jobs,
    Failures,
    Queues,
    Limits,
    Recurring,
    Batches,
    Tenants,
    Processes,
    Audit,
    Help,
}

/// One link of the navigation.
pub(crate) struct Entry {
    pub(crate) page: Page,
    pub(crate) name: &'static str,
    pub(crate) icon: Html,
    pub(crate) href: String,
    /// What needs attention there, and whether it is bad.
    pub(crate) sign: Option<(String, bool)>,
}

pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) page: Page,
    pub(crate) links: Links,
    pub(crate) groups: Vec<Vec<Entry>>,
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
    pub(crate) theme: Option<&'static str>,
    pub(crate) themes: Vec<(&'static str, bool, String)>,
    pub(crate) database: String,
    pub(crate) place: Option<String>,
    pub(crate) who: String,
    pub(crate) role: &'static str,
    pub(crate) is_read_only: bool,
    /// How far the replica that it reads is behind at most, if it reads one.
    pub(crate) behind: Option<String>,
    pub(crate) is_operator: bool,
    pub(crate) note: Option<Note>,
    pub(crate) token: String,
    /// The address of this page, and of the events that renew it.
    pub(crate) here: String,
    pub(crate) live: String,
    pub(crate) as_of: Html,
}

impl Frame {
    /// Makes the frame of a page.
    pub(crate) async fn new(
        site: &Arc<Site>,
        visit: &Visit,
        conn: &mut PgConnection,
        page: Page,
        title: impl Into<String>,
    ) -> Result<(Self, Signs), sqlx::Error> {
        let signs = signs::read(conn, site.queue.schema(), site.silent_after()).await?;
        let names = assets::names();
        let links = &visit.links;
        let asset = |name: &str| links.to(&format!("/assets/{name}"));
        let frame = Self {
            title: title.into(),
            page,
            groups: groups(links, &signs),
            style: asset(names.style),
            script: asset(names.script),
            icon: asset(names.icon),
            theme: visit.theme,
            themes: themes(visit),
            database: site.database(),
            place: site.place.clone(),
            who: pictured(&visit.viewer.name),
            role: visit.viewer.role.as_str(),
            is_read_only: visit.is_read_only(site),
            behind: visit
                .behind
                .map(|behind| spell_duration(behind.as_secs_f64().ceil())),
            is_operator: visit.may(Role::Operator, site),
            note: visit.note.clone(),
            token: visit.token(),
            here: links.to(&visit.view),
            live: links.to(&format!("/live?view={}", encoded(&visit.view))),
            as_of: Html::new().text(signs.now.format("%H:%M:%S")),
            links: links.clone(),
        };
        Ok((frame, signs))
    }

    pub(crate) fn is_on(&self, page: &Page) -> bool {
        self.page == *page
    }
}

fn groups(links: &Links, signs: &Signs) -> Vec<Vec<Entry>> {
    let entry = |page, name, icon, path| Entry {
        page,
        name,
        icon: crate::html::icon(icon),
        href: links.to(path),
        sign: None,
    };
    let sign =
        |count: i64, word: &str, is_bad| (count > 0).then(|| (format!("{count} {word}"), is_bad));
    vec![
        vec![
            entry(Page::Overview, "Overview", "overview", "/"),
            entry(Page::Jobs, "Jobs", "jobs", "/jobs"),
            entry(Page::Failures, "Failures", "failures", "/failures"),
        ],
        vec![
            Entry {
                sign: sign(signs.paused_queues, "paused", false),
                ..entry(Page::Queues, "Queues", "queues", "/queues")
            },
            entry(Page::Limits, "Limits", "limits", "/limits"),
            entry(Page::Recurring, "Recurring", "recurring", "/recurring"),
            entry(Page::Batches, "Batches", "batches", "/batches"),
            Entry {
                sign: sign(signs.paused_tenants, "paused", false),
                ..entry(Page::Tenants, "Tenants", "tenants", "/tenants")
            },
        ],
        vec![
            Entry {
                sign: sign(signs.silent_processes, "silent", true),
                ..entry(Page::Processes, "Processes", "processes", "/processes")
            },
            entry(Page::Audit, "Audit", "audit", "/audit"),
        ],
    ]
}

/// Returns the choices of colours: the name, whether it is chosen, and the address that chooses it.
fn themes(visit: &Visit) -> Vec<(&'static str, bool, String)> {
    [
        ("System", None),
        ("Light", Some("light")),
        ("Dark", Some("dark")),
    ]
    .map(|(name, theme)| {
        let chosen = theme.unwrap_or("system");
        let back = encoded(&visit.view);
        let href = visit
            .links
            .to(&format!("/display?theme={chosen}&back={back}"));
        (name, visit.theme == theme, href)
    })
    .to_vec()
}

/// Writes a page.
pub(crate) fn page(template: &impl Template) -> Result<Response, Refusal> {
    Ok(HtmlResponse(template.render()?).into_response())
}
